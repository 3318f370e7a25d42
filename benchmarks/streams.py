"""A stream against memory: peak memory and time of a whole MAP fit (EM, one start) of D = 4, K = 5, from 1e5 to 1e7 rows.

Each fit has a process of its own. The rows are in a .npy file. What counts is the peak of the resident memory above what the
process needed before the fit, compilation included. A memory map counts the pages of the file that were read while it is open.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import data
from benchmarks.memory import status_mb, watch_peak
from benchmarks.worker import fresh

D, K = 4, 5
SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
CHUNK = 1_000_000


def measure(quick: bool) -> Iterator[dict]:
    """One row a number of rows."""
    part = data.simulated(CHUNK, D, K, spread=3.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        for n in SIZES[:1] if quick else SIZES:
            x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(n, D))
            for start in range(0, n, CHUNK):
                x[start : start + CHUNK] = part[: min(CHUNK, n - start)]
            x.flush()
            del x
            found = {kind: fresh("streams", "fit", path=str(path), kind=kind) for kind in ("stream", "memory")}
            yield {"n": n, "d": D, "k": K, "data_mb": n * D * 8 / 1e6, "fits": found}


def fit(path: str, kind: str) -> dict:
    """Peak megabytes above the beginning, seconds, and the log posterior that was reached."""
    import bgmm
    from bgmm import models

    run = bgmm.fit  # the name is imported when first used
    before = watch_peak()
    started = time.perf_counter()
    x = bgmm.stream(path) if kind == "stream" else np.load(path)
    with warnings.catch_warnings(action="ignore"):
        tree = run(models.finite(K, recording_step=0.0), x, engine=bgmm.EM(n_starts=1), log_likelihood=False)
    return {
        "extra_mb": status_mb("VmHWM") - before,
        "seconds": time.perf_counter() - started,
        "lp": tree["sample_stats"]["lp"].item(),
        "n_passes": tree["sample_stats"]["n_passes"].item(),
    }
