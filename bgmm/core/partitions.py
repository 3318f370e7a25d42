"""The prior probability of a partition, weights summed out, and the weights given a partition.

A partition C of N rows has K+ blocks with counts n_1, ..., n_K+ among M places, occupied places first. For K components with
symmetric Dirichlet weights and for the Dirichlet process:

    p(C | K, gamma) = K! / (K - K+)! * Gamma(gamma K) / Gamma(gamma K + N) * prod of Gamma(n_k + gamma) / Gamma(gamma),
    p(C | alpha)    = alpha^K+ * Gamma(alpha) / Gamma(alpha + N) * prod of Gamma(n_k),

the products over the occupied components. The second is the limit of the first with gamma = alpha / K
(Fruehwirth-Schnatter, Malsiner-Walli and Gruen 2021; Green and Richardson 2001).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Num


def dirichlet_log_partition(counts: Float[Array, " m"], gamma: Float[Array, ""], k: Num[Array, ""]) -> Float[Array, ""]:
    """log p(C | K, gamma), minus infinity where K < K+."""
    occupied = counts > 0
    k_plus, n = occupied.sum(), counts.sum()
    blocks = jnp.where(occupied, gammaln(counts + gamma) - gammaln(gamma), 0.0).sum()
    labellings = gammaln(k + 1.0) - gammaln(jnp.maximum(k - k_plus, 0) + 1.0)
    return jnp.where(k >= k_plus, blocks + gammaln(k * gamma) - gammaln(k * gamma + n) + labellings, -jnp.inf)


def dirichlet_log_weights(
    counts: Float[Array, " m"], gamma: Float[Array, ""], k: Num[Array, ""], *, key: Array
) -> Float[Array, " m"]:
    """A draw of the logarithms of w ~ Dirichlet(gamma + n_1, ..., gamma + n_K); minus infinity beyond K."""
    log_gamma = jax.random.loggamma(key, gamma + counts)
    return jax.nn.log_softmax(jnp.where(jnp.arange(counts.shape[0]) < k, log_gamma, -jnp.inf))


def process_log_partition(counts: Float[Array, " m"], alpha: Float[Array, ""]) -> Float[Array, ""]:
    """log p(C | alpha) of the Dirichlet process."""
    occupied = counts > 0
    blocks = jnp.where(occupied, gammaln(jnp.maximum(counts, 1.0)), 0.0).sum()
    return occupied.sum() * jnp.log(alpha) + blocks + gammaln(alpha) - gammaln(alpha + counts.sum())


def process_log_weights(counts: Float[Array, " m"], alpha: Float[Array, ""], *, key: Array) -> Float[Array, " m"]:
    """A draw of the logarithms of w given a partition under the Dirichlet process.

    Dirichlet(n_1, ..., n_K+, alpha), whose last weight the empty components break up as sticks.
    """
    m = counts.shape[0]
    key_gamma, key_sticks = jax.random.split(key)
    occupied = counts > 0
    log_gamma = jax.random.loggamma(key_gamma, jnp.where(occupied, counts, alpha))
    log_left = jnp.where(occupied, 0.0, log_left_of_sticks(alpha, (m,), key=key_sticks))
    rest = log_gamma[jnp.minimum(occupied.sum(), m - 1)]  # of the first empty component, for all empty ones
    return jax.nn.log_softmax(jnp.where(occupied, log_gamma, rest + broken(log_left)))


def log_left_of_sticks(alpha, shape: tuple[int, ...], *, key: Array) -> Float[Array, "..."]:
    """log(1 - v) of v ~ Beta(1, alpha): 1 - v is the alpha-th root of a uniform number."""
    return jnp.log(jax.random.uniform(key, shape, minval=jnp.finfo(float).tiny)) / alpha


def broken(log_left: Float[Array, "... k"]) -> Float[Array, "... k"]:
    """Logarithms of the weights, from log(1 - v); the last takes what is left."""
    before = jnp.cumsum(log_left, -1) - log_left
    return before + jnp.log(-jnp.expm1(log_left)).at[..., -1].set(0.0)
