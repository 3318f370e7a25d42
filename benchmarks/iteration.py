"""Time of one EM iteration: E-step and M-step, full covariances, the same rows and the same start for everybody.

An iteration's least time on this machine is taken as 4 N K P flops at the speed of a large matrix product, for the two products
with P = (D+1)(D+2)/2 features, and N K exponentials at the speed of a vector in the cache, one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from benchmarks import contenders, data, machine, timing

GRID = [
    (10_000, 2, 3),
    (10_000, 8, 16),
    (10_000, 16, 16),
    (100_000, 2, 3),
    (100_000, 2, 16),
    (100_000, 8, 3),
    (100_000, 8, 16),
    (100_000, 8, 64),
    (100_000, 16, 16),
    (100_000, 16, 64),
    (16_000, 32, 16),
    (16_000, 64, 16),
    (1_000_000, 2, 3),
    (1_000_000, 8, 16),
]
QUICK = [(10_000, 2, 3), (10_000, 8, 16)]
SLOW = ("scikit-learn Bayesian", "pomegranate")  # and not what the targets are about
COMPARED_AFTER = 3  # iterations after which the contenders' means are compared


def measure(quick: bool) -> Iterator[dict]:
    """One row a cell of the grid and a float width; with several threads, only of what the targets are about."""
    threads = len(os.sched_getaffinity(0))
    for bits in (64, 32) if threads == 1 else (64,):
        limits = machine.limits(bits, threads)
        for n, d, k in QUICK if quick else GRID:
            left_out = SLOW if n >= 1_000_000 or threads > 1 else ()
            names = tuple(name for name in contenders.EM if name not in left_out)
            row = cell(n, d, k, bits, names=names, quick=quick) | share(n, d, k, limits)
            row["missing"] |= dict.fromkeys(left_out, "left out here, where it takes minutes or no target asks")
            yield row


def share(n: int, d: int, k: int, limits: dict[str, float]) -> dict:
    """The least time of an iteration."""
    p = (d + 1) * (d + 2) // 2
    return {"limits": limits, "least_seconds": 4 * n * k * p / limits["flops"] + n * k / limits["exps"]}


def cell(n: int, d: int, k: int, bits: int, *, names: tuple[str, ...], quick: bool) -> dict:
    """Times of the contenders, and how far their means are from ours after a few iterations."""
    x = data.simulated(n, d, k)
    start = data.start(x, k)
    iterates, missing, means = {}, {}, {}
    for name in names:
        try:
            iterate = contenders.EM[name](x, start, bits)
            means[name] = np.asarray(iterate(COMPARED_AFTER).means)
            iterates[name] = iterate
        except (ImportError, RuntimeError, ValueError, MemoryError, np.linalg.LinAlgError) as error:
            missing[name] = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    values = timing.iteration_times(iterates, at_least=0.05 if quick else 0.3, repeats=2 if quick else 5)
    same = [name for name in means if name not in (contenders.E_STEP, contenders.US, "scikit-learn Bayesian")]
    differences = {name: float(np.abs(means[name] - means[contenders.US]).max()) for name in same}
    return {
        "n": n,
        "d": d,
        "k": k,
        "bits": bits,
        "contenders": timing.summary(values, contenders.US),
        "means_differ_by": differences,
        "missing": missing,
    }
