"""Coverage of the intervals of Laplace, VI and NUTS on the same data sets, drawn from the prior.

``python -m benchmarks.coverage --rows 300 --features 1`` fits 200 data sets, and adds one line of JSON for each to
build/benchmarks/coverage.jsonl; a data set that is there is not fitted again. ``--report`` writes COVERAGE.md from all of them.

The parameters of each data set are drawn from the prior of the model that is then fitted, so exact inference covers the truth
in as many of them as it says. Components overlap: means are N(0, 1), scales LogNormal(-1, 1). What is asked depends on no
labels.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import arviz as az
import jax
import numpy as np

import bgmm
from benchmarks.coverage_report import write
from benchmarks.store import keep_line, kept_lines
from bgmm import models

FILE = Path(__file__).parent.parent / "build" / "benchmarks" / "coverage.jsonl"
K = 3
MODEL = models.finite(K, mean_scale=1.0, recording_step=0.0)
POINTS = {1: [[-1.0], [0.0], [1.0]], 2: [[0.0, 0.0], [1.0, 0.0], [-1.0, 1.0]]}
ENGINES = {"laplace": bgmm.Laplace(), "vi": bgmm.VI(), "nuts": bgmm.NUTS(n_draws=1000, stop_early=False)}
KEPT = ("elbo", "log_evidence", "log_evidence_error", "k_hat", "effective_share", "effective_draws", "n_evaluations")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--features", type=int, choices=POINTS, default=1)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--report", action="store_true", help="fit nothing")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if given.report:
        write(FILE, Path(__file__).parent / "COVERAGE.md")
        return
    known = {(line["rows"], line["features"], line["seed"], line["engine"]) for line in kept_lines(FILE)}
    for seed in range(given.sets):
        for engine in given.engines:
            if (key := (given.rows, given.features, seed, engine)) not in known:
                names = ("rows", "features", "seed", "engine")
                keep_line(FILE, dict(zip(names, key, strict=True)) | fitted(*key))


def data_set(n: int, d: int, seed: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Rows, and the weights, means and covariances that they were drawn from."""
    rng = np.random.default_rng([seed, n, d])
    w = rng.dirichlet(np.ones(K))
    mu = rng.normal(size=(K, d))
    tau, floor = np.exp(rng.normal(-1.0, 1.0, size=(K, d))), MODEL.components.floor
    corr = np.tile(np.eye(d), (K, 1, 1))
    if d == 2:  # LKJ(2): the correlation is 2 Beta(2, 2) - 1
        corr[:, 0, 1] = corr[:, 1, 0] = 2 * rng.beta(2.0, 2.0, K) - 1
    covariances = tau[:, :, None] * corr * tau[:, None, :] + floor**2 * np.eye(d)
    z = rng.choice(K, n, p=w)
    return mu[z] + np.einsum("nij,nj->ni", np.linalg.cholesky(covariances)[z], rng.normal(size=(n, d))), (w, mu, covariances)


def fitted(n: int, d: int, seed: int, engine: str) -> dict:
    """Truth and posterior of every quantity on one data set."""
    x, parameters = data_set(n, d, seed)
    points = np.array(POINTS[d])
    truth = quantities(*(a[None] for a in parameters), points)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = bgmm.fit(MODEL, x, ENGINES[engine], seed=seed, standardise=False, log_likelihood=False)
    seconds = time.process_time() - start
    return {"truth": {name: float(value[0]) for name, value in truth.items()}, "cpu_seconds": seconds} | described(
        tree, truth, points
    )


def described(tree, truth: dict, points: np.ndarray) -> dict:
    """For every quantity the share of draws below the truth, mean and sd; and what the engine says of itself."""
    posterior, stats = tree["posterior"], tree["sample_stats"]
    shape = posterior["weights"].shape[:2]
    flat = (posterior[name].to_numpy().reshape(-1, *posterior[name].shape[2:]) for name in ("weights", "means", "covariances"))
    found = quantities(*flat, points)
    answer: dict = {}
    for name, draws in found.items():
        chains = draws.reshape(shape)
        answer[name] = [float((draws < truth[name]).mean()), float(draws.mean()), float(draws.std())]
        if shape[0] > 1:
            answer[name].append(float(az.rhat(chains)))
    answer |= {name: float(stats[name]) for name in KEPT if name in stats}
    return answer | {"n_modes": int(stats.sizes["mode_rank"])}


def quantities(w, mu, covariances, points: np.ndarray) -> dict[str, np.ndarray]:
    """Of each draw: log density at points, overall mean, entropy of the weights, the largest weight."""
    L = np.linalg.cholesky(covariances)
    answer = {}
    for i, point in enumerate(points):
        u = np.linalg.solve(L, (point - mu)[..., None])[..., 0]
        log_p = -0.5 * (u**2).sum(-1) - np.log(np.diagonal(L, axis1=2, axis2=3)).sum(-1) - 0.5 * len(point) * np.log(2 * np.pi)
        answer[f"density {i + 1}"] = np.log((w * np.exp(log_p)).sum(-1))
    answer["mean"] = (w * mu[..., 0]).sum(-1)
    answer["entropy"] = -(w * np.log(np.maximum(w, 1e-300))).sum(-1)
    answer["largest weight"] = w.max(-1)
    return answer


if __name__ == "__main__":
    main()
