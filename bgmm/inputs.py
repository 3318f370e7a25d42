"""What a user hands to ``fit``, checked and in the units of the blocks; every mistake is one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bgmm.core import scaling
from bgmm.core.gaussian import Parameters
from bgmm.core.scaling import Scaling
from bgmm.data.table import Table, as_table
from bgmm.engines.starts import around, from_labels
from bgmm.models import Gaussian, Mixture
from bgmm.tree import features_of, mixtures_of, parameters

_SMALLEST = 1e-140  # standard deviation whose square is still a number with digits


class Given(NamedTuple):
    """Data as they were given, and what is seen of them at once."""

    table: Table
    weights: Float[np.ndarray, " n"] | None
    units: Scaling  # that standardise the rows
    steps: Float[np.ndarray, " d"]  # to which the values were recorded, in the units of the data


def given(model: Mixture | Callable, x, weights) -> Given:
    """The user's data for a model, checked; warnings point at who called the public function that calls this one."""
    if not callable(model):
        raise ValueError(f"model must be one of bgmm.models or a NumPyro program, not {type(model).__name__}")
    table = x if isinstance(x, Table) else as_table(x)
    for note in () if table is x else table.notes:
        warnings.warn(note, stacklevel=4)
    c = observation_weights(weights, table)
    units = scaling.scaling_of(table.values, c)
    check_scale(table, units)
    rows = table.values if c is None else table.values[c > 0]
    if len(rows) < 2:
        raise ValueError("a fit needs at least 2 rows of weight above 0")
    steps = recording_steps(model, table, units, rows)
    warn_of_columns(table, rows, units, isinstance(model, Mixture) and isinstance(model.components, Gaussian), steps)
    return Given(table, c, units, steps)


def observation_weights(weights, table: Table) -> Float[np.ndarray, " n"] | None:
    """Weights of the observations, one number a row."""
    if weights is None:
        return None
    n = len(table.values)
    try:
        c = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"weights must be one number for each of the {n} rows") from None
    if c.shape != (n,):
        raise ValueError(f"weights must be one number for each of the {n} rows, not of shape {c.shape}")
    wrong = np.flatnonzero(~(np.isfinite(c) & (c >= 0)))
    if wrong.size:
        raise ValueError(f"weights must be finite and not negative, and that of row {wrong[0] + 1} is {c[wrong[0]]}")
    if not c.any():
        raise ValueError("weights must not all be zero")
    return c


def check_scale(table: Table, units: Scaling) -> None:
    """Refuse units in which a variance would be no number."""
    for name, scale in zip(table.features, np.asarray(units.scale), strict=True):
        if not _SMALLEST < scale < 1 / _SMALLEST:
            raise ValueError(f"column '{name}' varies by {scale:.1e}, whose square is no number; give it in other units")


def recording_steps(model: Mixture | Callable, table: Table, units: Scaling, rows: np.ndarray) -> Float[np.ndarray, " d"]:
    """Recording step of each feature in the units of the data: declared by the model, or seen in the data."""
    components = model.components if isinstance(model, Mixture) else None
    declared = components.recording_step if isinstance(components, Gaussian) else None
    if declared is None:
        return scaling.recording_steps(rows, units)
    d = len(table.features)
    if np.ndim(declared) and np.shape(declared) != (d,):
        raise ValueError(
            f"recording_step has {np.size(declared)} entries, and the data have {d} columns: {', '.join(table.features)}"
        )
    return np.broadcast_to(np.asarray(declared, float), (d,))


def warn_of_columns(table: Table, rows: np.ndarray, units: Scaling, own: bool, steps: np.ndarray) -> None:
    """Say which columns are constant in the ``rows`` that count, collinear, or rounded under a model without a floor."""
    constant, collinear = scaling.degenerate_columns(rows, units)

    def names(columns):
        return ", ".join(f"'{table.features[j]}'" for j in columns)

    if constant:
        warnings.warn(f"no variation in {names(constant)}: it says nothing of clusters; leave it out", stacklevel=5)
    if collinear:
        warnings.warn(f"columns {names(collinear)} are linear combinations of each other; leave one out", stacklevel=5)
    if not own and steps.any():
        warnings.warn(
            f"values of {names(np.flatnonzero(steps))} repeat, and a program of your own has no floor under its scales "
            "unless it declares one: a component can collapse onto the ties",
            stacklevel=5,
        )


def beginning(start, table: Table, weights: np.ndarray | None, units: Scaling, k: int) -> Parameters:
    """Where to begin: from means (k, d), a label for each row (n,), or the draw of highest log posterior of another tree.

    ``weights`` are the observation weights.
    """
    n, d = table.values.shape
    if isinstance(start, xr.DataTree):
        return _of_tree(start, table.features, units, k)
    c = np.ones(n) if weights is None else weights
    try:
        given = np.asarray(start, np.float64)
    except (TypeError, ValueError):
        given = np.empty(0)
    if given.shape == (k, d) and np.isfinite(given).all():
        means = jnp.asarray(units.standardise(given))
        counted = np.flatnonzero(c)
        some = counted[np.unique(np.linspace(0, len(counted) - 1, 10_000).astype(int))]
        rows = np.nan_to_num(units.standardise(table.values[some]))
        distance = np.average(np.square(rows[:, None, :] - np.asarray(means)[None]).sum(2).min(1), weights=c[some])
        return around(means, jnp.asarray(distance))
    if given.shape == (n,):
        labels, which = np.unique(given, return_inverse=True)
        if not np.isfinite(labels).all():
            raise ValueError(f"start has no label for row {np.flatnonzero(~np.isfinite(given))[0] + 1}; give every row one")
        if len(labels) != k:
            raise ValueError(f"start has {len(labels)} different labels, and the model has {k} components")
        x = np.where(c[:, None] > 0, np.nan_to_num(units.standardise(table.values)), 0.0)
        return from_labels(jnp.asarray(x), jnp.asarray(c), jnp.asarray(which), k)
    raise ValueError(
        f"start must be finite means of shape ({k}, {d}), one numeric label for each of the {n} rows, or another fit's tree, "
        f"not {type(start).__name__}{f' of shape {given.shape}' if given.size else ''}"
    )


def _of_tree(tree: xr.DataTree, features: tuple[str, ...], units: Scaling, k: int) -> Parameters:
    d = len(features)
    mixture, own = parameters(tree)
    if mixture.means.shape[1:] != (k, d):
        there = "{} components of {} features".format(*mixture.means.shape[1:])
        raise ValueError(f"start is a tree with {there}, and the model has {k} components of {d} features")
    stats = tree["sample_stats"] if "sample_stats" in tree.children else mixtures_of(tree)
    best = int(stats["lp"].to_numpy().argmax()) if "lp" in stats else len(mixture.means) - 1
    log_w, mu, L = own.out_of(jax.tree.map(lambda a: np.asarray(a)[best], mixture))
    names = features_of(tree)
    if set(names) == set(features):  # by name, the order may be another
        place = [names.index(name) for name in features]
        mu, L = mu[:, place], np.linalg.cholesky((L @ np.swapaxes(L, -1, -2))[:, place][:, :, place])
    return units.into(Parameters(log_w, mu, L))
