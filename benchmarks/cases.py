"""What is measured: the name of each case, the threads it is measured with, and whether `make bench` runs it unasked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One module of benchmarks with ``measure(quick)``, which yields rows as they are known."""

    module: str
    threads: tuple[int, ...]
    unasked: bool = True


CASES = {
    "iteration": Case("iteration", (1, 2)),
    "whole_fit": Case("whole_fit", (1, 2)),
    "memory": Case("memory", (2,)),
    "streams": Case("streams", (2,)),
    "gradient": Case("gradient", (1, 2)),
    "sampling": Case("sampling", (1,)),
    "sampling_large": Case("sampling_large", (1,), unasked=False),
    "scaling": Case("scaling", (1,)),
    "compilation": Case("compilation", (2,)),
}
