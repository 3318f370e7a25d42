"""Calls of one compiled program side by side, so that the chains of a sampler use several cores.

JAX runs a small program on one core, and what one thread has asked for in turn. The programs of several threads run at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import jax


def _n_cores() -> int:
    """Cores that this process may use; Python 3.12 says only how many there are."""
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


@contextmanager
def side_by_side() -> Iterator[Callable[..., list[Any]]]:
    """A map of a function over sequences, item after item the first time, when it may compile, and in threads from then on.

    Threads have the caller's precision and default device, and no other setting that JAX keeps for a thread.
    """
    # settings of JAX hold for the thread that makes them; these two decide what is computed, and where
    double, device = jax.config.jax_enable_x64, jax.config.jax_default_device
    compiled = False

    def in_thread(function: Callable[..., Any], *items: Any) -> Any:
        with jax.enable_x64(double), jax.default_device(device):
            return function(*items)

    with ThreadPoolExecutor(_n_cores()) as threads:

        def each(function: Callable[..., Any], *sequences: Any) -> list[Any]:
            nonlocal compiled
            if not compiled or not threading.main_thread().is_alive():  # without it no thread can be started
                compiled = True
                return list(map(function, *sequences))
            return list(threads.map(lambda *items: in_thread(function, *items), *sequences))

        yield each
