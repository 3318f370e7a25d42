"""HMC for each component given its rows, and for what all components share, in coordinates that the rows choose.

Given assignments, a component depends on the data through its sufficient statistics alone, so that a move costs the same
whatever the number of rows. Positions are z = A u. For the means, A A' = (n C^-1 + V^-1)^-1 with C the rows' covariance,
shrunk, and V the prior's variances; for every other coordinate it is the diagonal (n i + 1 / V)^-1, i the information of one
row. A depends on the statistics and never on z, which is what makes the move exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bgmm.core import hmc
from bgmm.engines.gibbs.partitions import by_first
from bgmm.engines.gibbs.reference import Conditions, log_density, one, shrunk


@dataclass(frozen=True)
class Constants:
    """Constants of the moves."""

    n_steps: int = 3  # leapfrog steps: more cost more than they gain
    n_steps_recentred: int = 16  # of what is shared; 10, 16: 53, 117 effective draws of log b in 1000 sweeps on crabs
    shortest_recentred: float = 0.3  # step, times the adapted one: trajectories of one length may come back to their beginning
    covariance_rate: float = 0.1  # that of what is shared, times the rate of step sizes: it takes more draws
    acceptance: float = 0.85  # that step sizes are adapted to
    edges: tuple[int, ...] = (3, 8, 32)  # sizes of components that share a step size: under 3 rows, 3-7, 8-31, more
    few: int = 8  # components that hold rows, for which a shorter program is there
    at_once: int = 4  # components moved side by side: the time goes with how many hold rows, not with how many there may be


CONSTANTS = Constants()
N_SIZES = len(CONSTANTS.edges) + 1


def size_class(counts: Float[Array, " k"]) -> Int[Array, " k"]:
    """Which step size each component uses."""
    return (counts[:, None] >= jnp.asarray(CONSTANTS.edges)[None]).sum(1)


def _whitening(fixed: Conditions, statistics: Float[Array, " p"]) -> hmc.Whitening:
    """A of one component with these statistics."""
    target, prior, reference = fixed.target, fixed.prior, fixed.reference
    n = fixed.inverse_temperature * statistics[0]
    a = 1 / jnp.sqrt(n * reference.information + 1 / jnp.square(prior.sd))
    if prior.mean_at is None:
        return hmc.linear(a)
    d, at = reference.origin.n_features, prior.mean_at
    scale = jnp.ones(d) if target.scaling is None else jnp.asarray(target.scaling.scale)
    sd = prior.sd[at : at + d] / scale  # in the units of the rows
    in_units_of_rows = one(shrunk(reference, statistics)).posterior_scale(n, 1 / jnp.square(sd))
    of_mean = hmc.linear(jnp.einsum("d,d...->d...", scale, in_units_of_rows))

    def apply(A: Callable, u: Float[Array, " q"]) -> Float[Array, " q"]:
        return (a * u).at[at : at + d].set(A(u[at : at + d]))

    return hmc.Whitening(partial(apply, of_mean.onto), partial(apply, of_mean.transposed))


def move_components(
    fixed: Conditions, z: Float[Array, "k q"], statistics: Float[Array, "k p"], steps: Float[Array, " sizes"], *, key: Array
) -> tuple[Float[Array, "k q"], Float[Array, " k"]]:
    """Every component that holds rows moved given these, and the acceptance probabilities; such components come first."""

    def move(z, S, step, key):
        A = _whitening(fixed, S)
        return hmc.transition(lambda z: log_density(fixed, z, S), z, step, A, n_steps=CONSTANTS.n_steps, key=key)

    k = z.shape[0]
    at_once = min(k, CONSTANTS.at_once)
    more = -k % at_once
    arguments = (z, statistics, steps[size_class(statistics[:, 0])], jax.random.split(key, k))
    z, *padded = (jnp.concatenate([a, a[:more]]) for a in arguments)

    def some(i, carry):
        now, *arguments = (jax.lax.dynamic_slice_in_dim(a, i * at_once, at_once) for a in (carry[0], *padded))
        moved = jax.vmap(move)(now, *arguments)
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(a, new, i * at_once, axis=0) for a, new in zip(carry, moved, strict=True)
        )

    n_times = ((statistics[:, 0] > 0).sum() + at_once - 1) // at_once
    z, probability = jax.lax.fori_loop(0, n_times, some, (z, jnp.zeros(k + more)))
    return z[:k], probability[:k]


def move_shared(
    fixed: Conditions,
    z: Float[Array, "k q"],
    statistics: Float[Array, "k p"],
    factor: Float[Array, "h h"],
    step: Float[Array, ""],
    *,
    key: Array,
) -> tuple[Float[Array, " h"], Float[Array, "k q"], Float[Array, ""]]:
    """What the components share and the z of these, and the acceptance probability; components that hold rows come first.

    The components that hold no rows are integrated out, and their z is to be drawn anew. Where the family has centred forms
    c_k, these are held, which leaves the components as they are, and the density of h is log p(h) + sum_k log p(c_k | h).
    Otherwise the z_k are held, and it is log p(h) + sum_k [log p(z_k | h) + inverse temperature * <S_k, eta(z_k, h)>]: the rows
    count, because the density of a component may depend on what all components share.

    :param factor: lower triangular, about the Cholesky factor of the covariance of h.
    """
    target, occupied = fixed.target, statistics[:, 0] > 0
    recentred = target.recentred is not None
    forms = jax.vmap(lambda z: target.centred_form(z, fixed.h))(jnp.where(occupied[:, None], z, z[0])) if recentred else None

    def of_component(h, given):
        if recentred:
            return target.at_centred_form(given, h).log_density
        return log_density(fixed._replace(h=h), *given)

    if recentred:
        transition = partial(hmc.transition, n_steps=CONSTANTS.n_steps_recentred, shortest=CONSTANTS.shortest_recentred)
    else:
        transition = partial(hmc.transition, n_steps=CONSTANTS.n_steps)

    def of_first(size: int):
        """The transition where no components but the first hold rows."""
        hold, given = jax.tree.map(lambda a: a[:size], (occupied, forms if recentred else (z, statistics)))

        def density(h):
            return sum(target.log_shared(h)) + jnp.where(hold, jax.vmap(partial(of_component, h))(given), 0.0).sum()

        return transition(density, fixed.h, step, hmc.linear(factor), key=key)

    h, acceptance = by_first(occupied.sum(), CONSTANTS.few, len(z), of_first)
    if not recentred:
        return h, z, acceptance
    moved = occupied[:, None] & (h != fixed.h).any()
    return h, jnp.where(moved, jax.vmap(lambda form: target.at_centred_form(form, h).z)(forms), z), acceptance


def adapted(log_step: Array, probability: Array, weight: Array, rate: Array) -> Array:
    """Stochastic approximation (Robbins and Monro 1951) of the step size: log e += rate * weight * (acceptance - target)."""
    return log_step + rate * weight * (probability - CONSTANTS.acceptance)
