"""Where coordinate ascent begins: responsibilities from k-means, seeds or chance, by scikit-learn's random numbers."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from sklearn.cluster import KMeans, kmeans_plusplus

from bgmm.estimators.ascent import EMPTY, Moments
from bgmm.estimators.covariance_types import CovarianceType

KINDS = ("kmeans", "k-means++", "random", "random_from_data")


def first_responsibilities(
    kind: str, x: Float[np.ndarray, "n d"], c: Float[np.ndarray, " n"] | None, k: int, rng: np.random.RandomState
) -> Float[np.ndarray, "n k"]:
    """Responsibilities of complete rows; those of single seeds are one for the seed and zero for all other rows."""
    n = len(x)
    if kind == "random":
        r = rng.uniform(size=(n, k))
        return r / r.sum(1, keepdims=True)
    if kind == "kmeans":
        return np.eye(k)[KMeans(k, n_init=1, random_state=rng).fit(x, sample_weight=c).labels_]
    if kind == "random_from_data":
        seeds = rng.choice(n, k, replace=False)
    else:
        seeds = kmeans_plusplus(x, k, sample_weight=c, random_state=rng)[1]
    r = np.zeros((n, k))
    r[seeds, np.arange(k)] = 1.0
    return r


def first_moments(
    x: Float[np.ndarray, "n d"],
    c: Float[np.ndarray, " n"] | None,
    r: Float[np.ndarray, "n k"],
    structure: CovarianceType,
    reg_covar: float,
) -> Moments:
    """Counts, means and covariances of complete rows with these responsibilities.

    A tied covariance is that of all rows about their mean, less that of the component means. Where only seeds have
    responsibilities that equals scikit-learn's for data of mean zero; scikit-learn's depends on the offset of the data.
    """
    c = np.ones(len(x)) if c is None else c
    r = r * c[:, None]
    counts = r.sum(0) + EMPTY
    means = (r.T @ x) / counts[:, None]
    if structure.tied:
        centre = np.average(x, axis=0, weights=c)
        left = structure.of_rows(x - centre, c) - structure.of_rows(means - centre, counts)
        covariances = left[None] / counts.sum()
    else:
        covariances = np.stack([structure.of_rows(x - mu, r_k) / n for mu, r_k, n in zip(means, r.T, counts, strict=True)])
    return Moments(counts, means, covariances + structure.diagonal(reg_covar, x.shape[1]))


def completed(x: Float[np.ndarray, "n d"], c: Float[np.ndarray, " n"] | None) -> Float[np.ndarray, "n d"]:
    """Missing values replaced by the mean of their column, for a beginning only."""
    missing = np.isnan(x)
    if not missing.any():
        return x
    weights = np.where(missing, 0.0, 1.0 if c is None else c[:, None])
    return np.where(missing, (weights * np.nan_to_num(x)).sum(0) / weights.sum(0), x)
