"""Proposals of partitions: two rows are picked, and their cluster split or their clusters merged; or that is done twice.

Jain and Neal (2004) and Dahl (2005), with a launch by EM: from the two rows as seeds, a few deterministic steps of EM on the
rows concerned give responsibilities r, by which a split allocates each row, with probability q(C' | C) = product over rows of
r; a merge is certain. The pair of rows and the launch do not depend on how the rows concerned are divided now.

Half of the proposals are two such steps, accepted or rejected together: a merge and a split leave the number of clusters
unchanged, and lead from one mode to another without accepting the improbable partition between them. (The reverse steps have
the same probability, because the pairs of rows are independent of all else.) Two steps that lead back to the same partition are
impossible: they are frequent, and change nothing that HMC does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import kernel
from bgmm.core.gaussians import Gaussians, Linear
from bgmm.core.in_memory import InMemory
from bgmm.engines.gibbs.partitions import Partition, Proposal
from bgmm.engines.gibbs.reference import Conditions, joined, one, shrunk
from bgmm.engines.gibbs.telescope import log_joint


@dataclass(frozen=True)
class Constants:
    """Constants of the proposals."""

    launch: int = 16  # steps of EM: on iris 1, 3, 8, 16, 30 of them led to acceptance of .0013, .0046, .013, .028, .036


CONSTANTS = Constants()


def split_merge(
    fixed: Conditions, x: Float[Array, "n_blocks d b"], partition: Partition, alpha: Float[Array, ""], *, key: Array
) -> Proposal:
    """One change, or two in a row."""
    key_twice, key_changes = jax.random.split(key)
    made = jnp.stack([jnp.array(True), jax.random.bernoulli(key_twice)])
    no_change = Proposal(partition.assignments, partition.statistics, jnp.zeros(len(partition.z), bool), jnp.zeros(()))

    def change(proposal: Proposal, made_and_key):
        made, key = made_and_key

        def make() -> Proposal:
            return _split_or_merge(fixed, x, proposal, alpha, key=key)

        return jax.lax.cond(made, make, lambda: proposal), None

    proposal, _ = jax.lax.scan(change, no_change, (made, jax.random.split(key_changes)))
    same = _same(partition, proposal, fixed.rows.weights)
    return proposal._replace(log_ratio=jnp.where(same, -jnp.inf, proposal.log_ratio))


def _same(one: Partition, two: Proposal, c: Float[Array, "n_blocks b"]) -> Bool[Array, ""]:
    """Whether two partitions differ in nothing but the numbers of their components."""
    m = len(one.z)
    renamed = jnp.zeros(m, int).at[jnp.where(c > 0, one.assignments, m)].set(two.assignments, mode="drop")
    as_many = (one.statistics[:, 0] > 0).sum() == (two.statistics[:, 0] > 0).sum()
    return as_many & ((renamed[one.assignments] == two.assignments) | (c == 0)).all()


def _split_or_merge(
    fixed: Conditions, x: Float[Array, "n_blocks d b"], now: Proposal, alpha: Float[Array, ""], *, key: Array
) -> Proposal:
    """``now`` with one change more; a ratio of zero where no component is free for a split."""
    key_pair, key_rows = jax.random.split(key)
    weights, c = fixed.target.weights_prior, fixed.rows.weights
    counts = now.statistics[:, 0]
    i, j = _pair(c, key=key_pair)
    assigned = now.assignments.reshape(-1)
    a, b = assigned[i], assigned[j]
    split = a == b
    inside = c * ((now.assignments == a) | (now.assignments == b))
    of_both = now.statistics[a] + jnp.where(split, 0.0, now.statistics[b])
    r = _launch(fixed, x, inside, of_both, (i, j))

    # the rows concerned in two parts: as proposed for a split, as they are for a merge
    place = jnp.arange(assigned.size)
    proposed = jax.random.uniform(key_rows, place.shape) < r[:, 0]
    first = jnp.where(split, proposed, assigned == a)
    first = (first | (place == i)) & (place != j)
    free = inside.reshape(-1) * ((place != i) & (place != j))
    log_r = free @ jnp.log(jnp.maximum(jnp.where(first, r[:, 0], r[:, 1]), jnp.finfo(r.dtype).tiny))
    T = one(fixed.reference.origin).statistics
    of_first = kernel.sum_statistics(T, x, inside * first.reshape(inside.shape))

    empty = counts == 0
    other = jnp.where(split, jnp.argmax(empty), b)
    counts_two = counts.at[a].set(of_first[0]).at[other].set(of_both[0] - of_first[0])
    counts_one = counts.at[a].set(of_both[0]).at[other].set(0.0)
    log_p = jax.vmap(lambda counts: logsumexp(log_joint(weights, counts, alpha)))(jnp.stack([counts_two, counts_one]))
    of_split = log_p[0] - log_p[1] - log_r
    log_ratio = jnp.where(split & ~empty.any(), -jnp.inf, jnp.where(split, of_split, -of_split))

    moved = jnp.where(split & ~first.reshape(inside.shape), other, a)
    of_a, of_other = jnp.where(split, of_first, of_both), jnp.where(split, of_both - of_first, 0.0)
    return Proposal(
        assignments=jnp.where(inside > 0, moved, now.assignments),
        statistics=now.statistics.at[other].set(of_other).at[a].set(of_a),
        touched=now.touched.at[a].set(True).at[other].set(True),
        log_ratio=now.log_ratio + log_ratio,
    )


def _pair(c: Float[Array, "n_blocks b"], *, key: Array) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Places of two different rows, all pairs with the same probability."""
    key_first, key_second = jax.random.split(key)
    up_to = jnp.cumsum(c.reshape(-1))
    n = up_to[-1]
    first = jnp.floor(n * jax.random.uniform(key_first))
    second = (first + 1 + jnp.floor((n - 1) * jax.random.uniform(key_second))) % n
    i, j = (jnp.searchsorted(up_to, row + 0.5) for row in (first, second))
    return i, j


def _launch(
    fixed: Conditions,
    x: Float[Array, "n_blocks d b"],
    inside: Float[Array, "n_blocks b"],
    of_both: Float[Array, " p"],
    seeds: tuple[Array, Array],
) -> Float[Array, "places 2"]:
    """Responsibilities of two components after EM on the rows ``inside``, from two of them."""
    n_blocks, _, b = x.shape
    rows = InMemory(x, inside, jnp.zeros(n_blocks, int), None)

    def of_statistics(statistics: Float[Array, "2 p"]) -> Gaussians:
        return joined(jax.vmap(partial(shrunk, fixed.reference))(statistics))

    def natural(share: Float[Array, " 2"], components: Gaussians) -> Linear:
        return components.natural(jnp.zeros(2)).tempered(fixed.inverse_temperature, jnp.log(share))

    def step(_, now: Linear) -> Linear:
        statistics = kernel.expected_statistics(now, rows)[1].eta
        return natural((statistics[:, 0] + 1) / (statistics[:, 0] + 1).sum(), of_statistics(statistics))

    means = jnp.stack([x[place // b, :, place % b] for place in seeds])
    whole = of_statistics(jnp.stack([of_both, of_both]))
    halved = 1.0 if whole.tied else jnp.sqrt(0.5)  # each of two parts has about half of the variance
    first = replace(whole, means=means, factor=jax.tree.map(lambda a: halved * a, whole.factor))
    return kernel.responsibilities(jax.lax.fori_loop(0, CONSTANTS.launch, step, natural(jnp.full(2, 0.5), first)), rows)
