"""Where to begin: k-means++ seeds (Arthur and Vassilvitskii 2007), as the statistics of a first M-step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bgmm.core.gaussian import Parameters
from bgmm.core.target import Target

_SEEDING_ROWS = 4096  # seeds are chosen among at most this many rows, drawn by weight


def seeds(x: Float[Array, "n d"], weights: Float[Array, " n"], k: int, *, key: Array) -> tuple[Float[Array, "k d"], Array]:
    """k-means++: rows drawn in turn with probability proportional to the squared distance from those drawn before.

    Also returns the mean squared distance to the nearest seed.
    """

    def draw(mass, key):
        total = jnp.cumsum(mass)
        return x[jnp.searchsorted(total, jax.random.uniform(key, dtype=x.dtype) * total[-1])]

    def add(nearest, key):
        seed = draw(weights * nearest, key)
        return jnp.minimum(nearest, jnp.square(x - seed[None]).sum(1)), seed

    first, *rest = jax.random.split(key, k)
    seed = draw(weights, first)
    nearest = jnp.square(x - seed[None]).sum(1)
    if not rest:
        return seed[None], (weights * nearest).sum() / weights.sum()
    nearest, others = jax.lax.scan(add, nearest, jnp.stack(rest))
    return jnp.concatenate([seed[None], others]), (weights * nearest).sum() / weights.sum()


def first_guesses(target: Target, n_starts: int, *, key: Array) -> Parameters:
    """Mixtures of equal spheres around k-means++ seeds, in the order of their first coordinate (a leading axis of starts).

    The order makes a program that declares its means as ordered as easy to start as any other.
    """
    blocks = target.blocks
    d = blocks.x.shape[1]
    x = blocks.x.transpose(0, 2, 1).reshape(-1, d)
    weights = blocks.weights.reshape(-1)
    key_rows, key_seeds = jax.random.split(key)
    if x.shape[0] > _SEEDING_ROWS:
        rows = jax.random.choice(key_rows, x.shape[0], (_SEEDING_ROWS,), p=weights / weights.sum())
        x, weights = x[rows], jnp.ones(_SEEDING_ROWS, x.dtype)

    def guess(key):
        means, distance = seeds(x, weights, target.n_components, key=key)
        means = means[jnp.argsort(means[:, 0])]
        scale = jnp.maximum(jnp.sqrt(distance / d), 0.05)
        k = target.n_components
        return Parameters(jnp.full(k, -jnp.log(float(k))), means, scale * jnp.broadcast_to(jnp.eye(d), (k, d, d)))

    return jax.vmap(guess)(jax.random.split(key_seeds, n_starts))
