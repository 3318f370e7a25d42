"""Double precision, and programs kept on disk, inside the public functions and without a global setting.

JAX computes in single precision by default, which is not enough for the log likelihood of data with an offset of 1e4.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax

from bgmm.core.program_cache import kept_programs


def in_float64[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with double precision and the cache of compiled programs enabled in JAX during the call."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with kept_programs(), jax.enable_x64(True):
            return function(*args, **kwargs)

    return wrapped
