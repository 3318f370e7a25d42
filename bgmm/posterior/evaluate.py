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

from bgmm.core import kernel
from bgmm.core.components import Mixture
from bgmm.core.in_memory import InMemory, in_memory, subsample
from bgmm.core.rows import Rows
from bgmm.core.scaling import Scaling
from bgmm.data.table import Table, as_table, row_labels, unnamed
from bgmm.tree.read import features_of, observed, observed_labels, parameters

_SUBSAMPLE = 16_384  # rows
_SURE = 40.0  # expected rows: the probability of none is at most exp(-40)
_DRAWS_AT_ONCE = 256


class Evaluation(NamedTuple):
    """Draws and rows, both standardised, ready for the kernel."""

    mixture: Mixture  # one leading axis: draws
    rows: Rows
    position: Int[np.ndarray, " n"] | None  # of each row among the places of ``rows``; None where these are streamed
    log_volume: Float[np.ndarray, " n"]  # of each row: its log density in standardised units less that in the user's
    centred: bool


def evaluation(tree: xr.DataTree, x=None) -> Evaluation:
    """The draws of ``tree`` at ``x``, or at the rows that it was fitted to."""
    mixture, scaling = parameters(tree)
    return at_rows(mixture, scaling, observed(tree) if x is None else rows_like(tree, x))


def row_coords(tree: xr.DataTree, x=None) -> dict[str, np.ndarray]:
    """The coordinate of ``observation`` in answers about ``x`` or the rows of the tree: their labels, if they have any."""
    labels = observed_labels(tree) if x is None else row_labels(x)
    return {} if labels is None else {"observation": labels}


def at_rows(mixture: Mixture, scaling: Scaling, x: Float[np.ndarray, "n d"]) -> Evaluation:
    """Standardised draws at rows in the user's units."""
    rows, position = in_memory(x, scaling=scaling)
    return Evaluation(mixture, rows, position, log_volume(x, scaling), mixture.components.needs_centres())


def log_volume(x: Float[np.ndarray, "n d"], scaling: Scaling) -> Float[np.ndarray, " n"]:
    """For each row -sum_j log scale_j over its values: log densities in the user's units less those in standardised ones."""
    return -((~np.isnan(x)) @ np.log(np.asarray(scaling.scale)))


def rows_like(tree: xr.DataTree, x) -> Float[np.ndarray, "n d"]:
    """``x`` as rows with the features that the tree was fitted to: by name, or by place when either has no names."""
    features = features_of(tree)
    named = set(features) <= {str(name) for name in getattr(x, "columns", ())}  # other columns of a frame are not looked at
    table = x if isinstance(x, Table) else as_table(x, features if named else None, fitting=False)
    flat = table is not x and table.values.shape == (len(features), 1) != (1, 1) and np.ndim(x) == 1
    if flat and table.features[0] not in features:
        row = ", ".join(f"{value:g}" for value in table.values[:, 0])
        raise ValueError(f"x is one row given flat, and a flat list is rows of one feature; put it in a list: [[{row}]]")
    nameless = unnamed(features), unnamed(table.features)
    if not all(nameless) and set(features) <= set(table.features):
        return table.values[:, [table.features.index(name) for name in features]]
    if any(nameless) and len(table.features) == len(features):
        return table.values
    raise ValueError(f"the model was fitted to the columns {', '.join(features)}, and x has {', '.join(table.features)}")


@partial(jax.jit, static_argnames=("function", "centred"))
def _each(function: Callable, mixtures: Mixture, rows: Rows, centred: bool, *arguments):
    """``function(natural, rows, *arguments)`` of every draw."""

    def one(draw):
        mixture, *arguments = draw
        return function(mixture.natural(centred=centred), rows, *arguments)

    return jax.lax.map(one, (mixtures, *arguments))


@partial(jax.jit, static_argnames=("function", "fold", "centred"))
def _folded(function: Callable, fold: Callable, start: Array, mixtures: Mixture, rows: Rows, centred: bool, *arguments):
    """``fold`` of ``function(natural, rows, *arguments)`` over the draws, held one at a time."""

    def step(total, mixture):
        return fold(total, function(mixture.natural(centred=centred), rows, *arguments)), None

    return jax.lax.scan(step, start, mixtures)[0]


def log_likelihoods(inputs: Evaluation) -> Float[np.ndarray, "s n"]:
    """log p(x_n | draw s), in the user's units."""
    places = each_draw(kernel.log_likelihood_of_rows, inputs)
    return places[:, inputs.position] + inputs.log_volume


def responsibilities(inputs: Evaluation) -> Float[np.ndarray, "s n k"]:
    """p(z_n = k | x_n, draw s): keep the rows few."""
    return each_draw(kernel.responsibilities, inputs)[:, inputs.position]


def mean_log_density(inputs: Evaluation) -> Float[np.ndarray, " n"]:
    """log (1/S) sum_s p(x_n | draw s), in the user's units."""
    start = jnp.full(inputs.rows.n_places, -jnp.inf)
    total = _folded(kernel.log_likelihood_of_rows, jnp.logaddexp, start, inputs.mixture, inputs.rows, inputs.centred)
    return np.asarray(total)[inputs.position] - np.log(len(inputs.mixture.log_weights)) + inputs.log_volume


def mean_responsibilities(inputs: Evaluation) -> Float[np.ndarray, "n k"]:
    """(1/S) sum_s p(z_n = k | x_n, draw s)."""
    shape = (inputs.rows.n_places, inputs.mixture.log_weights.shape[1])
    return mean_over_draws(kernel.responsibilities, inputs, shape)[inputs.position]


def each_draw(function: Callable, inputs: Evaluation, *arguments) -> np.ndarray:
    """``function(natural, rows, *arguments)`` of every draw; the arguments have an axis of draws first."""
    return np.asarray(_each(function, inputs.mixture, inputs.rows, inputs.centred, *arguments))


def mean_over_draws(function: Callable, inputs: Evaluation, shape: tuple[int, ...], *arguments) -> Float[np.ndarray, "..."]:
    """(1/S) sum_s of ``function(natural, rows, *arguments)`` of draw s, an array of that shape."""
    total = _folded(function, jnp.add, jnp.zeros(shape), inputs.mixture, inputs.rows, inputs.centred, *arguments)
    return np.asarray(total) / len(inputs.mixture.log_weights)


def _occupied(natural, rows: Rows, key: Array) -> Bool[Array, " k"]:
    return kernel.counts(natural, rows, key=key) > 0


def occupied(inputs: Evaluation, *, key: Array) -> Bool[np.ndarray, "s k"]:
    """Which components hold a row when each row's assignment is drawn from its responsibilities.

    Assignments are drawn under those draws alone in which some component is not sure to hold one.
    """
    found = _surely_occupied(inputs)
    rest = np.flatnonzero(~found.all(1))
    keys, impl = np.asarray(jax.random.key_data(jax.random.split(key, len(found)))), jax.random.key_impl(key)
    at_once = min(_DRAWS_AT_ONCE, len(found))
    for low in range(0, len(rest), at_once):
        some = rest[np.minimum(np.arange(low, low + at_once), len(rest) - 1)]  # equal shapes: one compilation
        mixtures = jax.tree.map(lambda a: np.asarray(a)[some], inputs.mixture)  # noqa: B023
        of_some = jax.random.wrap_key_data(jax.device_put(keys[some]), impl=impl)
        found[some] = each_draw(_occupied, inputs._replace(mixture=mixtures), of_some)
    return found


def _surely_occupied(inputs: Evaluation) -> Bool[np.ndarray, "s k"]:
    """Which components expect so many rows of a subsample that they hold none with a probability under 1e-17."""
    shape = np.shape(inputs.mixture.log_weights)
    if inputs.rows.n_places <= _SUBSAMPLE:
        return np.zeros(shape, bool)
    few = subsample(inputs.rows, _SUBSAMPLE, rng=np.random.default_rng(0))
    return each_draw(_expected_rows, inputs._replace(rows=few)) >= _SURE


def _expected_rows(natural, rows: InMemory) -> Float[Array, " k"]:
    return ((rows.weights > 0).reshape(-1, 1) * kernel.responsibilities(natural, rows)).sum(0)


def _small_assignments(natural, rows: Rows, key: Array) -> Int[Array, " places"]:
    return kernel.assignments(natural, rows, key=key).astype(jnp.int16)


def assignments(inputs: Evaluation, *, key: Array) -> Int[np.ndarray, "s n"]:
    """Each row's component in each draw, drawn from its responsibilities; two bytes each."""
    return each_draw(_small_assignments, inputs, jax.random.split(key, len(inputs.mixture.log_weights)))[:, inputs.position]
