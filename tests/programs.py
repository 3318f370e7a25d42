"""How many programs XLA compiles, or loads from the cache, while something runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def compiled() -> Iterator[list[float]]:
    """The seconds of each program so far; JAX has no public way to remove a listener, so it stops to listen."""
    found: list[float] = []
    listening = [True]

    def note(event: str, duration: float, **_) -> None:
        if listening and event == "/jax/core/compile/backend_compile_duration":
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield found
    finally:
        listening.clear()
