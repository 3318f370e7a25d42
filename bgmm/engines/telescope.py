"""The number of components, the concentration and the weights, given which rows belong together.

The telescoping step of Fruehwirth-Schnatter, Malsiner-Walli and Gruen (2021). With n_k the sizes of the K+ occupied components,
N their sum, and gamma = alpha / K (dynamic) or alpha (static), the probability of a partition into these blocks is

    p(C | K, alpha) = K! / (K - K+)! * Gamma(gamma K) / Gamma(gamma K + N) * prod of Gamma(n_k + gamma) / Gamma(gamma),

the product over the occupied; of a Dirichlet process, the limit of the dynamic one, it is

    p(C | alpha) = alpha^K+ * Gamma(alpha) / Gamma(alpha + N) * prod of Gamma(n_k).

All K are weighed at once; alpha takes Metropolis steps of several lengths.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int

from bgmm.core.slots import Weights
from bgmm.core.weights import broken, log_left_of_sticks

_LENGTHS = (0.2, 0.7, 2.0)  # of the steps of log alpha


def log_partition(weights: Weights, counts: Float[Array, " m"], alpha: Float[Array, ""], k: Float[Array, " j"]):
    """log p(C | K, alpha) of each K in ``k``; minus infinity for K under K+."""
    occupied = counts > 0
    k_plus, n = occupied.sum(), counts.sum()
    if weights.law == "process":
        log_p = k_plus * jnp.log(alpha) + jnp.where(occupied, gammaln(jnp.maximum(counts, 1.0)), 0.0).sum()
        return jnp.where(k >= k_plus, log_p + gammaln(alpha) - gammaln(alpha + n), -jnp.inf)
    gamma = alpha / k if weights.law == "dynamic" else alpha[None]
    blocks = gammaln(counts[None] + gamma[:, None]) - gammaln(gamma)[:, None]
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
    """w given the counts, occupied slots first; the weights of slots that are not there are zero.

    Dirichlet(gamma + n_1, ..., gamma + n_K); of a Dirichlet process Dirichlet(n_1, ..., n_K+, alpha), the last a stick of
    which the empty slots break off their weights.
    """
    m = counts.shape[0]
    if weights.law != "process":
        gamma = alpha / k if weights.law == "dynamic" else alpha
        log_gamma = jax.random.loggamma(key, gamma + counts)
        return jax.nn.log_softmax(jnp.where(jnp.arange(m) < k, log_gamma, -jnp.inf))
    key_gamma, key_sticks = jax.random.split(key)
    occupied = counts > 0
    log_gamma = jax.random.loggamma(key_gamma, jnp.where(occupied, counts, alpha))
    log_left = jnp.where(occupied, 0.0, log_left_of_sticks(alpha, (m,), key=key_sticks))
    rest = log_gamma[jnp.minimum(occupied.sum(), m - 1)]  # of the first empty slot: for all that are empty
    return jax.nn.log_softmax(jnp.where(occupied, log_gamma, rest + broken(log_left)))
