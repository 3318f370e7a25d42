"""Where to begin: Gaussians about k-means++ seeds, of random or hierarchical assignments, or what the user brings."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.cluster.hierarchy import fcluster, linkage

from bgmm.core.checks import numpy_generator
from bgmm.core.components import Mixture
from bgmm.core.factor import Factor
from bgmm.core.gaussians import Gaussians, converted
from bgmm.core.in_memory import padded_rows
from bgmm.core.one_off import one_off
from bgmm.core.rows import Rows
from bgmm.core.uncorrelated import Spherical
from bgmm.program.target import Target

STARTS = ("k-means++", "random", "hierarchical")
SEEDING_ROWS = 4096  # seeds are chosen among at most this many rows, drawn by weight
_LINKED_ROWS = 2000  # the hierarchical clustering takes time and memory quadratic in this
_LLOYD_STEPS = 3
_NARROWEST = 0.05  # standard deviation of a guess
_FAR = 10.0  # standardised value beyond which a row is far out


def first_guesses(target: Target, n_starts: int, starts: str, start: Mixture | None, *, key: Array) -> Mixture:
    """Mixtures of Gaussians to begin at (a leading axis): ``n_starts`` of the kind ``starts``, or the one ``start``.

    Their factors have the structure of the program's components, dense where that has none, as those that moves lead to.
    Components stand in the order of their first coordinate, which makes a program that declares its means as ordered as
    easy to start as any other.
    """
    structure = target.guess_structure
    if start is not None:
        return _alone(jax.tree.map(jnp.asarray, start), *structure)
    key_rows, key_starts = jax.random.split(key)
    x, weights = some_rows(target.rows, _LINKED_ROWS if starts == "hierarchical" else SEEDING_ROWS, key=key_rows)
    if starts == "hierarchical":
        counted = np.asarray(weights) > 0  # not padding
        labels = np.zeros(counted.size, int)
        labels[counted] = fcluster(linkage(np.asarray(x)[counted], "ward"), target.n_components, "maxclust") - 1
        guess = from_labels(x, weights, jnp.asarray(labels), target.n_components, structure[0])
        return _alone(_in_order(guess), *structure)
    return _guesses(x, weights, target.n_components, starts, *structure, key_starts, n_starts)


@partial(one_off, static_argnames=("factor", "tied"))
def _alone(guess: Mixture, factor: type[Factor], tied: bool) -> Mixture:
    return jax.tree.map(lambda a: a[None], converted(guess, factor, tied))


def some_rows(rows: Rows, n: int, *, key: Array) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
    """Some rows and their weights, zero where values are missing: all when they are few, else ``n`` that weigh alike.

    Few rows are padded with rows of weight zero, so that what is compiled for them serves other numbers of rows.
    """
    rng = numpy_generator(key)
    if rows.n_counted > n:
        places, weights = rows.draw_places_by_weight(n, rng=rng), np.ones(n)
    else:
        places, weights = rows.draw_places(n, rng=rng)
    n_empty = padded_rows(places.size) - places.size
    places, weights = np.pad(places, (0, n_empty), mode="edge"), np.pad(weights, (0, n_empty))
    return jax.device_put((np.nan_to_num(np.asarray(rows.take(places), float)), np.asarray(weights, float)))


@partial(one_off, static_argnames=("k", "starts", "factor", "tied", "n"))
def _guesses(x, weights, k: int, starts: str, factor: type[Factor], tied: bool, key: Array, n: int) -> Mixture:
    def guess(key, weights):
        if starts == "random":
            guess = from_labels(x, weights, jax.random.randint(key, x.shape[:1], 0, k), k, factor)
        else:
            guess = around(*seeds(x, weights, k, key=key))
        return converted(_in_order(guess), factor, tied)

    # k-means++ takes far rows first: every other start leaves them out, so that some have all their seeds in the bulk
    near = jnp.where(jnp.abs(x).max(1) > _FAR, 0.0, weights)
    return jax.vmap(guess)(jax.random.split(key, n), jnp.where((jnp.arange(n) % 2 == 1)[:, None], near, weights))


def seeds(x: Float[Array, "n d"], weights: Float[Array, " n"], k: int, *, key: Array) -> tuple[Float[Array, "k d"], Array]:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007), and a few of Lloyd's steps.

    Rows are drawn in turn with probability proportional to the squared distance from those drawn before: each time a few, of
    which the one is kept that leaves the least. Also returns the mean squared distance to the nearest mean.
    """
    tries = 2 + int(np.log(k))

    def squared_distances(means):
        return jnp.maximum(jnp.square(means).sum(1)[:, None] - 2 * means @ x.T + jnp.square(x).sum(1)[None], 0.0)

    def add(carry, key):
        nearest, means, i = carry
        total = jnp.cumsum(jnp.where(i == 0, weights, weights * nearest))
        candidates = x[jnp.searchsorted(total, jax.random.uniform(key, (tries,), x.dtype) * total[-1])]
        nearest = jnp.minimum(nearest, squared_distances(candidates))
        best = (nearest @ weights).argmin()
        return (nearest[best], means.at[i].set(candidates[best]), i + 1), None

    def lloyd(_, means):
        r = weights * (squared_distances(means).argmin(0) == jnp.arange(k)[:, None])
        counts = r.sum(1, keepdims=True)
        return jnp.where(counts > 0, (r @ x) / jnp.where(counts > 0, counts, 1.0), means)

    start = (jnp.full(len(x), jnp.inf), jnp.zeros((k, x.shape[1])), 0)
    (_, means, _), _ = jax.lax.scan(add, start, jax.random.split(key, k))
    means = jax.lax.fori_loop(0, _LLOYD_STEPS, lloyd, means)
    return means, squared_distances(means).min(0) @ weights / weights.sum()


def around(means: Float[Array, "k d"], distance: Float[Array, ""]) -> Mixture:
    """Equal spheres about ``means``, of the mean squared ``distance`` of the rows to the nearest one."""
    k, d = means.shape
    scale = jnp.maximum(jnp.sqrt(distance / d), _NARROWEST)
    return Mixture(jnp.full(k, -jnp.log(float(k))), Gaussians(means, Spherical(jnp.broadcast_to(scale, (k,)))))


def from_labels(
    x: Float[Array, "n d"], weights: Float[Array, " n"], labels: Int[Array, " n"], k: int, factor: type[Factor]
) -> Mixture:
    """The mixture of labelled rows, with one covariance for all: that of the rows about the means of their labels."""
    r = jax.nn.one_hot(labels, k, dtype=x.dtype) * weights[:, None]
    counts = jnp.maximum(r.sum(0), jnp.finfo(x.dtype).tiny)
    means = jnp.einsum("nk,nd->kd", r, x) / counts[:, None]
    statistics = factor.statistics((x - means[labels]).T) @ weights
    _, _, covariance = factor.moments(statistics)
    shared = factor.at_least(covariance, jnp.full(x.shape[1], _NARROWEST))
    share = (counts + 1) / (counts + 1).sum()
    return Mixture(jnp.log(share), Gaussians(means, jax.tree.map(lambda a: jnp.stack([a] * k), shared)))


def _in_order(mixture: Mixture) -> Mixture:
    assert isinstance(mixture.components, Gaussians)
    order = jnp.argsort(mixture.components.means[:, 0])
    return jax.tree.map(lambda a: a[order], mixture)
