"""Weighted draws of a posterior from normal approximations at its modes, and the draws that a tree holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import gammaln

from bgmm.core.checks import numpy_generator
from bgmm.core.components import Mixture
from bgmm.core.importance import ImportanceWeights, resample, smoothed_weights
from bgmm.core.progress import advance, note, stage
from bgmm.engines.base import Draws, from_unconstrained
from bgmm.engines.importance.adaptive import ROUNDS, adapted
from bgmm.engines.importance.labelling import (
    Domain,
    domain_around,
    in_domain,
    permutations_into,
    permute,
    permute_each,
)
from bgmm.engines.importance.proposal import Cover, Normals, Proposal, cover, log_densities
from bgmm.engines.optimise.modes import Modes, find_modes
from bgmm.engines.variational.density import LogPosterior, error_of, log_posteriors, most_batches, near_modes, rows_for
from bgmm.engines.variational.elbo import Normal, elbo_of_mixture, n_fixed_draws
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the approximation."""

    min_mass: float = 1e-4  # modes with a smaller share of the Laplace mass are left out
    max_modes: int = 5
    inflation: float = 1.1  # of the proposal over the normals, whose tails are too short
    enough_effective: float = 1000.0  # draws; with fewer, more are drawn
    n_checked: int = 8  # draws whose log posterior is computed from all rows too, where it is estimated from some
    max_error: float = 0.1  # nats, the standard deviation of the estimate above which more rows are taken


CONSTANTS = Constants()
WORTH = ("elbo", "log_evidence", "log_evidence_error", "k_hat", "effective_share", "effective_draws")  # statistics of draws


class Weighted(NamedTuple):
    """Draws of a proposal with their importance weights."""

    z: Float[np.ndarray, "s z"]
    log_p: Float[np.ndarray, " s"]
    log_ratio: Float[np.ndarray, " s"]  # log p - log q, minus infinity for another labelling
    elbo: float  # of q, in one labelling
    log_n_labellings: float  # log of how many labellings the posterior has, of which one counts here
    proposal: Proposal | None  # None where its density at other points is not known
    domain: Domain | None  # of the one labelling; None: the whole space
    stats: dict[str, np.ndarray]  # of the modes

    @property
    def weights(self) -> ImportanceWeights:
        """Smoothed weights; the evidence is that of one labelling."""
        return smoothed_weights(self.log_ratio)


# from a log posterior, the number of a mode, the mode z0, A with A A' the inverse Hessian there, and rng=
type FitNormal = Callable[..., Normal]


def weighted_draws(
    target: Target,
    fit_normal: FitNormal,
    n_draws: int,
    n_starts: int,
    *,
    key: Array,
    start: Mixture | None = None,
    rounds: int = ROUNDS,
) -> tuple[Target, Weighted]:
    """Draws from t distributions about one normal for each mode; the target too, now centred if the modes need it.

    :param rounds: in which the t distributions are adapted, at most.
    """
    key_modes, key_numpy = jax.random.split(key)
    rng = numpy_generator(key_numpy)
    target, modes = find_modes(target, n_starts, key=key_modes, start=start)
    modes = _in_one_labelling(target, heavy(modes))
    n_rows = rows_for(target, max(n_draws, n_fixed_draws(target.n_dim)))
    while True:
        log_posterior = near_modes(target, modes, n_rows, rng=rng)
        normals = []
        with stage("normal distributions at the modes", total=len(modes.z), unit="modes"):
            for i, (z, A) in enumerate(zip(modes.z, modes.factor, strict=True)):
                normals.append(fit_normal(log_posterior, i, z, A, rng=rng))
                advance()
        elbos = np.array([normal.elbo for normal in normals])
        fitted = Normals(np.stack([n.centre for n in normals]), np.stack([n.factor for n in normals]), elbos)
        covered = cover(target, fitted, inflation=CONSTANTS.inflation, rng=rng)
        if n_rows is None:
            with stage("adapting the proposal, and weighted draws"):
                proposal, z, log_p, log_ratio = _adapted_draws(log_posterior, covered, n_draws, rounds, rng=rng)
            break
        with stage("weighted draws"):
            proposal, z, log_p, log_ratio, error = _expanded_draws(target, log_posterior, covered, n_draws, rng=rng)
        if n_rows >= target.rows.n_counted or error <= CONSTANTS.max_error:
            break
        n_rows *= 4
    stats = {
        "mode_log_posterior": modes.log_posterior,
        "mode_mass": modes.mass,
        "mode_elbo": elbos,
        "mode_starts": modes.n_found,
        "n_evaluations": np.array(sum(normal.n_evaluations for normal in normals)),
    }
    elbo = elbo_of_mixture(log_posterior, fitted, covered.domain, rng=rng)
    labellings = log_n_labellings(target, covered.domain)
    return target, Weighted(z, log_p, log_ratio, elbo, labellings, proposal, covered.domain, stats)


def _adapted_draws(log_posterior: LogPosterior, covered: Cover, n: int, rounds: int, *, rng: np.random.Generator):
    """The adapted proposal, its draws, their log posteriors, and log p - log q, minus infinity outside the domain."""

    def log_p(z):
        values = np.asarray(log_posteriors(log_posterior, jnp.asarray(z)))
        return np.where(in_domain(log_posterior.target, covered.domain, z), values, -np.inf)

    proposal = adapted(log_p, covered.proposal, rng=rng, rounds=rounds)

    def batch(_):
        z, _ = proposal.draw(n, rng=rng)
        values = log_p(z)
        return z, values, values - log_densities(proposal, z)

    return proposal, *enough(batch, most_batches(log_posterior.target, n))


def _expanded_draws(target: Target, log_posterior: LogPosterior, covered: Cover, n: int, *, rng: np.random.Generator):
    """As ``_adapted_draws`` without adaptation, each draw by the expansion about its mode; and the error of the expansion."""

    def batch(_):
        z, term = covered.proposal.draw(n, rng=rng)
        mode, at_mode = jnp.asarray(covered.mode[term]), jnp.asarray(z)
        if covered.domain is not None:  # the expansions are about the modes as they were found
            at_mode = permute_each(target, at_mode, jnp.asarray(np.argsort(covered.order[term], axis=1)))
        log_p = np.asarray(log_posteriors(log_posterior, at_mode, mode))
        log_ratio = np.where(in_domain(target, covered.domain, z), log_p - log_densities(covered.proposal, z), -np.inf)
        return mode, at_mode, z, log_p, log_ratio

    mode, at_mode, *draws = enough(batch, most_batches(log_posterior.target, n))
    checked = (jnp.asarray(a[: CONSTANTS.n_checked]) for a in (at_mode, mode))
    return covered.proposal, *draws, error_of(log_posterior, target, *checked)


def enough(batch: Callable[[int], tuple[np.ndarray, ...]], most: int) -> tuple[np.ndarray, ...]:
    """Batches of draws, of which the last array is log p - log q, until they are worth enough, ``most`` of them at the most."""
    parts: list[tuple[np.ndarray, ...]] = []
    while True:
        parts.append(batch(len(parts)))
        found = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        effective = len(found[-1]) * smoothed_weights(found[-1]).effective_share
        note(f"{len(found[-1])} draws worth {effective:.0f}")
        if effective >= CONSTANTS.enough_effective or len(parts) >= most:
            return found


def heavy(modes: Modes) -> Modes:
    """The modes with mass, their masses summing to one."""
    kept = np.flatnonzero(modes.mass >= CONSTANTS.min_mass)[: CONSTANTS.max_modes]
    modes = Modes(*(a[kept] for a in modes))
    return modes._replace(mass=modes.mass / modes.mass.sum())


def _in_one_labelling(target: Target, modes: Modes) -> Modes:
    """The modes with their components in the order that is nearest to that of the first mode."""
    if not target.exchangeable:
        return modes
    orders = permutations_into(target, domain_around(target, modes.z[0], modes.factor[0]), modes.z)
    permuted = [permute(target, z, order) for z, order in zip(modes.z, orders, strict=True)]
    factors = [J @ A for (_, J), A in zip(permuted, modes.factor, strict=True)]
    return modes._replace(z=np.stack([z for z, _ in permuted]), factor=np.stack(factors))


def log_n_labellings(target: Target, domain: Domain | None) -> float:
    """log K! where the components may be numbered in any order, and only one order is counted."""
    return 0.0 if domain is None else float(gammaln(target.n_components + 1))


def resampled(target: Target, weighted: Weighted, n: int, *, rng: np.random.Generator) -> Draws:
    """``n`` draws of equal weight, in random order."""
    weights = weighted.weights
    chosen = rng.permutation(resample(weights.log_weights, n, rng=rng))
    mixture, sites, log_prior = from_unconstrained(target, weighted.z[chosen][None])
    stats = weighted.stats | {"lp": weighted.log_p[chosen][None]}
    dims: dict[str, list[str]] = {"n_evaluations": []} | {name: ["mode_rank"] for name in stats if name.startswith("mode_")}
    draws = Draws("independent", mixture, sites, log_prior, stats, dims)
    of_all = weights._replace(log_evidence=weights.log_evidence + weighted.log_n_labellings)
    return with_worth(draws, of_all, elbo=weighted.elbo + weighted.log_n_labellings)


def with_worth(draws: Draws, weights: ImportanceWeights, *, elbo: float) -> Draws:
    """The draws with what their weights say."""
    effective = weights.effective_share * len(weights.log_weights)
    values = (elbo, weights.log_evidence, weights.log_evidence_error, weights.k_hat, weights.effective_share, effective)
    stats = draws.stats | {name: np.array(value) for name, value in zip(WORTH, values, strict=True)}
    dims = draws.dims | {name: [] for name in WORTH}
    return replace(draws, stats=stats, dims=dims)
