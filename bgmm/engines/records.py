"""What the Gibbs sampler keeps of its sweeps, and the draws that are made of it."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bgmm.core.gaussian import Parameters
from bgmm.core.slots import Slots
from bgmm.engines.draws import Draws

_FULL = "in {share:.1%} of the draws all {n} components hold rows, and more were not possible; allow more of them"


class State(NamedTuple):
    """Where a chain stands between sweeps; slots 0 .. K - 1 are there, and those that hold rows come first."""

    k: Int[Array, ""]
    log_w: Float[Array, " m"]
    z: Float[Array, "m q"]
    h: Float[Array, " h"]
    log_alpha: Float[Array, ""]


class Record(NamedTuple):
    """What is kept of a sweep: the mixture that its rows were assigned under, occupied slots first, and what came of it."""

    state: State
    occupied: Bool[Array, " m"]
    log_likelihood: Float[Array, ""]
    acceptance: Float[Array, ""]  # of HMC, over the occupied components
    moved: Float[Array, ""]  # split-merge moves accepted in the sweep


def describe(slots: Slots, records: Record) -> Draws:
    """The draws as every engine returns them."""
    shape = records.occupied.shape[:2]
    largest = int(records.state.k.max())
    if slots.model.weights.law == "process":
        records = _heaviest_first(records)
    flat = jax.tree.map(lambda a: jnp.asarray(a).reshape(shape[0] * shape[1], *a.shape[2:]), records.state)
    mixture, sites, log_prior = jax.tree.map(
        lambda a: np.asarray(a).reshape(*shape, *a.shape[1:]), _described(slots, flat, largest)
    )
    weights = slots.model.weights
    if slots.random_k:
        sites["n_components"] = np.asarray(records.state.k)
    if not isinstance(weights.concentration, float | int):
        sites["concentration"] = np.exp(records.state.log_alpha)
    occupied = np.asarray(records.occupied[..., :largest])
    full = float((occupied.sum(-1) == slots.n_components).mean())
    open_ended = (slots.random_k or weights.law == "process") and slots.n_components < float(slots.blocks.total_weight)
    told = [_FULL.format(share=full, n=slots.n_components)] * (open_ended and full > 0)
    stats = {
        "lp": log_prior + records.log_likelihood,
        "log_prior": log_prior,
        "acceptance_rate": np.asarray(records.acceptance),
        "split_merge_accepted": np.asarray(records.moved),
        "occupied": occupied,
        "n_occupied": occupied.sum(-1),
    }
    return Draws(mixture, sites, stats, {"occupied": ["chain", "draw", "cluster"]}, told)


def _heaviest_first(records: Record) -> Record:
    """The slots in the order of their weights: what the density of weights that depend on their order is told of."""
    order = jnp.argsort(-records.state.log_w, axis=-1, stable=True)
    log_w, occupied = (jnp.take_along_axis(a, order, -1) for a in (records.state.log_w, records.occupied))
    z = jnp.take_along_axis(records.state.z, order[..., None], -2)
    return records._replace(state=records.state._replace(log_w=log_w, z=z), occupied=occupied)


@partial(jax.jit, static_argnames="largest")
def _described(slots: Slots, states: State, largest: int):
    """Of each state: the mixture of its first ``largest`` slots, the hyperparameters, the log prior of all sites."""
    weights = slots.model.weights

    def one(state: State):
        alpha, there = jnp.exp(state.log_alpha), jnp.arange(largest) < state.k
        components = jax.vmap(lambda z: slots.component(z, state.h))(state.z[:largest])
        log_w = state.log_w[:largest]
        mixture = slots.scaling.into(Parameters(log_w, components.mean, components.scale_tril))
        log_prior = jnp.where(there, components.log_prior, 0.0).sum() + slots.log_shared(state.h)[0]
        log_prior += weights.given(alpha, state.k).log_density(state.log_w)
        log_prior += jax.nn.log_softmax(weights.log_prior_k())[state.k - 1]
        if not isinstance(weights.concentration, float | int):
            log_prior += weights.concentration.distribution().log_prob(alpha)
        return mixture, slots.shared_sites(state.h), log_prior

    return jax.lax.map(one, states, batch_size=256)
