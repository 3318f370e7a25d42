r"""Split-and-merge moves: out of modes that EM does not leave (Ueda, Nakano, Ghahramani and Hinton 2000).

Where one component covers two clusters while two components share another, a move merges components i and j and splits l. All
candidates are judged from one E-step on some rows. With R its responsibilities, S_k the statistics of component k, eta_k the
natural parameters that fit them, log weight included, and Q_k = <eta_k, S_k>,

.. math::
    \text{loss of merging } i, j &= Q_i + Q_j - Q_{i + j} + H_{ij}, \qquad
    H_{ij} = \sum_n h(R_{in} + R_{jn}) - h(R_{in}) - h(R_{jn}), \quad h(r) = r \log r, \\
    \text{gain of splitting } l &= \sum_n R_{ln} [\log p(x_n \mid \text{children of } l) - \log p(x_n \mid l)],

the children being fitted by a few steps of EM with R fixed, from a cut through the mean across the main axis. The best
candidates are tried in turn: one is kept whose likelihood after some steps of EM is higher than that of the same steps without.

Every covariance has a tenth of a row's worth of the covariance of all rows, so that no component collapses. Gaussians judge for
every family.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp, xlogy
from jaxtyping import Array, Float, Int

from bgmm.core.components import Mixture
from bgmm.core.factor import Factor
from bgmm.core.gaussians import Gaussians, Linear, moments
from bgmm.core.in_memory import InMemory, subsample
from bgmm.core.rows import Rows


@dataclass(frozen=True)
class Constants:
    """Constants of the moves."""

    rows: int = 8192
    numbers: int = 8_000_000  # statistics of all rows together; where each has many, there are fewer rows
    complete: float = 0.5  # share of complete rows from which the others are left out; else missing values are held at the mean
    prior_rows: float = 0.1  # with one, a tight cluster of 50 olive oils in eight features is not worth its component
    least_weight: float = 1e-3  # rows, added to every component's
    em_steps: int = 10
    local_steps: int = 8
    axis_steps: int = 8  # power iterations for the main axis
    tries: int = 3  # candidates in a round
    least_gain: float = 1.0  # nats of these rows
    rounds: int = 4  # for each component


_CONSTANTS = Constants()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sketch:
    """Some rows, and the Gaussians that judge moves on them."""

    x: Float[Array, "d n"]
    weights: Float[Array, " n"]
    covariance: Float[Array, "*c"]  # of all of them, in the shape of the factor
    factor: type[Factor] = field(metadata={"static": True})
    tied: bool = field(metadata={"static": True})


def sketch_of(rows: Rows, structure: tuple[type[Factor], bool], *, rng: np.random.Generator) -> Sketch:
    """Rows for the moves of Gaussians with this factor, tied or not."""
    factor, tied = structure
    n_statistics = jax.eval_shape(factor.statistics, jnp.zeros((rows.n_features, 1))).shape[0]
    some = subsample(rows, min(_CONSTANTS.rows, _CONSTANTS.numbers // n_statistics), rng=rng)
    x = np.moveaxis(np.asarray(some.x, float), 1, 0).reshape(rows.n_features, -1)
    weights = np.asarray(some.weights, float).reshape(-1)
    weights = weights * (np.count_nonzero(weights) / weights.sum())  # a nat is one of these rows
    weights = _complete(some, weights)
    return Sketch(jnp.asarray(x), jnp.asarray(weights), _covariance(factor, x, weights), factor, tied)


@partial(jax.jit, static_argnames="factor")
def _covariance(factor: type[Factor], x, weights) -> Float[Array, "*c"]:
    return factor.moments(factor.statistics(x) @ weights)[2]


def _complete(rows: InMemory, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The weights of complete rows alone, where these are many."""
    if rows.observed is None:
        return weights
    complete = np.asarray(rows.observed).all(1)[np.asarray(rows.pattern)]
    of_complete = weights * np.repeat(complete, rows.weights.shape[1])
    return of_complete if of_complete.sum() >= _CONSTANTS.complete * weights.sum() else weights


def best_of(sketch: Sketch, guesses: Mixture, n: int) -> Mixture:
    """What some steps of EM make of the guesses (a leading axis) that are then the n most likely ones, the best first."""
    found = [_em(sketch, jax.tree.map(lambda a, i=i: a[i], guesses)) for i in range(len(guesses.log_weights))]
    best = np.argsort([-value for _, value in jax.device_get(found)])[:n]
    return jax.tree.map(lambda *a: np.stack(a), *(jax.device_get(found[i][0]) for i in best))


def improved(sketch: Sketch, mixture: Mixture) -> Mixture | None:
    """The Gaussians that rounds of moves lead to from at least three components of any family; None where no move gains."""
    found = None
    mixture = _judging(sketch, mixture)
    for _ in range(_CONSTANTS.rounds * len(mixture.log_weights)):
        mixture, value = _em(sketch, mixture)
        for candidate, promise in zip(*_candidates(sketch, mixture), strict=True):
            moved, moved_value = _em(sketch, candidate) if np.isfinite(promise) else (mixture, value)
            if moved_value > value + _CONSTANTS.least_gain:
                mixture = found = moved
                break
        else:
            break
    return found


@jax.jit
def _judging(sketch: Sketch, mixture: Mixture) -> Mixture:
    """The Gaussians that fit the responsibilities of a mixture of any family."""
    R = jax.nn.softmax(mixture.natural().log_joint(sketch.x), axis=0)
    return _fitted(sketch, _statistics(sketch) @ (sketch.weights * R).T)


def _statistics(sketch: Sketch) -> Float[Array, "p n"]:
    return sketch.factor.statistics(sketch.x)


def _fitted(sketch: Sketch, statistics: Float[Array, "p k"], *, tied: bool | None = None) -> Mixture:
    """The M-step, with the prior on covariances."""
    tied = sketch.tied if tied is None else tied
    counts = jnp.maximum(statistics[0], 0.0)
    means, covariances = moments(sketch.factor, statistics.T, tied=tied)
    n = counts.sum(keepdims=True) if tied else counts
    n = n.reshape(-1, *([1] * sketch.covariance.ndim))
    nu = _CONSTANTS.prior_rows
    covariances = (nu * sketch.covariance[None] + jnp.where(n > 0, n * covariances, 0.0)) / (nu + n)
    w = counts + _CONSTANTS.least_weight
    return Mixture(jnp.log(w / w.sum()), Gaussians(means, jax.vmap(sketch.factor.of_covariance)(covariances), tied))


def _eta(mixture: Mixture) -> Float[Array, "k p"]:
    natural = mixture.natural()
    assert isinstance(natural, Linear)
    return natural.eta


@jax.jit
def _em(sketch: Sketch, mixture: Mixture) -> tuple[Mixture, Float[Array, ""]]:
    """Some steps of EM, and the log likelihood of the rows after them."""
    T = _statistics(sketch)

    def step(_, mixture):
        r = jax.nn.softmax(_eta(mixture) @ T, axis=0) * sketch.weights
        return _fitted(sketch, T @ r.T)

    mixture = jax.lax.fori_loop(0, _CONSTANTS.em_steps, step, mixture)
    return mixture, logsumexp(_eta(mixture) @ T, axis=0) @ sketch.weights


@jax.jit
def _candidates_stacked(sketch: Sketch, mixture: Mixture) -> tuple[Mixture, Float[Array, " tries"]]:
    """The mixtures of the best moves, along a first axis, and what each promises: minus infinity where it is none."""
    T, k = _statistics(sketch), mixture.log_weights.size
    R = jax.nn.softmax(_eta(mixture) @ T, axis=0)
    S = T @ (sketch.weights * R).T
    own = _fitted(sketch, S, tied=False)
    i, j = np.triu_indices(k, 1)
    loss = _merge_losses(sketch, R, S, own, i, j)
    gain, halves = _split_gains(sketch, T, R, S, own)
    net = gain[:, None] - loss[None]
    apart = (np.arange(k)[:, None] != i[None]) & (np.arange(k)[:, None] != j[None])
    promise, best = jax.lax.top_k(jnp.where(apart & jnp.isfinite(net), net, -jnp.inf).reshape(-1), _CONSTANTS.tries)

    def moved(at: Int[Array, ""]) -> Mixture:
        split, pair = jnp.divmod(at, i.size)
        one, other = jnp.asarray(i)[pair], jnp.asarray(j)[pair]
        merged = S.at[:, one].add(S[:, other])
        return _fitted(sketch, merged.at[:, other].set(halves[0][:, split]).at[:, split].set(halves[1][:, split]))

    return jax.vmap(moved)(best), promise


def _candidates(sketch: Sketch, mixture: Mixture) -> tuple[list[Mixture], Float[np.ndarray, " tries"]]:
    stacked, promise = jax.device_get(_candidates_stacked(sketch, mixture))
    return [jax.tree.map(lambda a, m=m: a[m], stacked) for m in range(len(promise))], promise


def _merge_losses(sketch: Sketch, R, S: Float[Array, "p k"], own: Mixture, i, j) -> Float[Array, " pairs"]:
    Q = (_eta(own).T * S).sum(0)
    both = S[:, i] + S[:, j]
    merged = _fitted(sketch, both, tied=False)
    log_w = jnp.log((both[0] + _CONSTANTS.least_weight) / S[0].sum())
    Q_merged = (_eta(merged._replace(log_weights=log_w)).T * both).sum(0)
    h = xlogy(R, R)

    def entropies(r, h_r):
        return (xlogy(r + R, r + R) - h_r - h) @ sketch.weights

    H = jax.lax.map(lambda inputs: entropies(*inputs), (R, h))  # one component at a time: k n numbers in memory
    return Q[i] + Q[j] + H[i, j] - Q_merged


def _split_gains(sketch: Sketch, T, R: Float[Array, "k n"], S: Float[Array, "p k"], own: Mixture):
    """The gain of splitting each component, and the statistics of its two children."""
    k = len(R)
    weighted = sketch.weights * R
    signs = _main_axis_signs(sketch, weighted, jnp.asarray(own.components.means))  # type: ignore[attr-defined]

    def children(halves):
        fitted = _fitted(sketch, halves.reshape(2, len(T), k).transpose(1, 0, 2).reshape(len(T), 2 * k), tied=False)
        n = halves[:, 0] + _CONSTANTS.least_weight
        log_share = jnp.log(n / n.sum(0)).reshape(-1)
        return (_eta(fitted._replace(log_weights=log_share)) @ T).reshape(2, k, -1)

    def step(_, halves):
        log_p = children(halves)
        first = weighted * jax.nn.sigmoid(log_p[0] - log_p[1])
        return jnp.stack([T @ first.T, T @ (weighted - first).T])

    halves = jnp.stack([T @ (weighted * (signs > 0)).T, T @ (weighted * (signs <= 0)).T])
    halves = jax.lax.fori_loop(0, _CONSTANTS.local_steps, step, halves)
    alone = (_eta(own._replace(log_weights=jnp.zeros(k))).T * S).sum(0)
    gain = (jax.nn.logsumexp(children(halves), axis=0) * weighted).sum(1) - alone
    large = halves[:, 0].min(0) > sketch.factor.least_rows(sketch.x.shape[0])
    return jnp.where(large, gain, -jnp.inf), halves


def _main_axis_signs(sketch: Sketch, weighted: Float[Array, "k n"], means: Float[Array, "k d"]) -> Float[Array, "k n"]:
    """On which side of each component's mean every row is, along the direction in which the component's rows vary most."""

    def along(direction):
        return direction @ sketch.x - (direction * means).sum(1, keepdims=True)

    def step(_, direction):
        moved = (weighted * along(direction)) @ sketch.x.T
        moved = moved - (weighted * along(direction)).sum(1, keepdims=True) * means
        return moved / jnp.maximum(jnp.linalg.norm(moved, axis=1, keepdims=True), jnp.finfo(moved.dtype).tiny)

    start = jnp.asarray(np.random.default_rng(0).normal(size=means.shape))
    return along(jax.lax.fori_loop(0, _CONSTANTS.axis_steps, step, start))
