"""The seam between a declared model and the engines: what tracing a NumPyro program on rows gives."""
