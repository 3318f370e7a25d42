"""What 400 effective draws cost by NUTS and by Gibbs, and what a fit costs that names no engine.

``python -m benchmarks.engines`` fits seven problems of a given number of components with three seeds and writes ENGINES.md;
a problem that is in build/benchmarks/engines.jsonl is not fitted again.
NUTS and Gibbs take all of 1000 draws of four chains. CPU seconds are those of whole fits, the search for modes and the
diagnosis among them, once everything is compiled. R-hat is the largest, effective draws the least, of what does not depend on
labels: the log posterior, the number of occupied components, log densities at five rows. The cost is in proportion: 400 CPU
seconds over effective draws.

By these figures a fit without an engine takes NUTS where the heaviest mode has 95 % of the Laplace mass, else Gibbs, and stops
after 250, 375, 560, ... draws of each chain. "met" says in how many of the three its diagnostics were met.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import arviz as az
import jax
import numpy as np
import xarray as xr

import bgmm
from benchmarks.approximations import fitted, simulated
from benchmarks.store import keep_line, kept_lines
from benchmarks.tables import table
from bgmm import models

FILE = Path(__file__).parent.parent / "build" / "benchmarks" / "engines.jsonl"
SEEDS = (1, 2, 3)
ENGINES = {"nuts": bgmm.NUTS(n_draws=1000, stop_early=False), "gibbs": bgmm.Gibbs(n_draws=1000, stop_early=False)}
HEAD = ["problem", "mass of the heaviest mode"]
HEAD += [f"{name}: {what}" for name in ENGINES for what in ("CPU s", "R-hat", "effective draws", "CPU s to 400")]
HEAD += ["no engine: takes", "draws of a chain", "met", "CPU s"]


def problems() -> dict[str, tuple[np.ndarray, int]]:
    """Rows and number of components."""
    from sklearn.datasets import load_iris

    rng = np.random.default_rng(0)
    faithful, galaxies = bgmm.old_faithful().to_numpy(), bgmm.galaxies().to_numpy()
    clear = np.concatenate([rng.normal(mean, 1, (200, 2)) for mean in ((0, 0), (6, 0), (0, 6))])
    return {
        "three clear groups, N=600, D=2, K=3": (clear, 3),
        "Old Faithful, K=2": (faithful, 2),
        "iris, K=3": (load_iris().data, 3),
        "five overlapping groups, N=2000, D=4, K=5": (simulated(2000), 5),
        "Old Faithful, K=3": (faithful, 3),
        "galaxies, K=3": (galaxies, 3),
        "galaxies, K=6": (galaxies, 6),
    }


def main() -> None:
    """Fit everything and write the table."""
    jax.config.update("jax_enable_x64", True)
    lines = kept_lines(FILE)
    for problem, (x, k) in problems().items():
        if problem in {line["name"] for line in lines}:
            continue
        model = models.finite(k)
        by_engine, mass = [], 1.0
        for name, engine in ENGINES.items():
            fitted(model, x, engine, seed=0)
            found = [measured(*fitted(model, x, engine, seed=seed)) for seed in SEEDS]
            mass = float(np.median([m for *_, m in found])) if name == "nuts" else mass
            seconds, r_hat, effective = np.median([row[:3] for row in found], axis=0)
            by_engine += [f"{seconds:.2g}", f"{r_hat:.3f}", f"{effective:.0f}", f"{400 * seconds / effective:.2g}"]
        for _ in ("compile every number of draws", "measure"):
            defaults = [fitted(model, x, None, seed=seed) for seed in SEEDS]
        told = [json.loads(tree.attrs["bgmm"]) for tree, _ in defaults]
        cells = [
            *(f"{mass:.2f}", *by_engine),
            ", ".join(sorted({about["engine"] for about in told})),
            ", ".join(str(tree["posterior"].sizes["draw"]) for tree, _ in defaults),
            f"{sum(about['verdict']['passed'] for about in told)} of 3",
            f"{np.median([seconds for _, seconds in defaults]):.2g}",
        ]
        lines.append({"name": problem, "cells": cells})
        keep_line(FILE, lines[-1])
        print(lines[-1], flush=True)
    parts = [part.strip() for part in (__doc__ or "").split("\n\n")]
    text = [
        "# Which engine where none is named",
        "",
        parts[1],
        "",
        parts[2],
        "",
        *table(HEAD, [[line["name"], *line["cells"]] for line in lines]),
    ]
    (Path(__file__).parent / "ENGINES.md").write_text("\n".join(text) + "\n")


def measured(tree: xr.DataTree, seconds: float) -> tuple[float, float, float, float]:
    """CPU seconds, the largest R-hat, the fewest effective draws, and the mass of the heaviest mode (NaN of Gibbs)."""
    stats = tree["sample_stats"]
    each = [stats["lp"], stats["n_occupied"].astype(float), *stats["log_density"].transpose("point", ...)]
    varying = [a.to_numpy() for a in each if float(a.std()) > 0]
    with warnings.catch_warnings(action="ignore"):
        r_hat, effective = max(float(az.rhat(a)) for a in varying), min(float(az.ess(a)) for a in varying)
    return seconds, r_hat, effective, float(stats["mode_mass"][0]) if "mode_mass" in stats else float("nan")


if __name__ == "__main__":
    main()
