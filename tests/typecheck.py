"""The runtime checker of shapes and types: beartype, to which an int is a float.

Constructors are not checked: JAX rebuilds pytrees from whatever it follows through a program, such as shapes, axes of vmap and
the tangents of integers, and every array is checked where a function takes it.
"""

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function):
    """``function`` with its arguments and result checked."""
    return function if function.__name__ == "__init__" else _check(function)
