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
from bgmm.core.batches import DRAWS_AT_ONCE, batches, split_keys, taken
from bgmm.core.caller import warn
from bgmm.core.components import Mixture
from bgmm.core.gaussians import Gaussians
from bgmm.core.in_memory import SMALL, InMemory, in_memory, padded_size, subsample
from bgmm.core.rows import Rows
from bgmm.core.scaling import Scaling, in_chunks
from bgmm.data.table import Table, as_table, row_labels, unnamed
from bgmm.tree.read import features_of, observed, observed_labels, parameters

_SUBSAMPLE = 16_384  # rows
_REACH = 1e100  # standardised value whose square does not overflow
_SAME_MEMBERSHIP = 1e7  # times the extent of the mixture, beyond which memberships are those of the direction
_FAR = 100.0  # times the extent of the mixture, beyond which a warning names the row
_SURE = 40.0  # expected rows: the probability of none is at most exp(-40)


class Evaluation(NamedTuple):
    """Draws and rows, both standardised, ready for the kernel."""

    mixture: Mixture  # one leading axis: draws
    rows: Rows
    position: Int[np.ndarray, " n"] | None  # of each row among the places of ``rows``; None where these are streamed
    log_volume: Float[np.ndarray, " n"]  # of each row: its log density in standardised units less that in the user's
    centred: bool
    times: Float[np.ndarray, " n"] | None = None  # further out than a row that was moved; None where none was


def evaluation(tree: xr.DataTree, x=None) -> Evaluation:
    """The draws of ``tree`` at ``x``, or at the rows that it was fitted to."""
    mixture, scaling = parameters(tree)
    return at_rows(mixture, scaling, rows_of(tree, x))


def rows_of(tree: xr.DataTree, x=None) -> Float[np.ndarray, "n d"]:
    """``x`` as rows with the features of the tree, or the rows that it was fitted to; a warning names new rows far out."""
    if x is None:
        return observed(tree)
    rows = rows_like(tree, x)
    _warn_of_far_rows(tree, rows)
    return rows


def directions(mixture: Mixture, scaling: Scaling, x: Float[np.ndarray, "n d"]) -> Evaluation:
    """Draws at rows for memberships, which no longer change beyond a distance: further rows are moved to it.

    Squares of larger distances would swamp what tells apart components of equal covariance.
    """
    if not isinstance(mixture.components, Gaussians):
        return at_rows(mixture, scaling, x)
    return at_rows(mixture, scaling, x, reach=min(_REACH, _SAME_MEMBERSHIP * float(_extents(mixture).max())))


def _warn_of_far_rows(tree: xr.DataTree, x: Float[np.ndarray, "n d"]) -> None:
    """Name rows so far out that their membership only says which component is widest in their direction."""
    mixture, scaling = parameters(tree)
    with np.errstate(over="ignore"):
        beyond = np.abs(scaling.standardise(x)) > _FAR * np.median(_extents(mixture), axis=0)
    rows = np.flatnonzero(beyond.any(1))
    if rows.size:
        j = int(beyond[rows[0]].argmax())
        others = f" and {rows.size - 1} more lie" if rows.size > 1 else " lies"
        warn(
            f"row {rows[0] + 1} of x{others} over {_FAR:g} times as far out as any cluster reaches ({features_of(tree)[j]} is "
            f"{x[rows[0], j]:g} there): it belongs to none of them, and its membership only says which is widest that way"
        )


def _extents(mixture: Mixture) -> Float[np.ndarray, "s d"]:
    """How far the components of each draw reach from the centre in each feature: the largest |mean| + standard deviation."""
    g = mixture.components
    if not isinstance(g, Gaussians):
        return np.ones((1, g.n_features))
    spread = np.sqrt(np.asarray(g.factor.variances(g.n_features)))
    return np.maximum(1.0, (np.abs(np.asarray(g.means)) + spread).max(1))


def row_coords(tree: xr.DataTree, x=None) -> dict[str, np.ndarray]:
    """The coordinate of ``observation`` in answers about ``x`` or the rows of the tree: their labels, if they have any."""
    labels = observed_labels(tree) if x is None else row_labels(x)
    return {} if labels is None else {"observation": labels}


def at_rows(mixture: Mixture, scaling: Scaling, x: Float[np.ndarray, "n d"], *, reach: float = _REACH) -> Evaluation:
    """Standardised draws at rows in the user's units; rows beyond ``reach`` standardised units are moved to it."""
    within, times = scaling.within_reach(x, reach)
    rows, position = in_memory(within, scaling=scaling)
    far = bool((times > 1).any()) and isinstance(mixture.components, Gaussians)
    volumes = log_volume(x, scaling)
    return Evaluation(mixture, rows, position, volumes, mixture.components.needs_centres(), times if far else None)


def log_volume(x: Float[np.ndarray, "n d"], scaling: Scaling) -> Float[np.ndarray, " n"]:
    """For each row -sum_j log scale_j over its values: log densities in the user's units less those in standardised ones."""
    log_scale = np.log(np.asarray(scaling.scale))
    return -np.concatenate([~np.isnan(some) @ log_scale for some in in_chunks(x)] or [np.zeros(0)])


def rows_like(tree: xr.DataTree, x) -> Float[np.ndarray, "n d"]:
    """``x`` as rows with the features that the tree was fitted to: by name, or by place when either has no names."""
    features = features_of(tree)
    named = set(features) <= {str(name) for name in getattr(x, "columns", ())}  # other columns of a frame are not looked at
    table = x if isinstance(x, Table) else as_table(x, features if named else None, fitting=False)
    flat = table is not x and table.values.shape == (len(features), 1) != (1, 1) and np.ndim(x) == 1
    if flat and (unnamed(features) or table.features[0] not in features):
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
def _folded(
    function: Callable,
    fold: Callable,
    start: Array,
    n: Int[Array, ""],
    mixtures: Mixture,
    rows: Rows,
    centred: bool,
    *arguments,
):
    """``fold`` of ``function(natural, rows, *arguments)`` over the first n draws, held one at a time."""

    def step(s, total):
        mixture = jax.tree.map(lambda a: a[s], mixtures)
        return fold(total, function(mixture.natural(centred=centred), rows, *arguments))

    return jax.lax.fori_loop(0, n, step, start)


def _sizes(inputs: Evaluation) -> tuple[int, ...]:
    """Of batches of draws: some fixed ones where rows are few, else one batch, so that hardly any is computed in vain."""
    return DRAWS_AT_ONCE if inputs.rows.n_places <= SMALL[-1] else (padded_size(len(inputs.mixture.log_weights)),)


def _over_draws(function: Callable, fold: Callable, start: Array, inputs: Evaluation, *arguments) -> np.ndarray:
    for n, mixtures in batches(inputs.mixture, _sizes(inputs)):
        start = _folded(function, fold, start, np.asarray(n), mixtures, inputs.rows, inputs.centred, *arguments)
    return np.asarray(start)


def log_likelihoods(inputs: Evaluation) -> Float[np.ndarray, "s n"]:
    """log p(x_n | draw s), in the user's units."""
    places = each_draw(kernel.log_likelihood_of_rows, inputs)
    return _as_far_out(places[:, inputs.position], inputs) + inputs.log_volume


def responsibilities(inputs: Evaluation) -> Float[np.ndarray, "s n k"]:
    """p(z_n = k | x_n, draw s): keep the rows few."""
    return each_draw(kernel.responsibilities, inputs)[:, inputs.position]


def mean_log_density(inputs: Evaluation) -> Float[np.ndarray, " n"]:
    """log (1/S) sum_s p(x_n | draw s), in the user's units."""
    start = jnp.full(inputs.rows.n_places, -jnp.inf)
    total = _over_draws(kernel.log_likelihood_of_rows, jnp.logaddexp, start, inputs)
    of_rows = total[inputs.position] - np.log(len(inputs.mixture.log_weights))
    return _as_far_out(of_rows, inputs) + inputs.log_volume


def _as_far_out(log_densities: Float[np.ndarray, "*s n"], inputs: Evaluation) -> Float[np.ndarray, "*s n"]:
    """Log densities of moved rows where they were: the quadratic form s times as far out."""
    if inputs.times is None:
        return log_densities
    with np.errstate(over="ignore"):  # a log density below the least number is minus infinity
        return log_densities * np.square(inputs.times)


def mean_responsibilities(inputs: Evaluation) -> Float[np.ndarray, "n k"]:
    """(1/S) sum_s p(z_n = k | x_n, draw s)."""
    shape = (inputs.rows.n_places, inputs.mixture.log_weights.shape[1])
    return mean_over_draws(kernel.responsibilities, inputs, shape)[inputs.position]


def each_draw(function: Callable, inputs: Evaluation, *arguments) -> np.ndarray:
    """``function(natural, rows, *arguments)`` of every draw; the arguments have an axis of draws first."""
    parts = [
        np.asarray(_each(function, mixtures, inputs.rows, inputs.centred, *some))[:n]
        for n, (mixtures, *some) in batches((inputs.mixture, *arguments), _sizes(inputs))
    ]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]  # one part may be large: it is not copied


def mean_over_draws(function: Callable, inputs: Evaluation, shape: tuple[int, ...], *arguments) -> Float[np.ndarray, "..."]:
    """(1/S) sum_s of ``function(natural, rows, *arguments)`` of draw s, an array of that shape."""
    total = _over_draws(function, jnp.add, jnp.zeros(shape), inputs, *arguments)
    return total / len(inputs.mixture.log_weights)


def _occupied(natural, rows: Rows, key: Array) -> Bool[Array, " k"]:
    return kernel.counts(natural, rows, key=key) > 0


def occupied(inputs: Evaluation, *, key: Array) -> Bool[np.ndarray, "s k"]:
    """Which components hold a row when each row's assignment is drawn from its responsibilities.

    Assignments are drawn under those draws alone in which some component is not sure to hold one.
    """
    found = _surely_occupied(inputs)
    rest = np.flatnonzero(~found.all(1))
    keys = split_keys(key, len(found))
    if rest.size:
        mixture, keys = jax.tree.map(partial(taken, rest), (inputs.mixture, keys))
        found[rest] = each_draw(_occupied, inputs._replace(mixture=mixture), keys)
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
    return each_draw(_small_assignments, inputs, split_keys(key, len(inputs.mixture.log_weights)))[:, inputs.position]
