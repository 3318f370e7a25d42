"""The mixtures of a tree evaluated at rows: one pass per draw, folded over the draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import gaussian, one_pass
from bgmm.core.blocks import Blocks, make_blocks
from bgmm.core.gaussian import Parameters
from bgmm.core.scaling import Scaling
from bgmm.data.table import Table, as_table, unnamed
from bgmm.tree import features_of, observed, parameters


class Evaluation(NamedTuple):
    """Draws and rows, both standardised, ready for the kernel."""

    mixture: Parameters  # one leading axis: draws
    blocks: Blocks
    position: Int[np.ndarray, " n"]  # of each row among the blocks' places
    log_volume: Float[np.ndarray, " n"]  # of each row: what its log density in the user's units has less
    centred: bool


def evaluation(tree: xr.DataTree, x=None) -> Evaluation:
    """The draws of ``tree`` at ``x``, or at the rows that it was fitted to."""
    mixture, scaling = parameters(tree)
    return at_rows(mixture, scaling, observed(tree) if x is None else rows_like(tree, x))


def at_rows(mixture: Parameters, scaling: Scaling, rows: Float[np.ndarray, "n d"]) -> Evaluation:
    """Standardised draws at rows in the user's units."""
    blocks, position = make_blocks(rows, scaling=scaling)
    return Evaluation(mixture, blocks, position, log_volume(rows, scaling), gaussian.needs_own_centres(mixture))


def log_volume(rows: Float[np.ndarray, "n d"], scaling: Scaling) -> Float[np.ndarray, " n"]:
    """Of each row: what its log density in the user's units has less than that in standardised ones."""
    return -((~np.isnan(rows)) @ np.log(np.asarray(scaling.scale)))


def rows_like(tree: xr.DataTree, x) -> Float[np.ndarray, "n d"]:
    """``x`` as rows with the features that the tree was fitted to: by name, or by place when either has no names."""
    features = features_of(tree)
    table = x if isinstance(x, Table) else as_table(x, fitting=False)
    nameless = unnamed(features), unnamed(table.features)
    if not all(nameless) and set(features) <= set(table.features):
        return table.values[:, [table.features.index(name) for name in features]]
    if any(nameless) and len(table.features) == len(features):
        return table.values
    raise ValueError(f"the model was fitted to the columns {', '.join(features)}, and x has {', '.join(table.features)}")


@partial(jax.jit, static_argnames=("function", "centred"))
def _each(function: Callable, mixture: Parameters, blocks: Blocks, centred: bool, *arguments):
    """``function(eta, blocks, centres, *arguments)`` of every draw."""

    def one(of_draw):
        mixture, *rest = of_draw
        centres = gaussian.own_centres(mixture, centred)
        return function(gaussian.natural(mixture, centres), blocks, centres, *rest)

    return jax.lax.map(one, (mixture, *arguments))


@partial(jax.jit, static_argnames=("function", "fold", "centred"))
def _folded(function: Callable, fold: Callable, start: Array, mixture: Parameters, blocks: Blocks, centred: bool, *arguments):
    """``fold`` of ``function(eta, blocks, centres, *arguments)`` over the draws, held one at a time."""

    def step(total, mixture):
        centres = gaussian.own_centres(mixture, centred)
        return fold(total, function(gaussian.natural(mixture, centres), blocks, centres, *arguments)), None

    return jax.lax.scan(step, start, mixture)[0]


def log_likelihoods(at: Evaluation) -> Float[np.ndarray, "s n"]:
    """log p(x_n | draw s), in the user's units."""
    places = _each(one_pass.log_likelihood_places, at.mixture, at.blocks, at.centred)
    return np.asarray(places)[:, at.position] + at.log_volume


def responsibilities(at: Evaluation) -> Float[np.ndarray, "s n k"]:
    """p(z_n = k | x_n, draw s): keep the rows few."""
    return np.asarray(_each(one_pass.responsibilities, at.mixture, at.blocks, at.centred))[:, at.position]


def mean_log_density(at: Evaluation) -> Float[np.ndarray, " n"]:
    """log (1/S) sum_s p(x_n | draw s), in the user's units."""
    start = jnp.full(at.blocks.weights.size, -jnp.inf)
    total = _folded(one_pass.log_likelihood_places, jnp.logaddexp, start, at.mixture, at.blocks, at.centred)
    return np.asarray(total)[at.position] - np.log(len(at.mixture.means)) + at.log_volume


def mean_responsibilities(at: Evaluation) -> Float[np.ndarray, "n k"]:
    """(1/S) sum_s p(z_n = k | x_n, draw s)."""
    k = at.mixture.means.shape[1]
    return mean_over_draws(one_pass.responsibilities, at, (at.blocks.weights.size, k))[at.position]


def each_draw(function: Callable, at: Evaluation) -> Float[np.ndarray, "s ..."]:
    """``function(eta, blocks, centres)`` of every draw."""
    return np.asarray(_each(function, at.mixture, at.blocks, at.centred))


def mean_over_draws(function: Callable, at: Evaluation, shape: tuple[int, ...], *arguments) -> Float[np.ndarray, "..."]:
    """(1/S) sum_s of ``function(eta, blocks, centres, *arguments)`` of draw s, an array of that shape."""
    total = _folded(function, jnp.add, jnp.zeros(shape), at.mixture, at.blocks, at.centred, *arguments)
    return np.asarray(total) / len(at.mixture.means)


def _holds_a_row(eta, blocks: Blocks, centres, key: Array) -> Bool[Array, " k"]:
    z = one_pass.assignments(eta, blocks, centres, key=key)
    return jnp.zeros(eta.shape[0], bool).at[z].max(blocks.weights.reshape(-1) > 0)


def occupied(at: Evaluation, *, key: Array) -> Bool[np.ndarray, "s k"]:
    """Which components hold a row when each row's assignment is drawn from its responsibilities."""
    keys = jax.random.split(key, len(at.mixture.means))
    return np.asarray(_each(_holds_a_row, at.mixture, at.blocks, at.centred, keys))


def _small_assignments(eta, blocks: Blocks, centres, key: Array) -> Int[Array, " places"]:
    return one_pass.assignments(eta, blocks, centres, key=key).astype(jnp.int16)


def assignments(at: Evaluation, *, key: Array) -> Int[np.ndarray, "s n"]:
    """Each row's component in each draw, drawn from its responsibilities; two bytes each."""
    keys = jax.random.split(key, len(at.mixture.means))
    return np.asarray(_each(_small_assignments, at.mixture, at.blocks, at.centred, keys))[:, at.position]
