"""Time of one EM iteration against N, D and K, float64, and the slopes of straight lines through the logarithms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.contenders import E_STEP, US
from benchmarks.iteration import cell

NAMES = (US, E_STEP, "scikit-learn")
AXES = {
    "n": [(n, 8, 16) for n in (10_000, 30_000, 100_000, 300_000, 1_000_000)],
    "d": [(20_000, d, 16) for d in (2, 4, 8, 16, 32, 64)],
    "k": [(50_000, 8, k) for k in (3, 8, 16, 32, 64, 128)],
}


def measure(quick: bool) -> Iterator[dict]:
    """One row a point of each axis, then one with the slopes of each axis."""
    for axis, grid in AXES.items():
        rows = []
        for n, d, k in grid[:3] if quick else grid:
            row = cell(n // 4 if quick else n, d, k, 64, names=NAMES, quick=quick)
            rows.append(row)
            yield {"axis": axis} | row
        known = [name for name in NAMES if all(name in row["contenders"] for row in rows)]
        yield {"axis": axis, "slopes": {name: slopes(rows, axis, name) for name in known}}


def slopes(rows: list[dict], axis: str, name: str) -> dict[str, float]:
    """Over the whole axis and over its upper half, where fixed costs count for less."""
    log_x = np.log([row[axis] for row in rows])
    log_t = np.log([row["contenders"][name]["seconds"]["median"] for row in rows])
    half = len(rows) // 2
    return {
        "whole": float(np.polyfit(log_x, log_t, 1)[0]),
        "upper_half": float(np.polyfit(log_x[half:], log_t[half:], 1)[0]),
    }
