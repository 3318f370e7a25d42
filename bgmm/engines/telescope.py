"""The number of components, the concentration and the weights, given which rows belong together.

The telescoping step of Fruehwirth-Schnatter, Malsiner-Walli and Gruen (2021). With n_k the sizes of the K+ occupied components,
N their sum, and gamma = alpha / K (dynamic) or alpha (static), the probability of a partition into these blocks is

    p(C | K, alpha) = K! / (K - K+)! * Gamma(gamma K) / Gamma(gamma K + N) * prod of Gamma(n_k + gamma) / Gamma(gamma),

the product over the occupied. All K are weighed at once; alpha takes Metropolis steps of several lengths.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int

from bgmm.core.slots import Weights

_LENGTHS = (0.2, 0.7, 2.0)  # of the steps of log alpha


def shares(weights: Weights, alpha: Float[Array, ""], k: Array) -> Array:
    """gamma_K."""
    return alpha / k if weights.dynamic else alpha * jnp.ones_like(k)


def log_partition(weights: Weights, counts: Float[Array, " m"], alpha: Float[Array, ""], k: Float[Array, " j"]):
    """log p(C | K, alpha) of each K in ``k``; minus infinity for K under K+."""
    occupied = counts > 0
    k_plus, n = occupied.sum(), counts.sum()
    gamma = shares(weights, alpha, k)
    different = gamma if weights.dynamic else gamma[:1]
    blocks = gammaln(counts[None] + different[:, None]) - gammaln(different)[:, None]
    log_p = jnp.where(occupied[None], blocks, 0.0).sum(1)
    log_p = log_p + gammaln(k * gamma) - gammaln(k * gamma + n) + gammaln(k + 1) - gammaln(jnp.maximum(k - k_plus, 0) + 1)
    return jnp.where(k >= k_plus, log_p, -jnp.inf)


def log_joint(weights: Weights, counts: Float[Array, " m"], alpha: Float[Array, ""]) -> Float[Array, " k"]:
    """log p(K) p(C | K, alpha) of K = 1 .. size, up to a constant."""
    return weights.log_prior_k() + log_partition(weights, counts, alpha, jnp.arange(1.0, weights.size + 1))


def draw_k(weights: Weights, counts: Float[Array, " m"], alpha: Float[Array, ""], *, key: Array) -> Int[Array, ""]:
    """K given the partition: p(K | C, alpha) is proportional to p(K) p(C | K, alpha)."""
    return 1 + jax.random.categorical(key, log_joint(weights, counts, alpha))


def draw_alpha(weights: Weights, counts: Float[Array, " m"], k: Int[Array, ""], log_alpha: Float[Array, ""], *, key: Array):
    """alpha given the partition and K: Metropolis steps on log alpha, whose density is p(alpha) p(C | K, alpha) alpha."""
    if isinstance(weights.concentration, float | int):
        return log_alpha
    prior = weights.concentration.distribution()
    at = jnp.asarray(k, float)[None]

    def log_p(log_alpha):
        alpha = jnp.exp(log_alpha)
        return prior.log_prob(alpha) + log_partition(weights, counts, alpha, at)[0] + log_alpha

    def step(carry, of_step):
        log_alpha, value = carry
        length, key = of_step
        key_move, key_accept = jax.random.split(key)
        proposal = log_alpha + length * jax.random.normal(key_move)
        there = log_p(proposal)
        accept = jnp.log(jax.random.uniform(key_accept)) < there - value  # a symmetric step of log alpha
        return jax.tree.map(lambda new, old: jnp.where(accept, new, old), (proposal, there), carry), None

    steps = (jnp.asarray(_LENGTHS), jax.random.split(key, len(_LENGTHS)))
    return jax.lax.scan(step, (log_alpha, log_p(log_alpha)), steps)[0][0]


def draw_log_weights(
    weights: Weights, counts: Float[Array, " m"], k: Int[Array, ""], alpha: Float[Array, ""], *, key: Array
) -> Float[Array, " m"]:
    """w given the counts: Dirichlet(gamma + n_1, ..., gamma + n_K); the weights of slots that are not there are zero."""
    m = counts.shape[0]
    log_gamma = jax.random.loggamma(key, shares(weights, alpha, jnp.asarray(k, float)) + counts)
    return jax.nn.log_softmax(jnp.where(jnp.arange(m) < k, log_gamma, -jnp.inf))
