"""Moves between partitions: two rows are picked, and their cluster split or their clusters merged; or that is done twice.

Jain and Neal (2004) and Dahl (2005), with a launch by EM: from the two rows as seeds, a few deterministic steps of EM on the
rows concerned give responsibilities r, by which a split allocates each row; the parameters are proposed from ``independence``.
K and the weights are summed out, so that with p(C | alpha) = sum over K of p(K) p(C | K, alpha) (``telescope``) a split of A
into 1 and 2 is accepted with probability min(1, ratio),

    ratio = p(C' | alpha) / p(C | alpha) * g_1 g_2 / g_A / prod over rows of r,    g = p(z | h) p(rows | z) / q(z | rows),

and a merge with its inverse. The pair of rows and the launch do not depend on how the rows concerned are divided now.

Half of the moves are two such steps, accepted or not together, with the product of the ratios: a merge and a split leave the
number of clusters as it is, and lead from one mode to another past partitions that would hardly be accepted on the way. (The
same steps undone in the other order come with the same probability, the pairs of rows being independent of all else.)
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from bgmm.core import gaussian, one_pass
from bgmm.core.gaussian import Parameters
from bgmm.core.one_pass import Blocks
from bgmm.core.slots import Slots
from bgmm.engines.frame import Frame, shrunk_covariance
from bgmm.engines.hmc import log_density
from bgmm.engines.independence import independence
from bgmm.engines.telescope import log_joint

_LAUNCH = 16  # steps of EM: on iris 1, 3, 8, 16, 30 of them led to acceptance of .0013, .0046, .013, .028, .036


class Partition(NamedTuple):
    """Which rows belong together, what they amount to, and the parameters of each of their components."""

    rows: Int[Array, "n_blocks b"]  # slot of the row in each place
    statistics: Float[Array, "m p"]
    z: Float[Array, "m q"]


def jump(
    slots: Slots,
    frame: Frame,
    x: Float[Array, "n_blocks d b"],
    at: Partition,
    h: Float[Array, " h"],
    alpha: Float[Array, ""],
    power: Float[Array, ""],
    *,
    key: Array,
) -> tuple[Partition, Int[Array, ""]]:
    """Two steps, each accepted or not, or both together; and how many were."""
    key_joint, *keys = jax.random.split(key, 3)
    apart = ~jax.random.bernoulli(key_joint)

    def step(carry, of_step):
        kept, now, log_ratio = carry
        decide, key = of_step
        key_step, key_accept = jax.random.split(key)
        there, more = split_or_merge(slots, frame, x, now, h, alpha, power, key=key_step)
        log_ratio = log_ratio + more
        accept = decide & (jnp.log(jax.random.uniform(key_accept)) < log_ratio)
        kept = jax.tree.map(partial(jnp.where, accept), there, kept)
        now = jax.tree.map(partial(jnp.where, decide), kept, there)
        return (kept, now, jnp.where(decide, 0.0, log_ratio)), accept

    steps = (jnp.stack([apart, jnp.array(True)]), jnp.stack(keys))
    (kept, *_), accepted = jax.lax.scan(step, (at, at, jnp.zeros(())), steps)
    return kept, accepted.sum()


def split_or_merge(
    slots: Slots,
    frame: Frame,
    x: Float[Array, "n_blocks d b"],
    at: Partition,
    h: Float[Array, " h"],
    alpha: Float[Array, ""],
    power: Float[Array, ""],
    *,
    key: Array,
) -> tuple[Partition, Float[Array, ""]]:
    """A proposal, and the logarithm of its ratio: minus infinity where there is no place for another cluster."""
    key_pair, key_rows, key_z = jax.random.split(key, 3)
    weights, c = slots.model.weights, slots.blocks.weights
    counts = at.statistics[:, 0]
    i, j = _pair(c, key=key_pair)
    assigned = at.rows.reshape(-1)
    a, b = assigned[i], assigned[j]
    split = a == b
    inside = c * ((at.rows == a) | (at.rows == b))
    together = at.statistics[a] + jnp.where(split, 0.0, at.statistics[b])
    r = _launch(frame, x, inside, together, (i, j), power)

    # the rows concerned in two parts: as proposed for a split, as they are for a merge
    place = jnp.arange(assigned.size)
    proposed = jax.random.uniform(key_rows, place.shape) < r[:, 0]
    first = jnp.where(split, proposed, assigned == a)
    first = (first | (place == i)) & (place != j)
    chosen = inside.reshape(-1) * ((place != i) & (place != j))
    log_r = chosen @ jnp.log(jnp.maximum(jnp.where(first, r[:, 0], r[:, 1]), jnp.finfo(r.dtype).tiny))
    of_first = one_pass.sums(x, inside * first.reshape(inside.shape))
    statistics = jnp.stack([of_first, together - of_first, together])

    normals = jax.vmap(lambda s: independence(slots, frame, s, h, power))(statistics)
    new = jax.vmap(lambda normal, key: normal.draw(key=key))(normals, jax.random.split(key_z, 3))
    now = jnp.stack([at.z[a], at.z[b], at.z[a]])
    fresh = jnp.stack([split, split, ~split])
    z = jnp.where(fresh[:, None], new, now)
    log_q = jax.vmap(lambda normal, z: normal.log_density(z))(normals, z)
    log_g = jax.vmap(lambda z, s: log_density(slots, z, h, s, power))(z, statistics) - log_q

    empty = counts == 0
    other = jnp.where(split, jnp.argmax(empty), b)
    two = counts.at[a].set(statistics[0, 0]).at[other].set(statistics[1, 0])
    one = counts.at[a].set(statistics[2, 0]).at[other].set(0.0)
    log_p = jax.vmap(lambda counts: logsumexp(log_joint(weights, counts, alpha)))(jnp.stack([two, one]))
    log_ratio = jnp.where(split, 1.0, -1.0) * (log_p[0] - log_p[1] + log_g[0] + log_g[1] - log_g[2] - log_r)
    log_ratio = jnp.where(split & ~empty.any(), -jnp.inf, log_ratio)

    rows = jnp.where(inside > 0, jnp.where(split & ~first.reshape(inside.shape), other, a), at.rows)
    there = Partition(
        rows=rows,
        statistics=at.statistics.at[other]
        .set(jnp.where(split, statistics[1], 0.0))
        .at[a]
        .set(statistics[jnp.where(split, 0, 2)]),
        z=at.z.at[other].set(z[1]).at[a].set(z[jnp.where(split, 0, 2)]),
    )
    return there, log_ratio


def _pair(c: Float[Array, "n_blocks b"], *, key: Array) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Places of two different rows, all pairs alike."""
    key_first, key_second = jax.random.split(key)
    up_to = jnp.cumsum(c.reshape(-1))
    n = up_to[-1]
    first = jnp.floor(n * jax.random.uniform(key_first))
    second = (first + 1 + jnp.floor((n - 1) * jax.random.uniform(key_second))) % n
    i, j = (jnp.searchsorted(up_to, row + 0.5) for row in (first, second))
    return i, j


def _launch(
    frame: Frame,
    x: Float[Array, "n_blocks d b"],
    inside: Float[Array, "n_blocks b"],
    together: Float[Array, " p"],
    seeds: tuple[Array, Array],
    power: Float[Array, ""],
) -> Float[Array, "places 2"]:
    """Responsibilities of two components after EM on the rows ``inside``, from two of them."""
    n_blocks, _, b = x.shape
    blocks = Blocks(x, inside, jnp.zeros(n_blocks, int), None)
    cholesky = jax.vmap(lambda s: jnp.linalg.cholesky(shrunk_covariance(frame, s)))

    def eta(share, means, L):
        of_rows = gaussian.natural(Parameters(jnp.zeros(2), means, L))
        return (power * of_rows).at[:, 0].add(jnp.log(share))

    def step(_, eta_now):
        statistics = one_pass.expected_statistics(eta_now, blocks)[1]
        n, means, _ = gaussian.moments(statistics)
        return eta((n + 1) / (n + 1).sum(), means, cholesky(statistics))

    means = jnp.stack([x[place // b, :, place % b] for place in seeds])
    start = eta(jnp.full(2, 0.5), means, jnp.sqrt(0.5) * cholesky(jnp.stack([together, together])))
    return one_pass.responsibilities(jax.lax.fori_loop(0, _LAUNCH, step, start), blocks)
