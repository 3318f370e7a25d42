"""Whether the probabilities of K+ are what they say, on data drawn from the prior.

``python -m benchmarks.occupied_coverage`` draws 200 data sets of 100 rows of two features from the prior of ``random_k()``,
fits each, and writes OCCUPIED.md; a data set that is in build/benchmarks/occupied.jsonl is not fitted again. The draws of the
prior are written in NumPy, apart from the program that is fitted. Where the posterior is right, K+ = k comes true in a share p
of the cases in which its probability is p, whatever k is. Fits take 250 draws of two chains after 300 of warm-up.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np

import bgmm
from benchmarks.store import keep_line, kept_lines
from benchmarks.tables import table
from bgmm import models

FILE = Path(__file__).parent.parent / "build" / "benchmarks" / "occupied.jsonl"
TABLE = Path(__file__).parent / "OCCUPIED.md"
N_ROWS = 100
MODEL = models.random_k(recording_step=0.0)
SETTINGS = bgmm.Gibbs(n_draws=250, n_chains=2, stop_early=False)
EDGES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200)
    sets = parser.parse_args().sets
    lines = kept_lines(FILE)
    known = {line["seed"] for line in lines}
    for seed in range(sets):
        if seed not in known:
            x, truth = data_set(seed)
            with warnings.catch_warnings(action="ignore"):
                tree = bgmm.fit(MODEL, x, SETTINGS, seed=seed, standardise=False, log_likelihood=False)
            n_occupied = tree["posterior"]["n_occupied"].to_numpy()
            of_chains = [(np.bincount(chain, minlength=21) / chain.size).tolist() for chain in n_occupied]
            lines.append({"seed": seed, "truth": truth, "p": of_chains})
            keep_line(FILE, lines[-1])
    _write(lines)


def data_set(seed: int) -> tuple[np.ndarray, int]:
    """Rows, and how many components they are from."""
    rng = np.random.default_rng([seed, N_ROWS])
    p = np.exp(np.asarray(MODEL.weights.log_prior_k(), float))
    k = 1 + rng.choice(len(p), p=p / p.sum())
    alpha = rng.f(6.0, 3.0)
    log_w = np.log(rng.gamma(alpha / k + 1, size=k)) + np.log(rng.uniform(size=k)) * k / alpha  # logs of Gamma(alpha / k)
    w = np.exp(log_w - log_w.max())
    b = np.exp(np.log(0.4) + 0.7 * rng.normal())
    W = np.exp(rng.normal(-1.0, 1.0, 2))[:, None] * _cholesky(2 * rng.beta(1.5, 1.5) - 1)
    eta = 1 + 1 / (4 * b**2)
    means, floor = 2 * rng.normal(size=(k, 2)), MODEL.components.floor
    z = rng.choice(k, N_ROWS, p=w / w.sum())
    factors = [W * np.exp(b * rng.normal(size=2)) @ _cholesky(2 * rng.beta(eta, eta) - 1) for _ in range(k)]
    x = means[z] + np.einsum("nij,nj->ni", np.array(factors)[z], rng.normal(size=(N_ROWS, 2)))
    return x + floor * rng.normal(size=x.shape), len(np.unique(z))


def _cholesky(correlation: float) -> np.ndarray:
    return np.linalg.cholesky([[1.0, correlation], [correlation, 1.0]])


def _write(lines: list[dict]) -> None:
    """The tables of the data sets so far."""
    p = np.array([np.mean(line["p"], axis=0) for line in lines])
    truth = np.array([line["truth"] for line in lines])
    hit = np.arange(p.shape[1]) == truth[:, None]
    body = []
    for low, high in pairwise(EDGES):
        here = (p > low) & (p <= high) | (p == 0) & (low == 0)
        if here.any():
            expected, sd = p[here].sum(), np.sqrt((p[here] * (1 - p[here])).sum())
            body.append([f"{low:g} to {high:g}", str(here.sum()), f"{expected:.1f}", f"{sd:.1f}", str(hit[here].sum())])
    each = np.array([line["p"] for line in lines])
    apart = np.abs(each[:, 0] - each[:, 1]).max(1)
    best = (p.argmax(1) == truth).mean()
    text = ["# Probabilities of the number of clusters", "", (__doc__ or "").split("\n\n")[1].strip(), ""]
    text += table(["probability of K+ = k", "cases", "expected to be true", "its standard deviation", "true"], body)
    text += [
        "",
        f"{len(lines)} data sets. The most probable K+ is the true one in {best:.0%} of them, and has a mean probability of "
        f"{p.max(1).mean():.0%}. Some probability differs by over .2 between the two chains in {np.mean(apart > 0.2):.0%}.",
    ]
    TABLE.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
