"""The case of ``sampling`` at N = 50 000, half the draws, one seed: too long to run unasked."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.sampling import compared


def measure(quick: bool) -> Iterator[dict]:
    """One row."""
    yield compared(5_000 if quick else 50_000, 2, warmup=300, draws=300, repeats=1)
