"""Moves between partitions: two rows are picked, and their cluster split or their clusters merged; or that is done twice.

Jain and Neal (2004) and Dahl (2005), with a launch by EM: from the two rows as seeds, a few deterministic steps of EM on the
rows concerned give responsibilities r, by which a split allocates each row; ``laplace_proposal`` proposes the parameters.
K and the weights are summed out, so that with p(C | alpha) = sum over K of p(K) p(C | K, alpha) (``telescope``) a split of A
into 1 and 2 is accepted with probability min(1, ratio),

    ratio = p(C' | alpha) / p(C | alpha) * g_1 g_2 / g_A / prod over rows of r,    g = p(z | h) p(rows | z) / q(z | rows),

and a merge with its inverse. The pair of rows and the launch do not depend on how the rows concerned are divided now.

Half of the moves are two such steps, accepted or rejected together, with the product of the ratios: a merge and a split leave
the number of clusters unchanged, and lead from one mode to another past partitions that would hardly be accepted on the way.
(The reverse steps have the same probability, because the pairs of rows are independent of all else.) Two steps that lead back
to the same partition are rejected: they are frequent, and change nothing that HMC does not.

Most moves are hopeless, and g is expensive. So a move is first accepted with probability a = min(1, e^c ratio'), where ratio'
has closed-form guesses of g, and c is a tolerance for their errors; only then are parameters proposed, and the move is accepted
with probability min(1, ratio * a_reverse / a), a_reverse being a of the reverse move (Christen and Fox 2005).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import kernel
from bgmm.core.gaussians import Gaussians, Linear
from bgmm.core.in_memory import InMemory
from bgmm.engines.gibbs.laplace_proposal import laplace_proposal
from bgmm.engines.gibbs.reference import Conditions, joined, log_density, one, shrunk
from bgmm.engines.gibbs.telescope import log_joint


@dataclass(frozen=True)
class Constants:
    """Constants of the moves."""

    launch: int = 16  # steps of EM: on iris 1, 3, 8, 16, 30 of them led to acceptance of .0013, .0046, .013, .028, .036
    leeway: tuple[float, float] = (8.0, 0.5)  # nats, and more for each feature: guesses erred by 1 in 2-D, by 12 in 10-D


CONSTANTS = Constants()


class Partition(NamedTuple):
    """Which rows belong together, their statistics, and the parameters of each component."""

    assignments: Int[Array, "n_blocks b"]  # component of the row in each place
    statistics: Float[Array, "m p"]
    z: Float[Array, "m q"]


class Change(NamedTuple):
    """A cluster split in two, or two merged."""

    split: Bool[Array, ""]
    components: Int[Array, " 2"]  # of the two; the one is in the first
    statistics: Float[Array, "3 p"]  # of the two, and of the one
    log_ratio: Float[Array, ""]  # without the g
    log_guess: Float[Array, ""]  # with guesses of the g


def split_merge(
    fixed: Conditions, x: Float[Array, "n_blocks d b"], partition: Partition, alpha: Float[Array, ""], *, key: Array
) -> tuple[Partition, Bool[Array, ""]]:
    """One change, or two in a row, accepted or not; and whether it was."""
    key_twice, key_changes, key_z, key_screen, key_accept = jax.random.split(key, 5)
    made = jnp.stack([jnp.array(True), jax.random.bernoulli(key_twice)])

    def change(partition, made_and_key):
        made, key = made_and_key

        def make():
            return _split_or_merge(fixed, x, partition, alpha, key=key)

        def leave():
            return partition, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(make)[1])

        return jax.lax.cond(made, make, leave)

    proposal, changes = jax.lax.scan(change, partition, (made, jax.random.split(key_changes)))
    guess, log_ratio = changes.log_guess.sum(), changes.log_ratio.sum()
    leeway = CONSTANTS.leeway[0] + CONSTANTS.leeway[1] * x.shape[1]
    screened = jnp.log(jax.random.uniform(key_screen)) < guess + leeway
    screened &= ~_same(partition, proposal, fixed.rows.weights)

    def propose(i, carry):
        z, log_ratio = carry
        change = jax.tree.map(lambda a: a[i], changes)
        z, log_g = _propose_parameters(fixed, z, change, key=jax.random.fold_in(key_z, i))
        return z, log_ratio + log_g

    z, log_ratio = jax.lax.fori_loop(0, jnp.where(screened, made.sum(), 0), propose, (partition.z, log_ratio))
    accept = screened & (jnp.log(jax.random.uniform(key_accept)) < log_ratio + _log_screening_ratio(guess, leeway))
    return jax.tree.map(lambda new, old: jnp.where(accept, new, old), proposal._replace(z=z), partition), accept


def _log_screening_ratio(guess: Float[Array, ""], leeway: float) -> Float[Array, ""]:
    """log(a_reverse / a)."""
    return jnp.minimum(0.0, leeway - guess) - jnp.minimum(0.0, leeway + guess)


def _same(one: Partition, two: Partition, c: Float[Array, "n_blocks b"]) -> Bool[Array, ""]:
    """Whether two partitions differ in nothing but the numbers of their components."""
    m = len(one.z)
    renamed = jnp.zeros(m, int).at[jnp.where(c > 0, one.assignments, m)].set(two.assignments, mode="drop")
    as_many = (one.statistics[:, 0] > 0).sum() == (two.statistics[:, 0] > 0).sum()
    return as_many & ((renamed[one.assignments] == two.assignments) | (c == 0)).all()


def _split_or_merge(
    fixed: Conditions, x: Float[Array, "n_blocks d b"], partition: Partition, alpha: Float[Array, ""], *, key: Array
) -> tuple[Partition, Change]:
    """Another partition, its parameters not yet those of the change; a ratio of zero where no component is free for a split."""
    key_pair, key_rows = jax.random.split(key)
    weights, c = fixed.target.weights_prior, fixed.rows.weights
    counts = partition.statistics[:, 0]
    i, j = _pair(c, key=key_pair)
    assigned = partition.assignments.reshape(-1)
    a, b = assigned[i], assigned[j]
    split = a == b
    inside = c * ((partition.assignments == a) | (partition.assignments == b))
    of_both = partition.statistics[a] + jnp.where(split, 0.0, partition.statistics[b])
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
    statistics = jnp.stack([of_first, of_both - of_first, of_both])

    empty = counts == 0
    other = jnp.where(split, jnp.argmax(empty), b)
    counts_two = counts.at[a].set(statistics[0, 0]).at[other].set(statistics[1, 0])
    counts_one = counts.at[a].set(statistics[2, 0]).at[other].set(0.0)
    log_p = jax.vmap(lambda counts: logsumexp(log_joint(weights, counts, alpha)))(jnp.stack([counts_two, counts_one]))
    of_split = log_p[0] - log_p[1] - log_r
    guess = of_split + jnp.array([1.0, 1.0, -1.0]) @ jax.vmap(lambda s: log_evidence_guess(fixed, s))(statistics)
    log_ratio, log_guess = (
        jnp.where(split & ~empty.any(), -jnp.inf, jnp.where(split, 1.0, -1.0) * value) for value in (of_split, guess)
    )

    assignments = jnp.where(inside > 0, jnp.where(split & ~first.reshape(inside.shape), other, a), partition.assignments)
    of_other, of_a = jnp.where(split, statistics[1], 0.0), statistics[jnp.where(split, 0, 2)]
    proposal = Partition(assignments, partition.statistics.at[other].set(of_other).at[a].set(of_a), partition.z)
    return proposal, Change(split, jnp.stack([a, other]), statistics, log_ratio, log_guess)


def log_evidence_guess(fixed: Conditions, statistics: Float[Array, " p"]) -> Float[Array, ""]:
    """About log g of rows with these statistics: their evidence under the conjugate prior that is most like the declared.

    With n = inverse temperature * rows, of mean m and covariance C, and prior mean N(m0, V): if the covariance of the component
    were known to be S, the mean would contribute |S|^1/2 |n V + S|^-1/2 exp(-n (m - m0)' (n V + S)^-1 (m - m0) / 2). S is
    unknown: the shrunk C takes its place, and the rest is integrated over a conjugate law of S (``Factor.log_evidence``). A
    covariance that all components share is known.
    """
    origin, beta = fixed.reference.origin, fixed.inverse_temperature
    factor, d = one(origin), origin.n_features
    n_rows, mean, covariance = factor.moments(statistics)
    n = beta * n_rows
    S = one(shrunk(fixed.reference, statistics))
    wide = S.plus_diagonal(n * fixed.reference.mean_variances)
    distance = wide.whiten(mean - origin.means[0])
    log_mean = S.log_det(d) - wide.log_det(d) - 0.5 * n * (distance @ distance)
    if origin.tied:
        return log_mean + beta * statistics @ factor.natural(jnp.zeros(()), mean)
    return log_mean + factor.log_evidence(n, covariance, factor.covariance(), d)


def _propose_parameters(
    fixed: Conditions, z: Float[Array, "m q"], change: Change, *, key: Array
) -> tuple[Float[Array, "m q"], Float[Array, ""]]:
    """Parameters after a change, and log g_1 + log g_2 - log g_A for a split, its negative for a merge."""
    a, other = change.components
    normals = jax.vmap(lambda s: laplace_proposal(fixed, s))(change.statistics)
    new = jax.vmap(lambda normal, key: normal.draw(key=key))(normals, jax.random.split(key, 3))
    drawn = jnp.stack([change.split, change.split, ~change.split])
    of_three = jnp.where(drawn[:, None], new, z[jnp.stack([a, other, a])])
    log_q = jax.vmap(lambda normal, z: normal.log_density(z))(normals, of_three)
    log_g = jax.vmap(lambda z, s: log_density(fixed, z, s))(of_three, change.statistics) - log_q
    z = z.at[other].set(of_three[1]).at[a].set(of_three[jnp.where(change.split, 0, 2)])
    return z, jnp.where(change.split, 1.0, -1.0) * (log_g[0] + log_g[1] - log_g[2])


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
