"""K and the concentration given the partition: the telescoping step of Fruehwirth-Schnatter, Malsiner-Walli and Gruen (2021).

With p(C | K, alpha) of the weights prior, K is drawn from

    p(K | C, alpha) proportional to p(K) p(C | K, alpha)

over all K at once, and alpha takes Metropolis steps of several lengths.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bgmm.program.weights_prior import WeightsPrior, concentration_prior

_LENGTHS = (0.2, 0.7, 2.0)  # of the steps of log alpha


def log_joint(weights: WeightsPrior, counts: Float[Array, " m"], alpha: Float[Array, ""]) -> Float[Array, " k"]:
    """log p(K) p(C | K, alpha) of K = 1 .. size, up to a constant."""
    k = jnp.arange(1.0, weights.size + 1)
    return weights.log_prior_k() + jax.vmap(weights.log_partition, in_axes=(None, None, 0))(counts, alpha, k)


def draw_k(weights: WeightsPrior, counts: Float[Array, " m"], alpha: Float[Array, ""], *, key: Array) -> Int[Array, ""]:
    """K given the partition and alpha."""
    return 1 + jax.random.categorical(key, log_joint(weights, counts, alpha))


def draw_alpha(
    weights: WeightsPrior, counts: Float[Array, " m"], k: Int[Array, ""], log_alpha: Float[Array, ""], *, key: Array
) -> Float[Array, ""]:
    """log alpha given the partition and K: Metropolis steps; its density is p(alpha) p(C | K, alpha) alpha."""
    prior = concentration_prior(weights)
    if prior is None:
        return log_alpha

    def log_p(log_alpha):
        alpha = jnp.exp(log_alpha)
        return prior.log_prob(alpha) + weights.log_partition(counts, alpha, k) + log_alpha

    def step(carry, of_step):
        log_alpha, value = carry
        length, key = of_step
        key_move, key_accept = jax.random.split(key)
        proposal = log_alpha + length * jax.random.normal(key_move)
        proposed = log_p(proposal)
        accept = jnp.log(jax.random.uniform(key_accept)) < proposed - value  # a symmetric step of log alpha
        return jax.tree.map(lambda new, old: jnp.where(accept, new, old), (proposal, proposed), carry), None

    steps = (jnp.asarray(_LENGTHS), jax.random.split(key, len(_LENGTHS)))
    return jax.lax.scan(step, (log_alpha, log_p(log_alpha)), steps)[0][0]
