"""One sweep of the telescoping sampler, on whatever priors the components declare.

Fruehwirth-Schnatter, Malsiner-Walli and Gruen (2021). A sweep draws the assignments (and missing values) given the mixture, in
one pass; tries other partitions; moves the occupied components by HMC given their sufficient statistics, and what they
share; draws K, the concentration and the weights given the partition; and draws the components without rows from their prior.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import kernel
from bgmm.core.gaussians import Linear
from bgmm.engines.gibbs import telescope
from bgmm.engines.gibbs.jumps import Landmarks, jump
from bgmm.engines.gibbs.moves import CONSTANTS, N_SIZES, adapted, move_components, move_shared, size_class
from bgmm.engines.gibbs.partitions import Partition, decided, occupied_first
from bgmm.engines.gibbs.reference import Conditions, PriorSummary, conditions_at, reference_at
from bgmm.engines.gibbs.split_merge import split_merge
from bgmm.program.target import Target


class State(NamedTuple):
    """State of a chain between sweeps; components 0 .. K - 1 exist, and those that hold rows come first."""

    k: Int[Array, ""]
    log_w: Float[Array, " m"]
    z: Float[Array, "m q"]
    h: Float[Array, " h"]
    log_alpha: Float[Array, ""]


class Tuning(NamedTuple):
    """What warm-up tunes: log step sizes, and the moments of what the components share, which whiten it."""

    log_step: Float[Array, " sizes"]
    log_step_shared: Float[Array, ""]
    mean_shared: Float[Array, " h"]
    covariance_shared: Float[Array, "h h"]


class Record(NamedTuple):
    """What is kept of a sweep: the mixture that its rows were assigned under, occupied components first, and statistics."""

    state: State
    occupied: Bool[Array, " m"]
    log_likelihood: Float[Array, ""]
    acceptance: Float[Array, ""]  # of HMC, over the occupied components
    split_merge_accepted: Float[Array, ""]  # how many in the sweep
    jumps_accepted: Float[Array, ""]


def no_record(state: State) -> Record:
    """A record of no sweep."""
    zero = jnp.zeros(())
    return Record(state, jnp.zeros(len(state.z), bool), zero, zero, zero, zero)


def first_tuning(prior: PriorSummary) -> Tuning:
    """Tuning at the beginning of warm-up: what the components share has its prior's spread."""
    covariance = jnp.diag(jnp.square(prior.shared_sd))
    return Tuning(jnp.full(N_SIZES, -0.5, float), jnp.array(-0.5, float), prior.shared, covariance)


def sweep(
    target: Target,
    prior: PriorSummary,
    state: State,
    tuning: Tuning,
    inverse_temperature: Float[Array, ""],
    rate: Float[Array, ""],
    landmarks: Landmarks,
    n_jumps: Int[Array, ""],
    n_tries: Int[Array, ""],
    *,
    key: Array,
) -> tuple[State, Tuning, Record]:
    """One sweep, the likelihood raised to the inverse temperature; the tuning adapts at a rate, not at all when it is zero.

    :param n_jumps: jumps to the landmarks that are tried, before ``n_tries`` splits and merges.
    """
    names = ("rows", "moves", "shared", "components", "k", "alpha", "w", "prior")
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    weights, m = target.weights_prior, target.n_components
    fixed = conditions_at(target, prior, state.h, inverse_temperature)

    complete = kernel.draw_complete_data(
        densities_at(fixed, state), state.log_w, fixed.rows, inverse_temperature=inverse_temperature, key=keys["rows"]
    )
    partition, log_w = occupied_first(Partition(complete.z, complete.statistics, state.z), state.log_w)
    record = Record(
        state=State(state.k, log_w, partition.z, state.h, state.log_alpha),
        occupied=partition.statistics[:, 0] > 0,
        log_likelihood=complete.log_likelihood + target.log_volume,
        acceptance=jnp.zeros(()),
        split_merge_accepted=jnp.zeros(()),
        jumps_accepted=jnp.zeros(()),
    )
    alpha = jnp.exp(state.log_alpha)
    if m > 1:

        def attempt(i, carry):
            partition, n_accepted = carry
            key_propose, key_decide = jax.random.split(jax.random.fold_in(keys["moves"], i))
            proposal = jax.lax.cond(
                i < n_jumps,
                lambda: jump(fixed, complete.x, partition, alpha, landmarks, key=key_propose),
                lambda: split_merge(fixed, complete.x, partition, alpha, key=key_propose),
            )
            partition, accepted = decided(fixed, partition, proposal, key=key_decide)
            return partition, n_accepted + accepted * jnp.stack([i < n_jumps, i >= n_jumps])

        partition, n_accepted = jax.lax.fori_loop(0, n_jumps + n_tries, attempt, (partition, jnp.zeros(2)))
        partition, _ = occupied_first(partition, log_w)
        record = record._replace(jumps_accepted=n_accepted[0], split_merge_accepted=n_accepted[1])

    counts = partition.statistics[:, 0]
    is_occupied = (counts > 0).astype(float)
    if target.n_dim_shared:
        fixed, partition, tuning = _shared_moved(fixed, partition, tuning, rate, key=keys["shared"])
    z, acceptance = move_components(fixed, partition.z, partition.statistics, jnp.exp(tuning.log_step), key=keys["components"])
    of_size = (size_class(counts)[:, None] == jnp.arange(N_SIZES)[None]) * is_occupied[:, None]
    n_of_size = of_size.sum(0)
    mean = acceptance @ of_size / jnp.maximum(n_of_size, 1.0)
    tuning = tuning._replace(log_step=adapted(tuning.log_step, mean, jnp.minimum(n_of_size, 1.0), rate))

    k = telescope.draw_k(weights, counts, alpha, key=keys["k"])
    log_alpha = telescope.draw_alpha(weights, counts, k, state.log_alpha, key=keys["alpha"])
    log_w = weights.draw_log_weights(counts, jnp.exp(log_alpha), k, key=keys["w"])
    from_prior = jax.vmap(lambda key: target.draw_component(fixed.h, key=key)[0])(jax.random.split(keys["prior"], m))
    state = State(k, log_w, jnp.where(is_occupied[:, None] > 0, z, from_prior), fixed.h, log_alpha)
    return state, tuning, record._replace(acceptance=(acceptance @ is_occupied) / jnp.maximum(is_occupied.sum(), 1.0))


def densities_at(fixed: Conditions, state: State) -> Linear:
    """The natural form of the component densities."""

    def eta(z: Float[Array, " q"]) -> Float[Array, " p"]:
        return fixed.target.component(z, fixed.h).components.natural(jnp.zeros(1)).eta[0]

    factor = type(fixed.reference.origin.factor)
    return Linear(jax.vmap(eta)(state.z), None, None, factor)


def _shared_moved(
    fixed: Conditions, partition: Partition, tuning: Tuning, rate: Float[Array, ""], *, key: Array
) -> tuple[Conditions, Partition, Tuning]:
    """New values of what the components share, and what follows from them; the step size, mean and covariance are adapted."""
    factor, step = jnp.linalg.cholesky(tuning.covariance_shared), jnp.exp(tuning.log_step_shared)
    h, z, acceptance = move_shared(fixed, partition.z, partition.statistics, factor, step, key=key)
    difference = h - tuning.mean_shared  # Andrieu and Thoms (2008), algorithm 4
    least = 1e-6 * jnp.diag(jnp.square(fixed.prior.shared_sd))  # keeps the covariance positive definite
    slow = CONSTANTS.covariance_rate * rate
    tuning = tuning._replace(
        log_step_shared=adapted(tuning.log_step_shared, acceptance, jnp.ones(()), rate),
        mean_shared=tuning.mean_shared + slow * difference,
        covariance_shared=(1 - slow) * tuning.covariance_shared + slow * (jnp.outer(difference, difference) + least),
    )
    fixed = fixed._replace(h=h, reference=reference_at(fixed.target, fixed.prior, h))
    return fixed, partition._replace(z=z), tuning
