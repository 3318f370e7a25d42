"""Moves between partitions: two rows are picked, and their cluster split or their clusters merged; or that is done twice.

Jain and Neal (2004) and Dahl (2005), with a launch by EM: from the two rows as seeds, a few deterministic steps of EM on the
rows concerned give responsibilities r, by which a split allocates each row; the parameters are proposed from ``independence``.
K and the weights are summed out, so that with p(C | alpha) = sum over K of p(K) p(C | K, alpha) (``telescope``) a split of A
into 1 and 2 is accepted with probability min(1, ratio),

    ratio = p(C' | alpha) / p(C | alpha) * g_1 g_2 / g_A / prod over rows of r,    g = p(z | h) p(rows | z) / q(z | rows),

and a merge with its inverse. The pair of rows and the launch do not depend on how the rows concerned are divided now.

Half of the moves are two such steps, accepted or not together, with the product of the ratios: a merge and a split leave the
number of clusters as it is, and lead from one mode to another past partitions that would hardly be accepted on the way. (The
same steps undone in the other order come with the same probability, the pairs of rows being independent of all else.) Two that
lead back to the same partition are rejected: they are frequent, and change nothing that HMC does not.

Most moves are hopeless, and g is dear. So a move is first accepted with probability a = min(1, e^c ratio'), where ratio' has
closed-form guesses of g, and c is some leeway for their errors; only then are parameters proposed, and the move is accepted
with probability min(1, ratio * a_back / a), a_back being a of the move that would undo it (Christen and Fox 2005).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp, multigammaln
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import gaussian, one_pass
from bgmm.core.blocks import Blocks
from bgmm.core.gaussian import Parameters
from bgmm.core.slots import Slots
from bgmm.engines.frame import Frame, shrunk_covariance
from bgmm.engines.hmc import log_density
from bgmm.engines.independence import independence
from bgmm.engines.telescope import log_joint

_LAUNCH = 16  # steps of EM: on iris 1, 3, 8, 16, 30 of them led to acceptance of .0013, .0046, .013, .028, .036
_LEEWAY = (8.0, 0.5)  # nats, and more of them for each feature: the guesses were wrong by 1 in two dimensions, 12 in ten


class Partition(NamedTuple):
    """Which rows belong together, what they amount to, and the parameters of each of their components."""

    rows: Int[Array, "n_blocks b"]  # slot of the row in each place
    statistics: Float[Array, "m p"]
    z: Float[Array, "m q"]


class Change(NamedTuple):
    """A cluster split in two, or two merged."""

    split: Bool[Array, ""]
    places: Int[Array, " 2"]  # slots of the two; the one is in the first
    statistics: Float[Array, "3 p"]  # of the two, and of the one
    log_ratio: Float[Array, ""]  # without the g
    log_guess: Float[Array, ""]  # with guesses of the g


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
) -> tuple[Partition, Bool[Array, ""]]:
    """One change, or two in a row, accepted or not; and whether it was."""
    key_twice, key_changes, key_z, key_worth, key_accept = jax.random.split(key, 5)
    made = jnp.stack([jnp.array(True), jax.random.bernoulli(key_twice)])

    def change(now, given):
        make, key = given

        def one():
            return split_or_merge(slots, frame, x, now, alpha, power, key=key)

        def none():
            return now, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(one)[1])

        return jax.lax.cond(make, one, none)

    there, changes = jax.lax.scan(change, at, (made, jax.random.split(key_changes)))
    guess, log_ratio = changes.log_guess.sum(), changes.log_ratio.sum()
    leeway = _LEEWAY[0] + _LEEWAY[1] * x.shape[1]
    worth = (jnp.log(jax.random.uniform(key_worth)) < guess + leeway) & ~_same(at, there, slots.blocks.weights)

    def propose(i, carry):
        z, log_ratio = carry
        z, more = _propose_parameters(
            slots, frame, z, h, jax.tree.map(lambda a: a[i], changes), power, key=jax.random.fold_in(key_z, i)
        )
        return z, log_ratio + more

    z, log_ratio = jax.lax.fori_loop(0, jnp.where(worth, made.sum(), 0), propose, (at.z, log_ratio))
    accept = worth & (jnp.log(jax.random.uniform(key_accept)) < log_ratio + _log_back(guess, leeway))
    return jax.tree.map(lambda new, old: jnp.where(accept, new, old), there._replace(z=z), at), accept


def _log_back(guess: Float[Array, ""], leeway: float) -> Float[Array, ""]:
    """log(a_back / a)."""
    return jnp.minimum(0.0, leeway - guess) - jnp.minimum(0.0, leeway + guess)


def _same(one: Partition, two: Partition, c: Float[Array, "n_blocks b"]) -> Bool[Array, ""]:
    """Whether two partitions differ in nothing but the slots of their clusters."""
    m = len(one.z)
    to = jnp.zeros(m, int).at[jnp.where(c > 0, one.rows, m)].set(two.rows, mode="drop")
    as_many = (one.statistics[:, 0] > 0).sum() == (two.statistics[:, 0] > 0).sum()
    return as_many & ((to[one.rows] == two.rows) | (c == 0)).all()


def split_or_merge(
    slots: Slots,
    frame: Frame,
    x: Float[Array, "n_blocks d b"],
    at: Partition,
    alpha: Float[Array, ""],
    power: Float[Array, ""],
    *,
    key: Array,
) -> tuple[Partition, Change]:
    """Another partition, its parameters not yet those of the change; a ratio of zero where there is no place for a cluster."""
    key_pair, key_rows = jax.random.split(key)
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
    free = inside.reshape(-1) * ((place != i) & (place != j))
    log_r = free @ jnp.log(jnp.maximum(jnp.where(first, r[:, 0], r[:, 1]), jnp.finfo(r.dtype).tiny))
    of_first = one_pass.sums(x, inside * first.reshape(inside.shape))
    statistics = jnp.stack([of_first, together - of_first, together])

    empty = counts == 0
    other = jnp.where(split, jnp.argmax(empty), b)
    two = counts.at[a].set(statistics[0, 0]).at[other].set(statistics[1, 0])
    one = counts.at[a].set(statistics[2, 0]).at[other].set(0.0)
    log_p = jax.vmap(lambda counts: logsumexp(log_joint(weights, counts, alpha)))(jnp.stack([two, one]))
    of_split = log_p[0] - log_p[1] - log_r
    guess = of_split + jnp.array([1.0, 1.0, -1.0]) @ jax.vmap(lambda s: _guess(frame, s, power))(statistics)
    log_ratio, log_guess = (
        jnp.where(split & ~empty.any(), -jnp.inf, jnp.where(split, 1.0, -1.0) * value) for value in (of_split, guess)
    )

    rows = jnp.where(inside > 0, jnp.where(split & ~first.reshape(inside.shape), other, a), at.rows)
    of_other, of_a = jnp.where(split, statistics[1], 0.0), statistics[jnp.where(split, 0, 2)]
    there = Partition(rows, at.statistics.at[other].set(of_other).at[a].set(of_a), at.z)
    return there, Change(split, jnp.stack([a, other]), statistics, log_ratio, log_guess)


def _guess(frame: Frame, statistics: Float[Array, " p"], power: Float[Array, ""]) -> Float[Array, ""]:
    """About log g of rows with these statistics: their evidence under the conjugate prior that is most like the declared.

    With n = power * rows, of mean m and covariance C, prior mean N(m0, V) and covariance C0: if the covariance of the component
    were known to be S, the mean would contribute |S|^1/2 |n V + S|^-1/2 exp(-n (m - m0)' (n V + S)^-1 (m - m0) / 2); S being
    unknown, the shrunk C takes its place, and the rest is integrated over S ~ inverse Wishart(d, d C0).
    """
    n_rows, mean, covariance = (a[0] for a in gaussian.moments(statistics[None]))
    n, d = power * n_rows, mean.size
    S = shrunk_covariance(frame, statistics)
    L = jnp.linalg.cholesky(
        jnp.stack([S, n * frame.mean_covariance + S, d * frame.covariance, d * frame.covariance + n * covariance])
    )
    of_s, of_mean, prior, posterior = jnp.log(jnp.diagonal(L, axis1=1, axis2=2)).sum(1)
    far = solve_triangular(L[1], mean - frame.mean, lower=True)
    log_mean = of_s - of_mean - 0.5 * n * (far @ far)
    log_rows = multigammaln((d + n) / 2, d) - multigammaln(d / 2, d) + d * prior - (d + n) * posterior
    return log_mean + log_rows - 0.5 * n * d * jnp.log(jnp.pi)


def _propose_parameters(
    slots: Slots,
    frame: Frame,
    z: Float[Array, "m q"],
    h: Float[Array, " h"],
    change: Change,
    power: Float[Array, ""],
    *,
    key: Array,
) -> tuple[Float[Array, "m q"], Float[Array, ""]]:
    """Parameters after a change, and log g_1 + log g_2 - log g_A for a split, its negative for a merge."""
    a, other = change.places
    normals = jax.vmap(lambda s: independence(slots, frame, s, h, power))(change.statistics)
    new = jax.vmap(lambda normal, key: normal.draw(key=key))(normals, jax.random.split(key, 3))
    fresh = jnp.stack([change.split, change.split, ~change.split])
    of_three = jnp.where(fresh[:, None], new, z[jnp.stack([a, other, a])])
    log_q = jax.vmap(lambda normal, z: normal.log_density(z))(normals, of_three)
    log_g = jax.vmap(lambda z, s: log_density(slots, z, h, s, power))(of_three, change.statistics) - log_q
    z = z.at[other].set(of_three[1]).at[a].set(of_three[jnp.where(change.split, 0, 2)])
    return z, jnp.where(change.split, 1.0, -1.0) * (log_g[0] + log_g[1] - log_g[2])


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
