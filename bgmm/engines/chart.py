"""Coordinates in which the complete-data information, what the rows would say were their assignments known, is the identity.

There a step along the gradient is about a step of EM (Xu and Jordan 1996; Lange 1995), and what L-BFGS has left to learn is
the overlap of the components alone. ``chart`` goes from coordinates to mixtures; ``whitening`` finds what such coordinates
are for the unconstrained parameters of a program, from the derivative of the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from bgmm.core.gaussian import Parameters
from bgmm.core.target import Target

_DENSE = 2048  # parameters whose complete-data information is taken with its cross terms


def chart(mixture: Parameters, counts: Float[Array, " k"]) -> Callable[[Float[Array, " z"]], Parameters]:
    """Coordinates u of the mixtures around one, in which its complete-data information is the identity at u = 0.

    log w = log w0 + a / sqrt(n) up to a constant, mu = mu0 + L0 m / sqrt(n), and L = L0 B with B = I at first, its
    diagonal exp(b_ii / sqrt(2 n)) and b_ij / sqrt(n) below: Sigma0 = L0 L0' and n, the rows of the component.
    """
    log_w, mu, L = mixture
    k, d = mu.shape
    root = jnp.sqrt(jnp.maximum(counts, 1.0))[:, None]
    i, j = np.tril_indices(d, -1)

    def at(u: Float[Array, " z"]) -> Parameters:
        a, m, b, c = jnp.split(u.reshape(k, -1) / root, np.cumsum([1, d, d]), axis=1)
        B = jax.vmap(jnp.diag)(jnp.exp(b / np.sqrt(2.0))).at[:, i, j].set(c)
        return Parameters(jax.nn.log_softmax(log_w + a[:, 0]), mu + jnp.einsum("kij,kj->ki", L, m), L @ B)

    return at


def whitening(target: Target, z: Float[Array, " z"]) -> Float[Array, "z *z"]:
    """A with A A' = (J'J + I)^-1, J the derivative of the mixture's ``chart`` coordinates, and I for the priors.

    From J'J + I = M M', A = M'^-1. Where z is long, of the diagonal of J'J alone.
    """
    mixture = target.mixture(z)
    root = jnp.sqrt(jnp.maximum(target.blocks.total_weight * jnp.exp(mixture.log_weights), 1.0))[:, None]
    i, j = np.tril_indices(mixture.means.shape[1], -1)
    whiten = partial(solve_triangular, mixture.scale_tril, lower=True)

    def coordinates(z: Float[Array, " z"]) -> Float[Array, "k p"]:
        log_w, mu, L = target.mixture(z)
        B = whiten(L)
        diagonal = jnp.sqrt(2.0) * jnp.diagonal(B, axis1=1, axis2=2)
        return root * jnp.concatenate([log_w[:, None], whiten(mu[:, :, None])[:, :, 0], diagonal, B[:, i, j]], axis=1)

    if z.size > _DENSE:

        def information(i):
            return jnp.square(jax.jvp(coordinates, (z,), (jnp.zeros_like(z).at[i].set(1.0),))[1]).sum()

        return 1 / jnp.sqrt(1 + jax.lax.map(information, jnp.arange(z.size), batch_size=64))
    J = jax.jacfwd(coordinates)(z).reshape(-1, z.size)
    M = jnp.linalg.cholesky(J.T @ J + jnp.eye(z.size))
    return solve_triangular(M, jnp.eye(z.size), lower=True).T
