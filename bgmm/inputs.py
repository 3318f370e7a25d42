"""What a user gives to ``fit``, checked and in standardised units; each error message is one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bgmm.core import scaling
from bgmm.core.bulk import bulk_of
from bgmm.core.caller import warn
from bgmm.core.checks import FEW, check_total_weight
from bgmm.core.components import Mixture
from bgmm.core.dense import Dense
from bgmm.core.gaussians import Gaussians, converted
from bgmm.core.in_memory import in_memory
from bgmm.core.rows import Rows
from bgmm.core.scaling import Scaling
from bgmm.core.stream import Streamed
from bgmm.data.columns import Far, column_sentences, far_sentences, far_values, names, not_gaussian, too_far
from bgmm.data.source import filled
from bgmm.data.stream import Stream
from bgmm.data.table import Table, as_table
from bgmm.engines.optimise.starts import around, from_labels
from bgmm.program.family import DeclaredMixture, Resolved, check_called
from bgmm.tree.read import features_of, mixtures_of, parameters

_SMALLEST = 1e-140  # standard deviation whose square does not underflow
_ALIKE = 1e-4  # standard deviations between means of a start from which EM may end at the saddle where they are equal
_SAMPLED = 65_536  # rows from which the bulk is read off; of a stream also the recording steps and degenerate columns


class Data(NamedTuple):
    """The user's rows, and what is read off them once."""

    features: tuple[str, ...]
    values: Float[np.ndarray, "n d"] | Stream  # all rows, weights of zero included; perhaps the user's own array
    weights: Float[np.ndarray, " n"] | None
    counted: Float[np.ndarray, "m d"]  # rows of weight above zero; of a stream, some of them
    n_counted: int
    units: Scaling  # that standardise the rows
    far: Far  # values outside of the bulk of their columns
    steps: Float[np.ndarray, " d"]  # to which the values were recorded, in the units of the data
    labels: np.ndarray | None = None  # of all rows: the index of a DataFrame

    @property
    def counted_weights(self) -> Float[np.ndarray, " m"]:
        """Weights of the rows in ``counted``; of a stream's sample, one."""
        if self.weights is None or self.in_memory is None:
            return np.ones(len(self.counted))
        return self.weights[self.weights > 0]

    @property
    def in_memory(self) -> Float[np.ndarray, "n d"] | None:
        """All rows, unless they are streamed."""
        return None if isinstance(self.values, Stream) else self.values

    def rows(self, dtype: str) -> tuple[Rows, Int[np.ndarray, " n"] | None]:
        """The standardised rows as passes read them, and the place of each row in memory among them."""
        if (refusal := too_far(self.features, self.far, self.units, dtype)) is not None:
            raise ValueError(refusal)
        if isinstance(self.values, Stream):
            return Streamed(self.values, self.units, self.weights, dtype=dtype), None
        return in_memory(self.values, self.weights, scaling=self.units, dtype=dtype)


def read_data(model: DeclaredMixture | Callable, x, weights) -> Data:
    """The user's data for a model, checked."""
    check_called(model)
    if not callable(model) and callable(x):
        raise ValueError(f"the model comes first, then the data: bgmm.fit(model, x), and here {type(model).__name__} is first")
    if not callable(model) or inspect.isclass(model):
        raise ValueError(
            f"model must be one of bgmm.models or a NumPyro program, not {getattr(model, '__name__', type(model).__name__)}"
        )
    labels = None
    values: np.ndarray | Stream
    take: Callable[[np.ndarray], np.ndarray]
    if isinstance(x, Stream):
        features, n, values = x.features, x.n_rows, x
        chunks, take, notes = _checked_chunks(x), x.take, x.lost_digits()
    else:
        table = x if isinstance(x, Table) else as_table(x, copy=False)
        notes = [] if table is x else list(table.notes)
        features, n, values, labels = table.features, len(table.values), table.values, table.labels
        chunks, take = partial(scaling.in_chunks, table.values), table.values.__getitem__
    for note in notes:
        warn(note)
    c = _observation_weights(weights, n)
    candidates = np.arange(n) if c is None else np.flatnonzero(c)
    n_counted = len(candidates)
    if n_counted < 2:
        raise ValueError("a fit needs at least 2 rows of weight above 0")
    rng = np.random.default_rng(0)
    chosen = candidates if n_counted <= _SAMPLED else np.sort(rng.choice(candidates, _SAMPLED, replace=False))
    sample = take(chosen)
    bulk = bulk_of(sample, None if c is None else c[chosen])
    units = scaling.scaling_of_chunks(chunks, c, bulk)
    counted = sample
    if isinstance(values, np.ndarray) and n_counted > _SAMPLED:
        counted = values if c is None else values[c > 0]
    _check_scale(features, units)
    far = far_values(chunks, bulk, c)
    if (refusal := too_far(features, far, units, "float64")) is not None:
        raise ValueError(refusal)
    family = model.components if isinstance(model, DeclaredMixture) else None
    has_floor = isinstance(family, Resolved)
    declared = family.recording_step if isinstance(family, Resolved) else None
    steps = scaling.recording_steps(counted, units) if declared is None else _declared_steps(declared, features)
    near = counted[~bulk.is_far(counted).any(1)] if far.row.size else counted
    said = [*far_sentences(features, far), *column_sentences(features, near, units), *not_gaussian(features, sample)]
    if not has_floor and steps.any():
        said.append(
            f"values of {names(features, np.flatnonzero(steps))} repeat, and a program of your own has no floor under its "
            "scales unless it declares one: a component can collapse onto the ties"
        )
    if c is not None and c.sum() < FEW:
        said.append(
            f"weights count rows, and these sum to {c.sum():.3g}, so that the priors decide; "
            "scale them to sum to the number of rows, unless that is meant: weights / weights.mean()"
        )
    for sentence in said:
        warn(sentence)
    return Data(features, values, c, counted, n_counted, units, far, steps, labels)


def _checked_chunks(x: Stream) -> Callable:
    """The chunks of a stream, each checked for values that are missing or infinite."""

    def chunks():
        start = 0
        for chunk in x.chunks():
            if not np.isfinite(chunk).all():
                row, column = np.argwhere(~np.isfinite(chunk))[0]
                what = "a missing" if np.isnan(chunk[row, column]) else "an infinite"
                raise ValueError(
                    f"'{x.path}' has {what} value in row {start + row + 1} of column '{x.features[column]}'; "
                    "leave such rows out of a stream, or fit an array in memory, where missing values are marginalised"
                )
            start += len(chunk)
            yield chunk

    return chunks


def _observation_weights(weights, n: int) -> Float[np.ndarray, " n"] | None:
    """Weights of the observations, one number a row."""
    if weights is None:
        return None
    try:
        c = np.array(filled(weights), np.float64)  # a copy: the tree keeps it
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"weights must be one number for each of the {n} rows") from None
    if c.shape != (n,):
        raise ValueError(f"weights must be one number for each of the {n} rows, not of shape {c.shape}")
    wrong = np.flatnonzero(~(np.isfinite(c) & (c >= 0)))
    if wrong.size:
        raise ValueError(f"weights must be finite and not negative, and that of row {wrong[0] + 1} is {c[wrong[0]]}")
    if not c.any():
        raise ValueError("weights must not all be zero")
    check_total_weight("weights", c)
    return c


def _check_scale(features: tuple[str, ...], units: Scaling) -> None:
    """Refuse units in which a variance would be no number."""
    for name, scale in zip(features, np.asarray(units.scale), strict=True):
        if not _SMALLEST < scale < 1 / _SMALLEST:
            raise ValueError(f"column '{name}' varies by {scale:.1e}, whose square is no number; give it in other units")


def _declared_steps(declared: float | tuple[float, ...], features: tuple[str, ...]) -> Float[np.ndarray, " d"]:
    """Recording step of each feature, in the units of the data, as the model declares it."""
    d = len(features)
    if np.ndim(declared) and np.shape(declared) != (d,):
        raise ValueError(
            f"recording_step has {np.size(declared)} entries, and the data have {d} columns: {', '.join(features)}"
        )
    return np.broadcast_to(np.asarray(declared, float), (d,))


def start_mixture(start, data: Data, k: int) -> Mixture:
    """Where to begin, standardised: at means (k, d), a label for each row (n,), or the best draw of another tree."""
    d, n = len(data.features), data.n_counted if data.in_memory is None else len(data.in_memory)
    if isinstance(start, xr.DataTree):
        return _of_tree(start, data.features, data.units, k)
    try:
        array = np.asarray(start, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.shape == (k, d) and np.isfinite(array).all():
        means = data.units.standardise(array)
        first, second = np.nonzero(np.triu((np.abs(means[:, None] - means[None]) < _ALIKE).all(2), 1))
        if first.size:
            raise ValueError(
                f"means {first[0] + 1} and {second[0] + 1} of start are the same, or nearly, and components that begin alike "
                "stay alike; give each its own"
            )
        some = np.unique(np.linspace(0, len(data.counted) - 1, 10_000).astype(int))
        rows = np.nan_to_num(data.units.standardise(data.counted[some]))
        nearest = np.square(rows[:, None, :] - means[None]).sum(2).min(1)
        distance = np.average(nearest, weights=data.counted_weights[some])
        return around(jnp.asarray(means), jnp.asarray(distance))
    x, c = data.in_memory, data.weights
    if array.shape == (n,) and x is not None:
        labels, which = np.unique(array, return_inverse=True)
        if not np.isfinite(labels).all():
            raise ValueError(f"start has no label for row {np.flatnonzero(~np.isfinite(array))[0] + 1}; give every row one")
        if len(labels) != k:
            raise ValueError(f"start has {len(labels)} different labels, and the model has {k} components")
        c = np.ones(n) if c is None else c
        standard = np.where(c[:, None] > 0, np.nan_to_num(data.units.standardise(x)), 0.0)
        return from_labels(jnp.asarray(standard), jnp.asarray(c), jnp.asarray(which), k, Dense)
    labels_too = "" if x is None else f", one numeric label for each of the {n} rows,"
    raise ValueError(
        f"start must be finite means of shape ({k}, {d}){labels_too} or another fit's tree, "
        f"not {type(start).__name__}{f' of shape {array.shape}' if array.size else ''}"
    )


def _of_tree(tree: xr.DataTree, features: tuple[str, ...], units: Scaling, k: int) -> Mixture:
    d = len(features)
    mixtures, own = parameters(tree)
    if not isinstance(mixtures.components, Gaussians):
        raise ValueError("start is a tree whose components are not Gaussian; give means, or a label for each row")
    if mixtures.components.means.shape[1:] != (k, d):
        found = "{} components of {} features".format(*mixtures.components.means.shape[1:])
        raise ValueError(f"start is a tree with {found}, and the model has {k} components of {d} features")
    stats = tree["sample_stats"] if "sample_stats" in tree.children else mixtures_of(tree)
    best = int(stats["lp"].to_numpy().argmax()) if "lp" in stats else len(mixtures.log_weights) - 1
    mixture = own.out_of(jax.tree.map(lambda a: np.asarray(a)[best], mixtures))
    names = features_of(tree)
    if set(names) == set(features) and names != features:  # by name, the order may be another
        place = [names.index(name) for name in features]
        g = converted(mixture, Dense, False).components
        assert isinstance(g, Gaussians)
        assert isinstance(g.factor, Dense)
        sigma = np.asarray(g.factor.L @ np.swapaxes(g.factor.L, -1, -2))[:, place][:, :, place]
        mixture = mixture._replace(components=Gaussians(np.asarray(g.means)[:, place], Dense(np.linalg.cholesky(sigma))))
    return units.into(mixture)
