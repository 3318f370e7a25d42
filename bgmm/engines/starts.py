"""Where to begin: mixtures around k-means++ seeds, random or hierarchical assignments, or what the user brings."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.cluster.hierarchy import fcluster, linkage

from bgmm.core.blocks import Blocks, rows_at
from bgmm.core.checks import numpy_generator
from bgmm.core.gaussian import Parameters
from bgmm.core.target import Target

STARTS = ("k-means++", "random", "hierarchical")
_SEEDING_ROWS = 4096  # seeds are chosen among at most this many rows, drawn by weight
_LINKED_ROWS = 2000  # the hierarchical clustering takes time and memory quadratic in this
_NARROWEST = 0.05  # standard deviation of a guess


def first_guesses(target: Target, n_starts: int, starts: str, start: Parameters | None, *, key: Array) -> Parameters:
    """Mixtures to climb from (a leading axis): ``n_starts`` of the kind ``starts``, or the one ``start``.

    Components stand in the order of their first coordinate, which makes a program that declares its means as ordered as
    easy to start as any other.
    """
    if start is not None:
        return jax.tree.map(lambda a: jnp.asarray(a)[None], start)
    key_rows, key_starts = jax.random.split(key)
    x, weights = some_rows(target.blocks, _LINKED_ROWS if starts == "hierarchical" else _SEEDING_ROWS, key=key_rows)
    if starts == "hierarchical":
        held = np.asarray(weights) > 0  # not padding
        labels = np.zeros(held.size, int)
        labels[held] = fcluster(linkage(np.asarray(x)[held], "ward"), target.n_components, "maxclust") - 1
        return jax.tree.map(lambda a: a[None], _in_order(from_labels(x, weights, jnp.asarray(labels), target.n_components)))
    return _guesses(x, weights, target.n_components, starts, jax.random.split(key_starts, n_starts))


def some_rows(blocks: Blocks, n: int, *, key: Array) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
    """Some rows of the data and their weights: all places and weights when they are few, else ``n`` rows drawn by weight."""
    weights = np.asarray(blocks.weights, float).reshape(-1)
    place = np.arange(weights.size)
    if weights.size > n:
        total = np.cumsum(weights)
        drawn = numpy_generator(key).uniform(0, total[-1], n)
        place, weights = np.searchsorted(total, drawn, side="right"), np.ones(n)
    return jnp.asarray(rows_at(blocks, place), float), jnp.asarray(weights)


@partial(jax.jit, static_argnames=("k", "starts"))
def _guesses(x, weights, k: int, starts: str, keys: Array) -> Parameters:
    def guess(key):
        if starts == "random":
            return _in_order(from_labels(x, weights, jax.random.randint(key, x.shape[:1], 0, k), k))
        means, distance = seeds(x, weights, k, key=key)
        return _in_order(around(means, distance))

    return jax.vmap(guess)(keys)


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


def around(means: Float[Array, "k d"], distance: Float[Array, ""]) -> Parameters:
    """Equal spheres around ``means``, of the mean squared ``distance`` of the rows to the nearest one."""
    k, d = means.shape
    scale = jnp.maximum(jnp.sqrt(distance / d), _NARROWEST)
    return Parameters(jnp.full(k, -jnp.log(float(k))), means, scale * jnp.broadcast_to(jnp.eye(d), (k, d, d)))


def from_labels(x: Float[Array, "n d"], weights: Float[Array, " n"], labels: Int[Array, " n"], k: int) -> Parameters:
    """The mixture of labelled rows, with one covariance for all: that of the rows within their labels."""
    r = jax.nn.one_hot(labels, k, dtype=x.dtype) * weights[:, None]
    counts = jnp.maximum(r.sum(0), jnp.finfo(x.dtype).tiny)
    means = jnp.einsum("nk,nd->kd", r, x) / counts[:, None]
    within = x - means[labels]
    covariance = jnp.einsum("n,ni,nj->ij", weights, within, within) / weights.sum() + _NARROWEST**2 * jnp.eye(x.shape[1])
    scale_tril = jnp.broadcast_to(jnp.linalg.cholesky(covariance), (k, *covariance.shape))
    share = (counts + 1) / (counts + 1).sum()
    return Parameters(jnp.log(share), means, scale_tril)


def _in_order(mixture: Parameters) -> Parameters:
    order = jnp.argsort(mixture.means[:, 0])
    return jax.tree.map(lambda a: a[order], mixture)
