"""Importance sampling: smoothed weights of draws from a proposal q, what they say of q, and resampling by them.

With draws z_s from q and p the density of the target, up to a constant, w_s = p(z_s) / q(z_s). Their mean estimates the
integral of p, the evidence. A few draws with most of the weight are the sign of a q with too short a tail: the largest weights
are replaced by quantiles of a generalised Pareto distribution fitted to them, whose shape is k-hat (Vehtari, Simpson, Gelman,
Yao and Gabry 2024, Pareto smoothed importance sampling).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float, Int
from scipy.special import logsumexp

LEAST_DRAWS = 400  # for the weights to have a tail that a Pareto distribution can be fitted to
LARGEST_GAP = 1.0  # nats of log evidence less ELBO
LEAST_GAP = 0.2  # nats by which the ELBO, itself a mean over draws, may exceed the log evidence beyond its error
LARGEST_K_HAT = 0.7  # Vehtari et al. (2024)
LEAST_EFFECTIVE = 400  # draws
_LEAST_SPREAD = 1e-9  # of the log weights, below which they are equal, and have no tail to fit
_OUTSIDE = 100.0  # nats under the least weight: where a draw of weight zero stands while the tail of the others is fitted


class ImportanceWeights(NamedTuple):
    """Weights of S draws and what they say of the proposal."""

    log_weights: Float[np.ndarray, " s"]  # smoothed; their exponentials sum to one
    log_evidence: float  # log of the mean raw weight
    log_evidence_error: float  # its standard error
    k_hat: float  # Pareto shape; minus infinity for equal weights, infinity where no draw has weight, or that of one is unknown
    effective_share: float  # 1 / (S sum_s w_s^2): the variance of a mean is that of so many independent draws


def smoothed_weights(log_ratio: Float[np.ndarray, " s"]) -> ImportanceWeights:
    """Pareto-smoothed weights from log p - log q, minus infinity for a weight of zero.

    Draws of ratio NaN or infinity get no weight either, and k-hat is then infinity: what they should weigh is not known.
    """
    counted = np.isfinite(log_ratio)
    if not counted.any():
        return ImportanceWeights(np.full(len(log_ratio), -np.log(len(log_ratio))), -np.inf, np.inf, np.inf, 0.0)
    raw = np.where(counted, log_ratio, -np.inf)
    log_evidence = log_mean(raw)
    log_w, k_hat = raw, -np.inf
    if np.ptp(log_ratio[counted]) > _LEAST_SPREAD:
        floor = log_ratio[counted].min() - _OUTSIDE
        values, k = array_stats.psislw(-np.where(counted, log_ratio, floor))  # takes the log of 1 / w
        log_w, k_hat = np.where(counted, np.asarray(values), -np.inf), float(k)
    if not (counted | (log_ratio == -np.inf)).all():
        k_hat = np.inf
    log_w = log_w - logsumexp(log_w)
    share = float(np.exp(-logsumexp(2 * log_w)) / len(log_w))
    spread = np.exp(logsumexp(2 * raw) - 2 * logsumexp(raw)) - 1 / len(raw)  # relative variance of the mean
    return ImportanceWeights(log_w, log_evidence, float(np.sqrt(max(spread, 0.0))), k_hat, share)


def log_mean(log_values: Float[np.ndarray, " s"]) -> float:
    """log (1/S) sum_s exp(value_s)."""
    return float(logsumexp(log_values) - np.log(len(log_values)))


def resample(log_w: Float[np.ndarray, " s"], n: int | None = None, *, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Systematic resampling: one uniform number shifts evenly spaced points, one for each of n (by default S) draws."""
    n = len(log_w) if n is None else n
    cumulative = np.cumsum(np.exp(log_w - log_w.max()))
    points = (np.arange(n) + rng.uniform()) * (cumulative[-1] / n)
    return np.minimum(np.searchsorted(cumulative, points, side="right"), len(log_w) - 1)


def weaknesses(stats: Mapping[str, float], remedies: Sequence[str] = ()) -> list[str]:
    """Why draws with these statistics should not be trusted, and what to do: at most one sentence.

    The limits were chosen on some data sets of benchmarks/COVERAGE.md, which tells their error rates on the others.
    """
    gap = stats["log_evidence"] - stats["elbo"]
    found = []
    if not gap <= LARGEST_GAP:
        found.append(f"the log evidence is {gap:.1f} nats above the ELBO (over {LARGEST_GAP}), far from a normal posterior")
    if -gap > LEAST_GAP + 3 * stats["log_evidence_error"]:
        found.append(f"the log evidence is {-gap:.1f} nats below its lower bound, the ELBO, so that draws miss a part")
    if not stats["k_hat"] <= LARGEST_K_HAT:
        found.append(f"k-hat of the importance weights is {stats['k_hat']:.2f} (over {LARGEST_K_HAT})")
    if not stats["effective_draws"] >= LEAST_EFFECTIVE:
        remedies = remedies if found else ["raise n_draws", *remedies]
        found.append(f"there are only {stats['effective_draws']:.0f} effective draws (under {LEAST_EFFECTIVE})")
    if not found:
        return []
    sentence = f"this approximation may be wrong: {', and '.join(found)}"
    return [f"{sentence}; {', or '.join(remedies)}" if remedies else sentence]
