r"""Proposals of whole partitions, which do not depend on where a chain is.

Splits and merges change a partition a little at a time, and rarely pass between modes and numbers of clusters that improbable
partitions separate. A jump picks a landmark, a mixture of m_j clusters that the chains visited before or that is at a mode
(``landmarks``), with probability rho_j, and assigns every row by its responsibilities r_j. The proposal is a partition of m_j
clusters if none of these is left without rows, and it has the probability

.. math::
    q(C) = \sum_{j : m_j = |C|} \rho_j \sum_\pi \prod_k \prod_{n \in C_k} r_{j, \pi(k)}(x_n),

the inner sum over all ways to name the clusters: a permanent, by recursion over subsets. With draws of the posterior as
landmarks q tends to the posterior of C as they become more, because p(C | x) is the mean of p(C | x, theta) over the posterior
of theta: on Old Faithful 16, 64 and 200 draws let 12, 23 and 33 % of the jumps be accepted. (Tierney 1994 on independence
proposals.) Clusters that both partitions have keep their components and parameters, so that errors in the estimates of their
evidence do not count.

Whatever the landmarks, the posterior is invariant. They are sought in warm-up and, where sampling goes on, a few times among
the draws, then no more, so that the posterior stays the limit (Roberts and Rosenthal 2007 on adaptation that ends): a chain
may come upon clusters that none had in warm-up, and without a landmark there it would stay for long. On thyroid the landmarks
of warm-up and those found after 560 draws let .029 and .067 of the jumps be accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import kernel
from bgmm.engines.gibbs.partitions import Partition, Proposal, by_first
from bgmm.engines.gibbs.reference import Conditions, one
from bgmm.engines.gibbs.telescope import log_joint


@dataclass(frozen=True)
class Constants:
    """Constants of the jumps."""

    largest: int = 8  # clusters of a landmark: a permanent takes 2^m m operations
    few: int = 4  # clusters, for which a shorter program computes the permanent
    landmarks: int = 64  # of each number of clusters
    numbers: int = 8_000_000  # responsibilities of all landmarks together: of more rows there are fewer landmarks
    astray: float = 0.1  # rows, expected, that a proposal assigns at random, so that no partition is almost impossible


CONSTANTS = Constants()
_NEVER = -1e30  # log probability of a component that a landmark lacks; finite, so that no row of a matrix has -inf - -inf


class Landmarks(NamedTuple):
    """Responsibilities of mixtures, those of m clusters at place m - 1, padded to one number of components."""

    log_r: Float[Array, "l l places j"]
    log_probability: Float[Array, "l j"]  # with which each is picked


class Assigned(NamedTuple):
    """A partition into the first components, and their statistics; log q is infinite where a cluster is left without rows."""

    assignments: Int[Array, "n_blocks b"]
    statistics: Float[Array, "m p"]
    log_q: Float[Array, ""]


def none(n_places: int, m: int) -> Landmarks:
    """No landmarks, in the shape of those for so many places of rows and a model of ``m`` components."""
    size = min(CONSTANTS.largest, m)
    j = int(np.clip(CONSTANTS.numbers // (size**2 * n_places), 1, CONSTANTS.landmarks))
    return Landmarks(jnp.full((size, size, n_places, j), _NEVER, float), jnp.full((size, j), -jnp.inf, float))


def log_responsibilities(r: Float[Array, "places l"], m: Int[Array, ""], n_rows: Array) -> Float[Array, "places l"]:
    """Log responsibilities of a landmark of m clusters: those of the first m are at least log(share / m)."""
    share = jnp.minimum(CONSTANTS.astray / n_rows, 0.5)
    return jnp.where(jnp.arange(r.shape[1]) < m, jnp.log((1 - share) * r + share / jnp.maximum(m, 1)), _NEVER)


def jump(
    fixed: Conditions,
    x: Float[Array, "n_blocks d b"],
    now: Partition,
    alpha: Float[Array, ""],
    landmarks: Landmarks,
    *,
    key: Array,
) -> Proposal:
    """A partition by a landmark; the clusters that it shares with ``now`` keep their components, and are not touched."""
    key_landmark, key_rows = jax.random.split(key)
    c = fixed.rows.weights
    picked = jax.random.categorical(key_landmark, landmarks.log_probability.reshape(-1))
    new = assigned(fixed, x, landmarks, picked, key=key_rows)
    renamed, kept = named_as(now, new, c)
    counts, counts_now = renamed.statistics[:, 0], now.statistics[:, 0]
    first = jnp.cumsum(counts_now > 0) - 1  # names under which the clusters of now come first
    log_q_now = log_probability(landmarks, c, first[now.assignments], (counts_now > 0).sum())
    log_p = [logsumexp(log_joint(fixed.target.weights_prior, n, alpha)) for n in (counts, counts_now)]
    touched = ((counts > 0) | (counts_now > 0)) & ~kept
    possible = (log_q_now > -jnp.inf) & (new.log_q < jnp.inf) & touched.any()
    log_ratio = jnp.where(possible, log_p[0] - log_p[1] + log_q_now - new.log_q, -jnp.inf)
    return Proposal(renamed.assignments, renamed.statistics, touched, log_ratio)


def named_as(now: Partition, new: Assigned, c: Float[Array, "n_blocks b"]) -> tuple[Assigned, Bool[Array, " m"]]:
    """``new`` with the clusters that ``now`` has too in the components where they are; and which components these are."""
    m, counts, counts_now = len(now.statistics), new.statistics[:, 0], now.statistics[:, 0]
    pairs = jnp.where(c > 0, new.assignments * m + now.assignments, m * m).reshape(-1)  # sums of the others are dropped
    in_both = jax.ops.segment_sum(c.reshape(-1), pairs, num_segments=m * m).reshape(m, m)
    equal = (in_both > 0) & (in_both == counts[:, None]) & (in_both == counts_now[None])
    kept = equal.any(0)
    free = jnp.argsort(kept, stable=True)  # the components where other clusters are, or none
    name = jnp.where(equal.any(1), equal.argmax(1), free[jnp.cumsum(~equal.any(1)) - 1])
    statistics = jnp.zeros_like(new.statistics).at[name].set(new.statistics)
    return new._replace(assignments=name[new.assignments], statistics=statistics), kept


def assigned(
    fixed: Conditions, x: Float[Array, "n_blocks d b"], landmarks: Landmarks, picked: Int[Array, ""], *, key: Array
) -> Assigned:
    """Every row assigned by a landmark, these being numbered along the rows of ``log_probability``."""
    c, T = fixed.rows.weights, one(fixed.reference.origin).statistics
    of_size, j = jnp.divmod(picked, landmarks.log_probability.shape[1])
    n_clusters = of_size + 1
    below = jnp.cumsum(jnp.exp(landmarks.log_r[of_size, :, :, j]), axis=0)
    assignments = kernel.draw_from(below, key=key).reshape(c.shape)

    def add(total, block):
        x, z, c = block
        return total + ((jnp.arange(len(total))[:, None] == z[None]) * c[None]) @ T(x).T, None

    p = jax.eval_shape(T, x[0]).shape[0]
    statistics = jax.lax.scan(add, jnp.zeros((len(below), p)), (x, assignments, c))[0]
    statistics = jnp.zeros((fixed.target.n_components, p)).at[: len(statistics)].set(statistics)
    whole = (statistics[:, 0] > 0).sum() == n_clusters
    log_q = jax.lax.cond(whole, log_probability, lambda *_: jnp.array(jnp.inf), landmarks, c, assignments, n_clusters)
    return Assigned(assignments, statistics, log_q)


def log_probability(
    landmarks: Landmarks, c: Float[Array, "n_blocks b"], assignments: Int[Array, "n_blocks b"], m: Int[Array, ""]
) -> Float[Array, ""]:
    """log q of a partition into the first m components; minus infinity where no landmark has as many."""
    size, _, _, n = landmarks.log_r.shape
    of_size = jnp.minimum(m, size) - 1
    cluster = jnp.where(c > 0, assignments, size).reshape(-1)  # sums of none are dropped

    def by_component(i, log_a):
        return log_a.at[:, i].set(jax.ops.segment_sum(landmarks.log_r[of_size, i], cluster, num_segments=size))

    log_a = jax.lax.fori_loop(0, of_size + 1, by_component, jnp.zeros((size, size, n)))
    log_permanent = by_first(m, CONSTANTS.few, size, lambda first: log_permanents(log_a[:first, :first], m))
    return jnp.where(m <= size, logsumexp(landmarks.log_probability[of_size] + log_permanent), -jnp.inf)


def log_permanents(log_a: Float[Array, "l l j"], m: Int[Array, ""]) -> Float[Array, " j"]:
    """log of the sum over permutations of product_k a[k, pi(k)], of the first m rows and columns of each matrix.

    Row after row, f(S) = sum over l in S of f(S without l) a[k, l] is the permanent of the rows so far and the columns S.
    """
    size, _, n = log_a.shape
    exists = (jnp.arange(size) < m)[:, None]
    top = jnp.where(exists[None], log_a, -jnp.inf).max(axis=1)
    a, subsets = jnp.exp(log_a - top[:, None]), jnp.arange(2**size)

    def with_row(k, f):
        def with_column(column, total):
            bit = 1 << column
            return total + jnp.where((subsets & bit > 0)[:, None], f[subsets & ~bit] * a[k, column], 0.0)

        return jax.lax.fori_loop(0, m, with_column, jnp.zeros_like(f))

    m = jnp.minimum(m, size)
    f = jax.lax.fori_loop(0, m, with_row, jnp.zeros((2**size, n)).at[0].set(1.0))
    return jnp.log(f[(1 << m) - 1]) + jnp.where(exists, top, 0.0).sum(0)
