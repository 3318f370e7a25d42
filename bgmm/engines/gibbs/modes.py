"""Modes of the posterior of the partition for each number of clusters, sought by EM.

EM is that of components shrunk towards the prior's (``reference.shrunk``). From one cluster upwards each component in turn is
cut in two across its widest directions, seen in the prior's metric; from the most downwards each pair is merged; and the states
of the chains are taken up too. Of each number of clusters the best few different modes stay, judged by

    log p(C | alpha) + sum over components of the guess of their evidence + the entropy of the responsibilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp, xlogy
from jaxtyping import Array, Float

from bgmm.core import kernel
from bgmm.core.gaussians import Linear
from bgmm.engines.gibbs.partitions import log_evidence_guess
from bgmm.engines.gibbs.reference import Conditions, PriorSummary, conditions_at, joined, one, shrunk
from bgmm.engines.gibbs.sweep import State, densities_at
from bgmm.engines.gibbs.telescope import log_joint
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the search."""

    em_steps: int = 40
    axes: int = 2  # across which each component is cut
    steepness: float = 4.0  # of a cut, in standard deviations along the axis
    apart: float = 0.5  # nats between different modes
    kept: int = 2  # modes of each number of clusters
    worth: float = 20.0  # nats below the best from which a mode is left out
    least_rows: float = 1.0  # of a component, expected


CONSTANTS = Constants()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Seen:
    """Rows, and what is given: the parameters that components share, and alpha."""

    fixed: Conditions  # under which partitions are judged
    state: State
    x: Float[Array, "n_blocks d b"]  # missing values drawn


class Mode(NamedTuple):
    """Statistics of the expected rows of components, those that exist first, and their value."""

    statistics: Float[np.ndarray, "l p"]
    value: float


def partition_modes(seen: Seen, of_chains: Float[np.ndarray, "c l p"]) -> Float[np.ndarray, "s l p"]:
    """Statistics of the best few different modes of each number of clusters, the best first."""
    size = of_chains.shape[1]
    modes: dict[int, list[Mode]] = {m: [] for m in range(1, size + 1)}
    at_once = max(size * CONSTANTS.axes, size * (size - 1) // 2)

    def consider(starts: Float[np.ndarray, "s l p"]) -> None:
        starts = starts[starts[:, 0, 0] > 0]
        for low in range(0, len(starts), at_once):
            some = starts[low : low + at_once]
            padding = np.zeros((at_once - len(some), *some.shape[1:]))
            statistics, values = jax.device_get(_refined(seen, jnp.asarray(np.concatenate([some, padding]))))
            for S, value in zip(statistics, values, strict=True):
                if np.isfinite(value):
                    _insert(modes[int((S[:, 0] > 0).sum())], Mode(S, float(value)))

    consider(np.asarray(_whole(seen, size))[None])
    best = -np.inf
    for m in range(1, size):
        best = max([best, *(mode.value for mode in modes[m])])
        if not modes[m] or modes[m][0].value < best - 2 * CONSTANTS.worth:
            break
        consider(np.asarray(_cut(seen, jnp.asarray(modes[m][0].statistics))))
    consider(of_chains)
    for m in range(size, 1, -1):
        if modes[m]:
            consider(_merged(modes[m][0].statistics))
    found = sorted((mode for of_size in modes.values() for mode in of_size), key=lambda mode: -mode.value)
    kept = [mode.statistics for mode in found if mode.value > found[0].value - CONSTANTS.worth]
    return np.stack(kept) if kept else np.zeros((0, *of_chains.shape[1:]))


def _insert(modes: list[Mode], new: Mode) -> None:
    """The new mode in its place, unless it is one of the modes; the best few remain."""
    if all(abs(mode.value - new.value) > CONSTANTS.apart for mode in modes):
        modes.append(new)
        modes.sort(key=lambda mode: -mode.value)
        del modes[CONSTANTS.kept :]


@jax.jit
def seen_under(target: Target, prior: PriorSummary, state: State, key: Array) -> Seen:
    """The rows with missing values drawn under a state."""
    fixed = conditions_at(target, prior, state.h, jnp.ones(()))
    return Seen(fixed, state, kernel.draw_complete_data(densities_at(fixed, state), state.log_w, fixed.rows, key=key).x)


def summed(seen: Seen, function: Callable) -> Any:
    """The sum over blocks of ``function(x, weights)``, a pytree."""
    blocks = (seen.x, seen.fixed.rows.weights)
    return jax.tree.map(lambda a: a.sum(0), jax.lax.map(lambda block: function(*block), blocks))


@partial(jax.jit, static_argnames="size")
def _whole(seen: Seen, size: int) -> Float[Array, "l p"]:
    """All rows in the first component."""
    T = one(seen.fixed.reference.origin).statistics
    total = summed(seen, lambda x, c: T(x) @ c)
    return jnp.zeros((size, total.size)).at[0].set(total)


def mixture_of(fixed: Conditions, statistics: Float[Array, "l p"]) -> Linear:
    """Components of rows with these statistics, shrunk towards the prior's; those without rows weigh nothing."""
    counts = statistics[:, 0]
    log_w = jnp.where(counts > 0, jnp.log(jnp.maximum(counts, jnp.finfo(counts.dtype).tiny) / counts.sum()), -jnp.inf)
    components = joined(jax.vmap(partial(shrunk, fixed.reference))(statistics))
    natural = components.natural(jnp.zeros(len(counts)))
    return natural.tempered(jnp.ones(()), log_w)


@jax.jit
def _refined(seen: Seen, starts: Float[Array, "s l p"]) -> tuple[Float[Array, "s l p"], Float[Array, " s"]]:
    """Where EM leads from the components of each start, and the value there; minus infinity where there is no start."""
    fixed = seen.fixed
    T, alpha = one(fixed.reference.origin).statistics, jnp.exp(seen.state.log_alpha)

    def expected(S: Float[Array, "l p"]):
        natural = mixture_of(fixed, S)

        def of_block(x, c):
            r = jax.nn.softmax(natural.log_joint(x), axis=0) * c
            return r @ T(x).T, -xlogy(r, r / jnp.maximum(c, jnp.finfo(c.dtype).tiny)).sum()

        S, entropy = summed(seen, of_block)
        return jnp.where((S[:, 0] >= CONSTANTS.least_rows)[:, None], S, 0.0), entropy

    def of_start(start):
        S = jax.lax.fori_loop(0, CONSTANTS.em_steps, lambda _, S: expected(S)[0], start)
        S, entropy = expected(S)
        order = jnp.argsort(S[:, 0] == 0, stable=True)
        S = S[order]
        guesses = jnp.where(S[:, 0] > 0, jax.vmap(lambda s: log_evidence_guess(fixed, s))(S), 0.0)
        return S, logsumexp(log_joint(fixed.target.weights_prior, S[:, 0], alpha)) + guesses.sum() + entropy

    def of_any(start):
        return jax.lax.cond(start[0, 0] > 0, of_start, lambda start: (start, jnp.array(-jnp.inf)), start)

    return jax.lax.map(of_any, starts)


@jax.jit
def _cut(seen: Seen, statistics: Float[Array, "l p"]) -> Float[Array, "s l p"]:
    """Each component in two, across each of its widest directions in the metric of the prior's covariance."""
    fixed, size = seen.fixed, len(statistics)
    factor, natural = one(fixed.reference.origin), mixture_of(fixed, statistics)
    d, m = seen.x.shape[1], (statistics[:, 0] > 0).sum()
    n_axes = min(CONSTANTS.axes, d)

    def of_component(k):
        n, mean, _ = factor.moments(statistics[k])

        def whitened(x):
            return jax.vmap(factor.whiten, in_axes=1, out_axes=1)(x - mean[:, None])

        def spread(x, c):
            y, r = whitened(x), jax.nn.softmax(natural.log_joint(x), axis=0)[k] * c
            return (y * r) @ y.T

        values, axes = jnp.linalg.eigh(summed(seen, spread) / n)

        def of_axis(value, axis):
            def half(x, c):
                side = jax.nn.sigmoid(CONSTANTS.steepness * (axis @ whitened(x)) / jnp.sqrt(value))
                return factor.statistics(x) @ (side * jax.nn.softmax(natural.log_joint(x), axis=0)[k] * c)

            part = summed(seen, half)
            return statistics.at[k].set(part).at[m].set(statistics[k] - part)

        return jax.vmap(of_axis, in_axes=(0, 1))(values[-n_axes:], axes[:, -n_axes:])

    cuts = jax.lax.map(of_component, jnp.arange(size))
    possible = (jnp.arange(size) < m) & (m < size)
    return jnp.where(possible[:, None, None, None], cuts, 0.0).reshape(size * n_axes, *statistics.shape)


def _merged(statistics: Float[np.ndarray, "l p"]) -> Float[np.ndarray, "s l p"]:
    """Each pair of components in one."""
    m = int((statistics[:, 0] > 0).sum())
    starts = []
    for i, j in zip(*np.triu_indices(m, 1), strict=True):
        merged = statistics.copy()
        merged[i], merged[j], merged[m - 1] = statistics[i] + statistics[j], statistics[m - 1], 0.0
        starts.append(merged)
    return np.stack(starts)
