"""The maths: leaf modules of pure functions on arrays."""
