"""Double precision where it is asked for, and nowhere else.

JAX computes in single precision unless told otherwise, which loses the log likelihood of data with an offset of 1e4.
The switch is a context around each of our entry points, never a global setting.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax


def in_float64[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with JAX in double precision while it runs."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return wrapped
