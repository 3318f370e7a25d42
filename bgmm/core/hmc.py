"""Hamiltonian Monte Carlo (Neal 2011) in whitened coordinates u of z = z0 + A u: the integrator, and one transition.

With momenta p ~ N(0, I) of u, H = |p|^2 / 2 - log density(z).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Whitening(NamedTuple):
    """A, as a function of u and as its transpose of a gradient."""

    onto: Callable[[Array], Array]
    transposed: Callable[[Array], Array]


def linear(A: Float[Array, "z *z"]) -> Whitening:
    """A as a matrix, or its diagonal alone as a vector."""
    if A.ndim == 1:
        return Whitening(lambda u: A * u, lambda g: A * g)
    return Whitening(lambda u: A @ u, lambda g: A.T @ g)


def trajectory(
    density: Callable, z: Float[Array, " z"], p: Float[Array, " z"], step: Float[Array, ""], A: Whitening, *, n_steps: int
) -> tuple[Float[Array, " z"], Float[Array, ""]]:
    """Where ``n_steps`` leapfrog steps lead from (z, p), and H at the beginning less H at the end."""
    value_and_gradient = jax.value_and_grad(density)

    def leapfrog(t, carry):
        """Kick and drift; the first and the last kick are half as strong, and no drift follows the last."""
        x, p, first, _ = carry
        value, gradient = value_and_gradient(x)
        last = t == n_steps
        p = p + jnp.where((t == 0) | last, 0.5, 1.0) * step * A.transposed(gradient)
        return jnp.where(last, x, x + step * A.onto(p)), p, jnp.where(t == 0, value, first), value

    zero = jnp.zeros((), z.dtype)
    x, p_end, first, last = jax.lax.fori_loop(0, n_steps + 1, leapfrog, (z, p, zero, zero))
    return x, last - first + 0.5 * (p @ p - p_end @ p_end)


def transition(
    density: Callable,
    z: Float[Array, " z"],
    step: Float[Array, ""],
    A: Whitening,
    *,
    n_steps: int,
    shortest: float = 0.8,
    key: Array,
) -> tuple[Float[Array, " z"], Float[Array, ""]]:
    """One transition that leaves the density invariant, and the acceptance probability.

    :param shortest: the step is multiplied by a number between this and 1.2.
    """
    key_p, key_step, key_accept = jax.random.split(key, 3)
    p = jax.random.normal(key_p, z.shape, z.dtype)
    jittered = step * jax.random.uniform(key_step, (), z.dtype, shortest, 1.2)
    x, log_ratio = trajectory(density, z, p, jittered, A, n_steps=n_steps)
    probability = jnp.where(jnp.isfinite(log_ratio), jnp.exp(jnp.minimum(log_ratio, 0.0)), 0.0)
    return jnp.where(jax.random.uniform(key_accept, (), z.dtype) < probability, x, z), probability
