"""Double precision, and programs kept on disk, inside the public functions and without a global setting.

JAX computes in single precision by default, which is not enough for the log likelihood of data with an offset of 1e4.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import jax
import numpy as np

from bgmm.core.program_cache import kept_programs

_computed_in: list[int] = []  # the process that first computed; a fork of it inherits this entry, but not the threads of JAX
_IMPORTED_IN = os.getpid()  # in a fork of this process, JAX may have computed without bgmm
_SPAWNED = "--multiprocessing-fork" in sys.orig_argv  # how multiprocessing starts an interpreter that inherits nothing
_FORKED = 0x40  # Linux's flag PF_FORKNOEXEC
_PATIENCE = 20.0  # seconds for a program of one addition


def in_float64[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with double precision and the cache of compiled programs enabled in JAX during the call.

    A fork of a process in which JAX computed would wait for ever for threads that it does not have, and raises a RuntimeError
    instead.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        _refuse_fork()
        with kept_programs(), jax.enable_x64(True):
            return function(*args, **kwargs)

    return wrapped


def _refuse_fork() -> None:
    process = os.getpid()
    if process in _computed_in:
        return
    of_multiprocessing = multiprocessing.parent_process() is not None and not _SPAWNED
    is_child = process != _IMPORTED_IN or of_multiprocessing or _may_be_fork()
    inherited = any(other != process for other in _computed_in)  # another thread may have noted this process meanwhile
    if inherited or (is_child and not _jax_computes()):
        _computed_in.append(os.getppid())  # the next call need not try again
        raise RuntimeError(
            "this process was forked after JAX had computed in its parent, and JAX would wait for ever in it; start processes "
            "by multiprocessing.get_context('spawn'), or run fits in threads (ThreadPoolExecutor, joblib's prefer='threads')"
        )
    _computed_in.append(process)


def _may_be_fork() -> bool:
    """Whether this process is a fork that began no other program; where the system does not tell, whether it has forks."""
    try:
        after_name = Path("/proc/self/stat").read_bytes().rpartition(b")")[2]
    except OSError:
        return hasattr(os, "fork")
    return bool(int(after_name.split()[6]) & _FORKED)


def _jax_computes() -> bool:
    """Whether JAX finishes a program of one addition; nothing public says whether it had computed before a fork."""

    def compute() -> None:
        with contextlib.suppress(Exception):  # which the caller's own computation raises
            jax.jit(lambda x: x + 1)(np.zeros(1)).block_until_ready()

    trial = Thread(target=compute, daemon=True)
    trial.start()
    trial.join(_PATIENCE)
    return not trial.is_alive()
