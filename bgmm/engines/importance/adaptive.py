"""Adapting a proposal to a posterior that is not near normal: population Monte Carlo.

A round draws from q, a mixture of t distributions, weights the draws, and fits the mixture to them by steps of weighted EM,
which lower KL(p, q) (Cappe, Douc, Guillin, Marin and Robert 2008). The draws of all rounds count, with the mean of the
proposals so far as their density (Cornuet, Marin, Mira and Robert 2012). That makes the fit steady, and biases an estimate of
the evidence; so only draws that played no part in the fit are used beyond it. In the first round the mixture gets terms about
some of its weighted draws, along whatever ridge they lie on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from bgmm.core.importance import ImportanceWeights, smoothed_weights
from bgmm.core.progress import note
from bgmm.engines.importance.proposal import NU, Proposal, from_factors, log_densities


@dataclass(frozen=True)
class Constants:
    """Constants of the adaptation."""

    max_parameters: int = 32  # with more, the covariances fitted to some thousand weighted draws are worse than those at modes
    draws: int = 4000  # in a round
    enough: float = 0.5  # effective share of the draws at which no further round is needed
    new_terms: int = 12
    narrower: float = 0.8  # scales of a new term, of those of the term whose draw it is about
    em_steps: int = 4  # in a round
    believed: float = 2.0  # draws for each parameter that the covariance before a step counts for
    errors: float = 3.0  # standard errors by which log evidences differ where one proposal covers less than another
    negligible: float = 1e-4  # of the mean weight: draws that EM leaves out
    least_weight: float = 1e-6  # of a term that is kept


_CONSTANTS = Constants()
ROUNDS = 12


def adapted(
    log_p: Callable[[Float[np.ndarray, "s z"]], Float[np.ndarray, " s"]],
    q: Proposal,
    *,
    rng: np.random.Generator,
    rounds: int = ROUNDS,
) -> Proposal:
    """Of ``q`` and the proposals that rounds of adaptation lead to, the one with the largest effective share of fresh draws.

    One by whose draws the log evidence is lower than another's, by more than their errors, has lost mass and does not count.

    :param log_p: the log density of the target at each point, minus infinity outside of its domain.
    :param rounds: at most.
    """
    if q.centre.shape[1] > _CONSTANTS.max_parameters:
        return q
    best, best_weights = q, None
    proposals: list[Proposal] = []
    z: list[np.ndarray] = []  # of each round
    p: list[np.ndarray] = []
    log_sums: list[np.ndarray] = []  # log sum_i q_i at these draws, over the proposals of all rounds
    for round_ in range(rounds):
        fresh, term = q.draw(_CONSTANTS.draws, rng=rng)
        log_q, log_p_fresh = log_densities(q, fresh), log_p(fresh)
        of_fresh = smoothed_weights(log_p_fresh - log_q)
        if best_weights is None or _is_better(of_fresh, best_weights):
            best, best_weights = q, of_fresh
        share = of_fresh.effective_share
        note(f"round {round_ + 1}: a draw is worth {share:.2f}")
        if share > _CONSTANTS.enough or share == 0 or round_ == rounds - 1:
            return best
        log_sums = [np.logaddexp(log_sum, log_densities(q, draws)) for log_sum, draws in zip(log_sums, z, strict=True)]
        log_sums.append(logsumexp([log_q, *(log_densities(one, fresh) for one in proposals)], axis=0))
        proposals, z, p = [*proposals, q], [*z, fresh], [*p, log_p_fresh]
        weights = np.exp(smoothed_weights(np.concatenate(p) - np.concatenate(log_sums)).log_weights)
        if round_ == 0:
            q = _with_terms_at_draws(q, fresh, term, weights, rng=rng)
        counted = weights > _CONSTANTS.negligible / len(weights)  # no draw outside of the domain does, and those are many
        for _ in range(_CONSTANTS.em_steps):
            q = _em_step(q, np.concatenate(z)[counted], weights[counted])
    return best


def _is_better(weights: ImportanceWeights, other: ImportanceWeights) -> bool:
    """Whether draws with these weights cover more of the target; or as much, with a larger effective share."""
    gain = weights.log_evidence - other.log_evidence
    error = _CONSTANTS.errors * np.hypot(weights.log_evidence_error, other.log_evidence_error)
    return bool(gain > error or (gain > -error and weights.effective_share > other.effective_share))


def _with_terms_at_draws(q: Proposal, z, term, weights: Float[np.ndarray, " s"], *, rng: np.random.Generator) -> Proposal:
    """The proposal with new terms about weighted draws: half of the weight is theirs."""
    chosen = rng.choice(len(weights), _CONSTANTS.new_terms, p=weights)
    m = np.flatnonzero(np.isfinite(q.log_weights))
    new_log_weights = np.full(len(chosen), -np.log(len(chosen)))
    return from_factors(
        np.concatenate([q.log_weights[m], new_log_weights]),
        np.concatenate([q.centre[m], z[chosen]]),
        np.concatenate([q.factor[m], _CONSTANTS.narrower * q.factor[term[chosen]]]),
    )


def _em_step(q: Proposal, z: Float[np.ndarray, "s z"], weights: Float[np.ndarray, " s"]) -> Proposal:
    """The proposal after one step of EM for a mixture of t distributions on weighted draws.

    In the coordinates u that whiten a term, with r its responsibilities and g = (nu + d) / (nu + |u|^2),

        mean of u = sum w r g u / sum w r g,    covariance of u = sum w r g (u - mean)(u - mean)' / sum w r,

    each shrunk to 0 and I, the more so the fewer effective draws the term has.
    """
    d = z.shape[1]
    terms = [_log_term(q, m, z) for m in np.flatnonzero(np.isfinite(q.log_weights))]
    log_total = logsumexp([log_t for log_t, _ in terms], axis=0)
    log_w, centres, factors = [], [], []
    for m, (log_t, u) in zip(np.flatnonzero(np.isfinite(q.log_weights)), terms, strict=True):
        w = weights * np.exp(log_t - log_total)
        if (total := w.sum()) < _CONSTANTS.least_weight:
            continue
        n = total**2 / np.square(w).sum()  # effective draws
        wg = w * (NU + d) / (NU + np.square(u).sum(1))
        mean = wg @ u / wg.sum()
        covariance = np.einsum("s,si,sj->ij", wg, u - mean, u - mean, optimize=True) / total
        prior = _CONSTANTS.believed * d
        shrunk = (n * covariance + prior * np.eye(d)) / (n + prior)
        log_w.append(np.log(total))
        centres.append(q.centre[m] + q.factor[m] @ mean * n / (n + prior / 4))
        factors.append(q.factor[m] @ np.linalg.cholesky(shrunk))
    return from_factors(np.array(log_w), np.stack(centres), np.stack(factors))


def _log_term(q: Proposal, m: np.intp, z: Float[np.ndarray, "s z"]) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, "s z"]]:
    """log of one term of the mixture, up to the constant that all share, and the whitened points."""
    u = (z - q.centre[m]) @ q.whitening[m].T
    log_det = np.log(np.abs(np.diagonal(q.whitening[m]))).sum()
    return q.log_weights[m] + log_det - 0.5 * (NU + z.shape[1]) * np.log1p(np.square(u).sum(1) / NU), u
