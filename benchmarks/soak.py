"""Does a process that fits a thousand data sets grow? Memory, open files and threads, fit by fit.

    python -m benchmarks.soak [number of fits]

fits random data sets of a few shapes by EM in one process, asks for memberships, saves every fifth tree and loads it again, and
writes SOAK.md. The clusters of the first fifty data sets overlap, so that all moves of EM are tried and compiled; after these,
memory is to stay where it is.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.tables import table

_FITS = 1000
_BEGUN = 50  # fits, after which nothing new is compiled
_SHAPES = ((60, 1, 2), (200, 2, 2), (200, 3, 3), (800, 2, 4))  # rows, features, components
_SAVED = 5  # every so manyth tree is saved and loaded
_LOOKS = 10  # fits between two looks at the process
_COMPILE = "/jax/core/compile/backend_compile_duration"
_EVERY = 50  # fits between two lines of the table
FLAT = 0.02  # of the memory after the first fifty fits: growth in all others that still counts as flat


class Seen(NamedTuple):
    """The process after a fit."""

    memory: float  # resident, MB
    files: int
    threads: int
    programs: int  # compiled so far, or loaded from the cache of programs


_compiled: list[str] = []


def seen() -> Seen:
    """What the process holds now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Seen(
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), threading.active_count(), len(_compiled)
    )


def data_set(i: int) -> tuple[np.ndarray, int]:
    """Rows of the i-th data set, a tenth of its first column missing in every third one, and the number of components."""
    n, d, k = _SHAPES[i % len(_SHAPES)]
    rng = np.random.default_rng(i)
    x = rng.normal(scale=4 if i >= _BEGUN else 1.5, size=(k, d))[rng.integers(k, size=n)] + rng.normal(
        size=(n, d)
    ) * rng.uniform(0.5, 1.5, d)
    if i % 3 == 0:
        x[rng.random(n) < 0.1, 0] = np.nan
    return x * 10.0 ** rng.integers(-3, 4), k


def one(i: int, folder: Path) -> None:
    """Fit, ask, save and load."""
    import bgmm
    from bgmm import models

    x, k = data_set(i)
    tree = bgmm.fit(models.finite(k), x, engine=bgmm.EM(n_starts=4), seed=i)
    membership = bgmm.membership(tree, x)
    if i % _SAVED:
        return
    bgmm.save(tree, folder / "fit.nc")
    again = bgmm.membership(bgmm.load(folder / "fit.nc"), x)
    if not np.allclose(membership, again, atol=1e-9):
        raise RuntimeError(f"data set {i}: the loaded tree gives other memberships")


def soak(n: int) -> tuple[dict[int, Seen], list[str], float]:
    """What the process held after every tenth fit, what Python said of resources that were left open, and seconds a fit."""
    import jax

    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: event == _COMPILE and _compiled.append(event))
    leaks: list[str] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda caught: leaks.append(str(caught.exc_value))
    curve = {}
    begun = time.perf_counter()
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", ResourceWarning)  # raised where it cannot be caught: the hook sees it
            for i in range(n):
                one(i, Path(folder))
                if (i + 1) % _LOOKS == 0:
                    curve[i + 1] = seen()
                if i + 1 == _BEGUN:
                    begun = time.perf_counter()
            seconds = (time.perf_counter() - begun) / max(n - _BEGUN, 1)
    finally:
        sys.unraisablehook = hook
    return curve, leaks, seconds


def growth(curve: dict[int, Seen]) -> float:
    """Growth of memory after the first fifty fits, as a share: means of a twentieth of the looks at either end."""
    memory = np.array([one.memory for i, one in curve.items() if i >= _BEGUN])
    end = max(len(memory) // 20, 1)
    return float(memory[-end:].mean() / memory[:end].mean() - 1)


def main(n: int = _FITS) -> int:
    """Run, write and judge: 0 where the process does not grow."""
    curve, leaks, seconds = soak(n)
    last, first = curve[max(curve)], curve[_BEGUN]
    grown, files, threads = growth(curve), last.files - first.files, last.threads - first.threads
    flat = grown < FLAT and files <= 0 and threads <= 0 and not leaks
    lines = [
        "# A thousand fits in one process",
        "",
        "``python -m benchmarks.soak`` fits random data sets of four shapes, a third of them with missing values, by EM in",
        "one process, asks for memberships, saves every fifth tree and loads it again. In the first fifty clusters overlap, so",
        "that all moves of EM are tried, and their programs compiled.",
        "",
        f"- Fits: {n}, {1000 * seconds:.0f} ms each after the first fifty.",
        f"- Memory after the first fifty: {'flat' if grown < FLAT else '**growing**'}, {100 * grown:+.1f} % by the end.",
        f"- Files left open: {max(files, 0)}. Threads left: {max(threads, 0)}. Warnings of resources left open: {len(leaks)}.",
        "",
        *table(
            ["fits", "resident memory, MB", "open files", "threads", "programs compiled"],
            [
                [str(i), f"{one.memory:.1f}", str(one.files), str(one.threads), str(one.programs)]
                for i, one in curve.items()
                if i < _BEGUN or i % _EVERY == 0
            ],
        ),
    ]
    (Path(__file__).parent / "SOAK.md").write_text("\n".join([*lines, *leaks[:5]]) + "\n")
    print("\n".join(lines))
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
