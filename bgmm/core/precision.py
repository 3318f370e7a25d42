"""Double precision, and programs kept on disk, inside the public functions and without a global setting.

JAX computes in single precision by default, which is not enough for the log likelihood of data with an offset of 1e4.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import jax

from bgmm.core.program_cache import kept_programs

_computed_in: list[int] = []  # the process that first computed; a fork of it inherits this entry, but not the threads of JAX


def in_float64[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with double precision and the cache of compiled programs enabled in JAX during the call.

    A fork of a process that computed would wait for ever for threads that it does not have, and raises a RuntimeError instead.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        _refuse_fork()
        with kept_programs(), jax.enable_x64(True):
            return function(*args, **kwargs)

    return wrapped


def _refuse_fork() -> None:
    process = os.getpid()
    if not _computed_in:
        _computed_in.append(process)
    if process not in _computed_in:
        raise RuntimeError(
            "this process was forked after bgmm had computed in its parent, and JAX would wait for ever in it; start processes "
            "by multiprocessing.get_context('spawn'), or run fits in threads (ThreadPoolExecutor, joblib's prefer='threads')"
        )
