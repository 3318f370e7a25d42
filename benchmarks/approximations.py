"""Laplace, VI and NUTS against long exact runs: spread, bias, CPU time.

``python -m benchmarks.approximations`` fits five problems and writes APPROXIMATIONS.md. Each engine has its default settings
and runs twice; times are of the second run, in which nothing is compiled. The exact run is of Gibbs with
split and merge moves, 4 chains of 4000 draws (1000 for 20 000 rows); with 20 000 rows there is one mode, and NUTS agrees with
it.

Draws that leave a component empty are left out: a mean is then one of the prior, and a few of them double a standard deviation.
Over the parameters of a group, the least and the largest ratio of standard deviations to those of the exact run; the bias is
the largest shift of a mean, in standard deviations.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import jax
import numpy as np
import xarray as xr

import bgmm
from benchmarks.tables import table
from bgmm import models
from bgmm.posterior.agreement import matched
from bgmm.posterior.answers import Answers
from bgmm.tree.read import observed

ENGINES = {"laplace": bgmm.Laplace(), "vi": bgmm.VI(), "nuts": bgmm.NUTS(n_draws=1000, stop_early=False)}
GROUPS = ("weights", "means", "log scales", "correlations")


def simulated(n: int) -> np.ndarray:
    """Five overlapping components in four dimensions."""
    rng = np.random.default_rng(7)
    mu = rng.normal(0, 1.5, (5, 4))
    a = rng.normal(0, 0.3, (5, 4, 4)) + 0.8 * np.eye(4)
    z = rng.choice(5, n, p=[0.35, 0.25, 0.2, 0.15, 0.05])
    return mu[z] + np.einsum("nij,nj->ni", a[z], rng.normal(size=(n, 4)))


def problems() -> dict[str, tuple[np.ndarray, int, int]]:
    """Rows, number of components, and draws of each chain of the exact run."""
    from sklearn.datasets import load_iris

    return {
        "Old Faithful, K=2": (bgmm.old_faithful().to_numpy(), 2, 4000),
        "galaxies, K=3": (bgmm.galaxies().to_numpy(), 3, 4000),
        "iris, K=3": (load_iris().data, 3, 4000),
        "simulated, N=20 000, D=4, K=5": (simulated(20_000), 5, 1000),
        "simulated, N=300, D=4, K=5": (simulated(300), 5, 4000),
    }


def main() -> None:
    """Fit everything and write the table."""
    jax.config.update("jax_enable_x64", True)
    lines = []
    for problem, (x, k, n_draws) in problems().items():
        exact, _ = fitted(models.finite(k), x, bgmm.Gibbs(n_draws=n_draws, stop_early=False), seed=100)
        for name, engine in ENGINES.items():
            fitted(models.finite(k), x, engine, seed=1)
            tree, seconds = fitted(models.finite(k), x, engine, seed=1)
            lines.append([problem, name, f"{seconds:.2g}", *own_words(tree), *differences(tree, exact)])
            print(lines[-1], flush=True)
    head = ["problem", "engine", "CPU s", "effective draws", "k-hat", "gap", *(f"sd ratio, {name}" for name in GROUPS), "bias"]
    parts = [part.strip() for part in (__doc__ or "").split("\n\n")]
    text = ["# Approximations against exact runs", "", parts[1], "", parts[2], "", *table(head, lines)]
    (Path(__file__).parent / "APPROXIMATIONS.md").write_text("\n".join(text) + "\n")


def fitted(model: models.Mixture, x: np.ndarray, engine, seed: int) -> tuple[xr.DataTree, float]:
    """A fit and its CPU seconds."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = bgmm.fit(model, x, engine, seed=seed, log_likelihood=False)
    return tree, time.process_time() - start


def own_words(tree: xr.DataTree) -> list[str]:
    """Effective draws, k-hat and gap, where the engine says them."""
    stats = tree["sample_stats"]
    if "k_hat" not in stats:
        return ["", "", ""]
    gap = float(stats["log_evidence"] - stats["elbo"])
    return [f"{float(stats['effective_draws']):.0f}", f"{float(stats['k_hat']):.2f}", f"{gap:.2f}"]


def differences(tree: xr.DataTree, exact: xr.DataTree) -> list[str]:
    """Least and largest ratio of standard deviations in each group of parameters, and the largest shift of a mean."""
    rows = observed(exact)[:400]
    fit, reference = Answers(tree, rows), Answers(exact, rows)
    found, biases = [], []
    of_both = (groups(one, cluster) for one, cluster in zip((fit, reference), matched(fit, reference), strict=True))
    for group, ours, theirs in zip(GROUPS, *of_both, strict=True):
        if not ours.size:
            found.append("")
            continue
        ratios, shifts = ours.std(0) / theirs.std(0), (ours.mean(0) - theirs.mean(0)) / theirs.std(0)
        found.append(f"{ratios.min():.2f} to {ratios.max():.2f}")
        biases.append((float(np.abs(shifts).max()), group))
    worst, group = max(biases)
    return [*found, f"{worst:.2f} ({group})"]


def groups(fit: Answers, cluster: np.ndarray) -> list[np.ndarray]:
    """Draws of the parameters of each group, one axis of parameters."""
    chosen = fit.posterior.isel(cluster=cluster)
    full = fit.counts == len(cluster)
    values = [chosen["weights"], chosen["means"], np.log(chosen["scales"])]
    values += [np.arctanh(chosen["correlations"])] if "correlations" in chosen else []
    flat = [value.to_numpy().reshape(full.size, -1)[full] for value in values]
    return flat if len(flat) == len(GROUPS) else [*flat, np.zeros((full.sum(), 0))]


if __name__ == "__main__":
    main()
