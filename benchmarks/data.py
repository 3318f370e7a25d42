"""Data, starts and the log likelihood that all contenders share. Everything is NumPy, so that no contender is at home."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Mixture(NamedTuple):
    """Weights, means and covariances: a start, a truth or an answer."""

    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, "k d"]
    covariances: Float[np.ndarray, "k d d"]


def simulated(n: int, d: int, k: int, *, seed: int = 0, spread: float = 1.0) -> Float[np.ndarray, "n d"]:
    """Standardised rows of a mixture of K random ellipsoids of unit size whose means have standard deviation ``spread``."""
    rng = np.random.default_rng([seed, n, d, k])
    w = rng.dirichlet(np.full(k, 5.0))
    means = spread * rng.standard_normal((k, d))
    factors = np.eye(d)[None] + 0.5 * rng.standard_normal((k, d, d)) / np.sqrt(d)
    x = np.empty((n, d))
    z = rng.choice(k, n, p=w)
    for j in range(k):
        rows = np.flatnonzero(z == j)
        x[rows] = means[j] + rng.standard_normal((rows.size, d)) @ factors[j].T
    x -= x.mean(0)
    x /= x.std(0)
    return x


def start(x: Float[np.ndarray, "n d"], k: int) -> Mixture:
    """Rows drawn at random as means, the covariance of all rows for each, equal weights."""
    rng = np.random.default_rng(1)
    means = x[rng.choice(len(x), k, replace=False)]
    return Mixture(np.full(k, 1 / k), means, np.repeat(np.cov(x[:100_000].T).reshape(1, x.shape[1], -1), k, axis=0))


def log_likelihood(x: Float[np.ndarray, "n d"], mixture: Mixture) -> float:
    """sum_n log sum_k w_k N(x_n | mu_k, Sigma_k), a block of rows at a time."""
    w, means, covariances = (np.asarray(a, np.float64) for a in mixture)
    factors = np.linalg.cholesky(covariances)
    d = x.shape[1]
    constant = np.log(w) - 0.5 * d * np.log(2 * np.pi) - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    total = 0.0
    for block in np.array_split(x, max(1, len(x) // 10_000)):
        logits = np.empty((len(block), len(w)))
        for j, L in enumerate(factors):
            logits[:, j] = constant[j] - 0.5 * (np.linalg.solve(L, (block - means[j]).T) ** 2).sum(0)
        total += float(np.logaddexp.reduce(logits, axis=1).sum())
    return total
