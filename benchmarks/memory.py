"""Extra peak memory above the data: a process of its own for each number, imports and data in place, compilation included.

The process reads x, notes its resident memory, resets the kernel's high-water mark and works. What counts is the mark less
what was noted, so copies of the data that a library makes count as its own. bgmm's blocks are such a copy.
"""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import data
from benchmarks.worker import fresh

D, K, ITERATIONS = 8, 16, 5
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
WHOLE = "bgmm.fit, whole"
IMPORTS = {
    "scikit-learn": ["sklearn.mixture"],
    "scikit-learn Bayesian": ["sklearn.mixture"],
    "gmmx": ["gmmx"],
    "pomegranate": ["pomegranate.gmm", "pomegranate.distributions"],
}


def measure(quick: bool) -> Iterator[dict]:
    """One row a number of rows and a float width."""
    from benchmarks.contenders import E_STEP, EM

    names = [name for name in EM if name != E_STEP]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        for n in SIZES[:1] if quick else SIZES:
            np.save(path, data.simulated(n, D, K, spread=3.0))
            for bits in (64,) if quick else (64, 32):
                everybody = [*names, WHOLE] if bits == 64 else names
                told = {name: fresh("memory", "peak", path=str(path), name=name, bits=bits) for name in everybody}
                yield {
                    "n": n,
                    "d": D,
                    "k": K,
                    "bits": bits,
                    "data_mb": n * D * bits / 8e6,
                    "extra_mb": {name: one["extra_mb"] for name, one in told.items() if "missing" not in one},
                    "missing": {name: one["missing"] for name, one in told.items() if "missing" in one},
                }


def peak(path: str, name: str, bits: int) -> dict:
    """Megabytes above the data of a few EM iterations, or of a whole fit, from one start."""
    import bgmm
    from benchmarks import contenders
    from bgmm import models

    for module in IMPORTS.get(name, ()):  # code is not what is measured; the first compilation is
        importlib.import_module(module)
    fit = bgmm.fit  # the name is imported when first used
    x = np.load(path)
    if bits == 32:
        x = x.astype(np.float32)
    start = data.start(x, K)
    before = watch_peak()
    with warnings.catch_warnings(action="ignore"):
        if name == WHOLE:
            fit(models.finite(n_components=K), x, engine=bgmm.EM(prior=False, n_starts=1), log_likelihood=False)
        else:
            contenders.EM[name](x, start, bits)(ITERATIONS)
    return {"extra_mb": status_mb("VmHWM") - before}


def watch_peak() -> float:
    """Resident megabytes now, from which the high-water mark counts anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_mb("VmRSS")


def status_mb(name: str) -> float:
    """An entry of /proc/self/status in megabytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024 / 1e6
