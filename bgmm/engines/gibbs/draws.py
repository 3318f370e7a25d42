"""The draws of the Gibbs sampler as every engine returns them, from the records of its sweeps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bgmm.core.batches import in_batches
from bgmm.core.components import Mixture
from bgmm.core.factor import AnyArray
from bgmm.core.one_off import one_off
from bgmm.engines.base import Draws, Kind
from bgmm.engines.gibbs.reference import joined
from bgmm.engines.gibbs.sweep import Record, State
from bgmm.program.target import Target
from bgmm.program.weights_prior import concentration_prior

_FULL = "in {share:.1%} of the draws all {n} components hold rows, and more were not possible; allow more of them"


def describe(target: Target, records: Record) -> Draws:
    """Draws of chains, with the statistics of their moves."""
    draws = draws_of_states(target, "chains", records.state, records.occupied, records.log_likelihood)
    draws.stats["acceptance_rate"] = np.asarray(records.acceptance)
    draws.stats["split_merge_accepted"] = np.asarray(records.split_merge_accepted)
    draws.stats["jump_accepted"] = np.asarray(records.jumps_accepted)
    return draws


def draws_of_states(
    target: Target, kind: Kind, state: State, occupied: Bool[AnyArray, "c s m"], log_likelihood: Float[AnyArray, "c s"]
) -> Draws:
    """Draws, sites and statistics; the mixtures are as long as the largest number of components in any draw."""
    weights = target.weights_prior
    shape = occupied.shape[:2]
    largest = int(state.k.max())
    if not weights.exchangeable:
        state, occupied = _heaviest_first(state, occupied)
    flat = jax.tree.map(lambda a: np.asarray(a).reshape(shape[0] * shape[1], *a.shape[2:]), state)

    def described(states: State):
        mixture, *others = _described(target, states)
        return jax.tree.map(lambda a: np.asarray(a)[:, :largest], mixture), *others

    mixture, sites, log_prior, log_scalable = jax.tree.map(
        lambda a: a.reshape(*shape, *a.shape[1:]), in_batches(described, flat)
    )
    if target.discrete:
        sites["n_components"] = np.asarray(state.k)
    if concentration_prior(weights) is not None:
        sites["concentration"] = np.exp(state.log_alpha)
    occupied = np.asarray(occupied[..., :largest])
    full = float((occupied.sum(-1) == target.n_components).mean())
    binding = weights.size_is_bound and target.n_components < float(target.rows.total_weight)
    stats = {"lp": log_prior + log_likelihood, "occupied": occupied, "n_occupied": occupied.sum(-1)}
    warnings = [_FULL.format(share=full, n=target.n_components)] * (binding and full > 0)
    return Draws(kind, mixture, sites, log_scalable, stats, {"occupied": ["chain", "draw", "cluster"]}, warnings)


def _heaviest_first(state: State, occupied: Bool[AnyArray, "c s m"]) -> tuple[State, Bool[Array, "c s m"]]:
    """The components in decreasing order of weight, in which the density of weights that are not exchangeable is evaluated."""
    order = jnp.argsort(-state.log_w, axis=-1, stable=True)
    log_w, occupied = (jnp.take_along_axis(jnp.asarray(a), order, -1) for a in (state.log_w, occupied))
    return state._replace(log_w=log_w, z=jnp.take_along_axis(state.z, order[..., None], -2)), occupied


@one_off
def _described(target: Target, states: State):
    """For each state its mixture, what the components share, and two log priors.

    The first is that of all sites. The second leaves out the weights and components where their number is random: a power of
    their density has a constant that depends on the number, so that it would rather be another prior on that number.
    """
    weights = target.weights_prior
    hyperprior = concentration_prior(weights)

    def one(state: State):
        alpha, exists = jnp.exp(state.log_alpha), jnp.arange(len(state.z)) < state.k
        found = jax.vmap(lambda z: target.component(z, state.h))(state.z)
        of_fixed_size = target.log_shared(state.h)[0] + jax.nn.log_softmax(weights.log_prior_k())[state.k - 1]
        if hyperprior is not None:
            of_fixed_size += hyperprior.log_prob(alpha)
        log_prior = of_fixed_size + jnp.where(exists, found.log_prior, 0.0).sum()
        log_prior += weights.log_density(state.log_w, alpha, state.k)
        mixture = Mixture(state.log_w, joined(found.components))
        return mixture, target.shared_values(state.h), log_prior, of_fixed_size if target.discrete else log_prior

    return jax.lax.map(one, states, batch_size=256)
