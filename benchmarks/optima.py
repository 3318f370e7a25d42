"""Maximum likelihood by EM, ours and scikit-learn's: who finds the best optimum, and at what cost.

``python -m benchmarks.optima`` fits seven problems with five seeds and writes OPTIMA.md: ``bgmm.EM(prior=False)``, and
scikit-learn's GaussianMixture with ``n_init`` 1 and 10, each with its default settings otherwise, on the same standardised
rows. "Found" counts the seeds whose log likelihood a row is within .001 of the best that anyone found; "worst" is how far the
worst seed is from it. Log likelihoods are computed by one function of NumPy's. Times are CPU seconds of a fit on one core, the
median of the seeds, once programs are compiled; the last columns say how many times as long scikit-learn takes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from sklearn.datasets import load_iris, load_wine
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

import bgmm
from benchmarks.data import Mixture, log_likelihood, simulated
from benchmarks.tables import table
from bgmm import models

SEEDS = range(5)
SAME = 1e-3  # of the log likelihood a row


def separated(n: int, d: int, k: int) -> np.ndarray:
    """Clusters far apart, of which starts at random miss some."""
    rng = np.random.default_rng(7)
    mu, a = rng.normal(0, 3, (k, d)), rng.normal(0, 0.4, (k, d, d)) + 0.8 * np.eye(d)
    z = rng.integers(0, k, n)
    return mu[z] + np.einsum("nij,nj->ni", a[z], rng.normal(size=(n, d)))


def problems() -> dict[str, tuple[np.ndarray, int]]:
    """Rows and number of components."""
    return {
        "Old Faithful, K=3": (bgmm.old_faithful().to_numpy(), 3),
        "iris, K=3": (load_iris().data, 3),
        "wine, five of its features, K=3": (load_wine().data[:, :5], 3),
        "overlapping, N=10 000, D=2, K=16": (simulated(10_000, 2, 16, spread=2.0), 16),
        "simulated, N=20 000, D=4, K=5": (simulated(20_000, 4, 5, spread=1.5), 5),
        "separated, N=100 000, D=8, K=16": (separated(100_000, 8, 16), 16),
        "separated, N=50 000, D=16, K=32": (separated(50_000, 16, 32), 32),
    }


def ours(x: np.ndarray, k: int, seed: int) -> Mixture:
    """The maximum that bgmm finds."""
    group = bgmm.fit(models.finite(k), x, bgmm.EM(prior=False), seed=seed)["posterior"].isel(chain=0, draw=0)
    return Mixture(*(group[name].to_numpy() for name in ("weights", "means", "covariances")))


def theirs(n_init: int) -> Callable[[np.ndarray, int, int], Mixture]:
    """The maximum that scikit-learn finds."""

    def fit(x: np.ndarray, k: int, seed: int) -> Mixture:
        found = GaussianMixture(k, n_init=n_init, random_state=seed).fit(x)
        return Mixture(found.weights_, found.means_, found.covariances_)

    return fit


CONTENDERS = {"bgmm": ours, "scikit-learn, n_init=1": theirs(1), "scikit-learn, n_init=10": theirs(10)}


def main() -> None:
    """Fit everything and write the table."""
    jax.config.update("jax_enable_x64", True)
    lines = []
    with threadpool_limits(1), warnings.catch_warnings(action="ignore"):
        for problem, (raw, k) in problems().items():
            x = (raw - raw.mean(0)) / raw.std(0)
            ours(x, k, 100)  # compiles
            heights, seconds = {}, {}
            for name, fit in CONTENDERS.items():
                found = [timed(fit, x, k, seed) for seed in SEEDS]
                heights[name] = np.array([log_likelihood(x, mixture) / len(x) for mixture, _ in found])
                seconds[name] = float(np.median([time for _, time in found]))
            best = max(height.max() for height in heights.values())
            line = [problem, f"{best:.4f}"]
            for name in CONTENDERS:
                gaps = best - heights[name]
                line += [f"{(gaps < SAME).sum()} of {len(gaps)}", f"{gaps.max():.4f}", f"{seconds[name]:.2g}"]
            line += [f"{seconds[name] / seconds['bgmm']:.3g}" for name in CONTENDERS if name != "bgmm"]
            lines.append(line)
            print(line, flush=True)
    head = ["problem", "best, a row", *(f"{name}: {what}" for name in CONTENDERS for what in ("found", "worst", "CPU s"))]
    head += ["n_init=1 / bgmm", "n_init=10 / bgmm"]
    text = ["# Maximum likelihood: optima and cost", "", (__doc__ or "").split("\n\n")[1].strip(), "", *table(head, lines)]
    (Path(__file__).parent / "OPTIMA.md").write_text("\n".join(text) + "\n")


def timed(fit: Callable[[np.ndarray, int, int], Mixture], x: np.ndarray, k: int, seed: int) -> tuple[Mixture, float]:
    """A fit and its CPU seconds."""
    start = time.process_time()
    return fit(x, k, seed), time.process_time() - start


if __name__ == "__main__":
    main()
