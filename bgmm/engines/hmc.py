"""Hamiltonian Monte Carlo (Neal 2011) for each component given its rows, in coordinates that its rows choose.

Given assignments, a component depends on the data through its sufficient statistics alone, so that a move costs the same
whatever the number of rows. Positions are z = A u. For the means, A A' = (n C^-1 + V^-1)^-1 with C the rows' covariance,
shrunk, and V the prior's variances; for every other coordinate it is the diagonal (n i + 1 / V)^-1, i the information of one
row. A depends on the statistics and never on z, which is what makes the move exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from bgmm.core.slots import Slots
from bgmm.engines.frame import Frame, shrunk_covariance

LEAPFROGS = 3
_TOGETHER = 4  # components moved at once: the time goes with how many hold rows, and not with how many there may be
TARGET = 0.85  # acceptance that step sizes are adapted to
_EDGES = (3, 8, 32)  # sizes of components that share a step size: under 3 rows, 3-7, 8-31, more
N_SIZES = len(_EDGES) + 1


def size_class(counts: Float[Array, " k"]) -> Int[Array, " k"]:
    """Which step size each component uses."""
    return (counts[:, None] >= jnp.asarray(_EDGES)[None]).sum(1)


class Metric(NamedTuple):
    """A as a diagonal, and as a matrix for the coordinates of the mean (if the model has such)."""

    diagonal: Float[Array, " q"]
    mean: Float[Array, "d d"] | None


def metric(slots: Slots, frame: Frame, statistics: Float[Array, " p"], power: Float[Array, ""]) -> Metric:
    """A of one component with these statistics, its likelihood raised to ``power``."""
    n = power * statistics[0]
    diagonal = 1 / jnp.sqrt(n * frame.information + 1 / jnp.square(frame.sd))
    if slots.mean_at is None:
        return Metric(diagonal, None)
    scale = jnp.asarray(slots.scaling.scale)
    prior = frame.sd[slots.mean_at : slots.mean_at + scale.shape[0]] / scale  # in the units of the blocks
    whiten = _inverse(jnp.linalg.cholesky(shrunk_covariance(frame, statistics)))
    M = jnp.linalg.cholesky(n * whiten.T @ whiten + jnp.diag(1 / jnp.square(prior)))
    return Metric(diagonal, scale[:, None] * _inverse(M).T)


def _inverse(L: Float[Array, "d d"]) -> Float[Array, "d d"]:
    return solve_triangular(L, jnp.eye(L.shape[0]), lower=True)


def _onto(A: Metric, at: int | None, u: Float[Array, " q"], transposed: bool) -> Float[Array, " q"]:
    """A u, or A' u."""
    z = A.diagonal * u
    if A.mean is None or at is None:
        return z
    d = A.mean.shape[0]
    block = A.mean.T if transposed else A.mean
    return z.at[at : at + d].set(block @ u[at : at + d])


def log_density(
    slots: Slots, z: Float[Array, " q"], h: Float[Array, " h"], statistics: Float[Array, " p"], power: Float[Array, ""]
) -> Float[Array, ""]:
    """log p(z | h) + power <S, eta(z)>: of one component, given its rows."""
    component = slots.component(z, h)
    return component.log_density + power * jnp.vdot(statistics, slots.natural(component.mean, component.scale_tril))


def _move(density: Callable, z: Array, step: Array, onto: Callable, *, key: Array) -> tuple[Array, Array]:
    """Three leapfrog steps from z and the acceptance probability: min(1, exp(H(z, p) - H(z', p'))), H = |p|^2 / 2 - log p."""
    key_p, key_step, key_accept = jax.random.split(key, 3)
    p = jax.random.normal(key_p, z.shape, z.dtype)
    epsilon = step * jax.random.uniform(key_step, (), z.dtype, 0.8, 1.2)
    value_and_gradient = jax.value_and_grad(density)

    def leapfrog(t, carry):
        """Kick and drift; the first kick and the last are half as strong, and no drift follows the last."""
        x, p, start, _ = carry
        value, gradient = value_and_gradient(x)
        last = t == LEAPFROGS
        p = p + jnp.where((t == 0) | last, 0.5, 1.0) * epsilon * onto(gradient, True)
        return jnp.where(last, x, x + epsilon * onto(p, False)), p, jnp.where(t == 0, value, start), value

    zero = jnp.zeros((), z.dtype)
    x, p_end, value, there = jax.lax.fori_loop(0, LEAPFROGS + 1, leapfrog, (z, p, zero, zero))
    log_ratio = there - value + 0.5 * (p @ p - p_end @ p_end)
    probability = jnp.where(jnp.isfinite(log_ratio), jnp.exp(jnp.minimum(log_ratio, 0.0)), 0.0)
    return jnp.where(jax.random.uniform(key_accept, (), z.dtype) < probability, x, z), probability


def move_components(
    slots: Slots,
    frame: Frame,
    z: Float[Array, "k q"],
    h: Float[Array, " h"],
    statistics: Float[Array, "k p"],
    steps: Float[Array, " sizes"],
    power: Float[Array, ""],
    *,
    key: Array,
) -> tuple[Float[Array, "k q"], Float[Array, " k"]]:
    """Every component that holds rows moved given these, and the acceptance probabilities; such components come first."""

    def one(z, S, step, key):
        A = metric(slots, frame, S, power)
        return _move(lambda z: log_density(slots, z, h, S, power), z, step, lambda u, t: _onto(A, slots.mean_at, u, t), key=key)

    k = z.shape[0]
    together = min(k, _TOGETHER)
    more = -k % together
    each = (z, statistics, steps[size_class(statistics[:, 0])], jax.random.split(key, k))
    z, *given = (jnp.concatenate([a, a[:more]]) for a in each)

    def some(i, carry):
        now, *of_these = (jax.lax.dynamic_slice_in_dim(a, i * together, together) for a in (carry[0], *given))
        moved = jax.vmap(one)(now, *of_these)
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(a, new, i * together, axis=0) for a, new in zip(carry, moved, strict=True)
        )

    n_times = ((statistics[:, 0] > 0).sum() + together - 1) // together
    z, probability = jax.lax.fori_loop(0, n_times, some, (z, jnp.zeros(k + more)))
    return z[:k], probability[:k]


def move_shared(
    slots: Slots,
    z: Float[Array, "k q"],
    h: Float[Array, " h"],
    statistics: Float[Array, "k p"],
    power: Float[Array, ""],
    factor: Float[Array, "h h"],
    step: Float[Array, ""],
    *,
    key: Array,
) -> tuple[Float[Array, " h"], Float[Array, ""]]:
    """The hyperparameters moved given the components that hold rows, and the acceptance probability.

    Their density is log p(h) + sum_k [log p(z_k | h) + power <S_k, eta(z_k, h)>] over those components: the rows count, because
    the density of a component may depend on what all components share.

    :param factor: lower triangular, about the Cholesky factor of the covariance of h.
    """
    occupied = statistics[:, 0] > 0

    def density(h):
        each = jax.vmap(lambda z, S: log_density(slots, z, h, S, power))(z, statistics)
        return sum(slots.log_shared(h)) + jnp.where(occupied, each, 0.0).sum()

    return _move(density, h, step, lambda u, transposed: (factor.T if transposed else factor) @ u, key=key)


def adapted(log_step: Array, probability: Array, weight: Array, rate: Array) -> Array:
    """Stochastic approximation (Robbins and Monro 1951) of the step size: log e += rate * weight * (acceptance - target)."""
    return log_step + rate * weight * (probability - TARGET)
