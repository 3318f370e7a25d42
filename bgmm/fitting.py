"""fit(model, x, engine, seed): data in, ArviZ tree out. The one place that knows models, engines and questions alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bgmm.core import one_pass, scaling
from bgmm.core.checks import random_key
from bgmm.core.precision import in_float64
from bgmm.core.scaling import Scaling
from bgmm.core.target import Target, make_target
from bgmm.data.table import Table, as_table
from bgmm.engines.draws import Draws
from bgmm.engines.em import EM
from bgmm.engines.nuts import NUTS
from bgmm.models import Mixture
from bgmm.posterior.evaluate import at_rows, log_likelihoods, occupied
from bgmm.tree import CLUSTER_DIMS, canonical, dataset, with_about

type Engine = EM | NUTS
type Model = Mixture | Callable[..., None]

ENGINES: dict[str, type[EM] | type[NUTS]] = {"em": EM, "nuts": NUTS}
_SMALLEST = 1e-140  # standard deviation whose square is still a number with digits
_LARGE = 2e7  # numbers in a log_likelihood group (160 MB) from which it is made only when asked for


@in_float64
def fit(
    model: Model,
    x,
    engine: str | Engine | None = None,
    *,
    seed: int | jax.Array = 0,
    weights=None,
    standardise: bool | None = None,
    log_likelihood: bool | None = None,
) -> xr.DataTree:
    """Fit a declared mixture to data.

    :param model: one of ``bgmm.models``, or any NumPyro program of one argument, the rows, that observes a
        ``bgmm.GaussianMixture``.
    :param x: data (n, d): array, DataFrame or anything alike. NaN is a missing value, and is marginalised.
    :param engine: "em", "nuts", or a value with settings such as ``bgmm.NUTS(n_draws=2000)``; by default NUTS.
    :param seed: an integer or a JAX key. Equal seeds give equal trees on one machine.
    :param weights: of the observations (n,): a row of weight 2 counts as that row twice.
    :param standardise: whether the model sees standardised rows. By default our models do, plain functions do not.
    :param log_likelihood: whether the tree holds the log likelihood of every row and draw, which LOO needs. By default
        when it takes under 160 MB.
    :returns: an ArviZ tree in the units of the data: groups posterior, sample_stats, observed_data, constant_data, log_prior
        and log_likelihood. EM gives one chain of one draw. ``sample_stats`` holds the number of occupied components
        ``n_occupied``, what the engine has to say, and ``lp``, the log posterior of the model in its own units.
    :raises ValueError: one sentence that says what is wrong with the data, the model or an option.
    """
    settings = _engine(engine)
    if not callable(model):
        raise ValueError(f"model must be one of bgmm.models or a NumPyro program, not {type(model).__name__}")
    table = x if isinstance(x, Table) else as_table(x)
    for note in () if table is x else table.notes:
        warnings.warn(note, stacklevel=3)
    key = random_key(seed)
    own = isinstance(model, Mixture)
    c = _weights(weights, table)
    counted = slice(None) if c is None else c > 0
    units = scaling.scaling_of(table.values, c)
    _check_scale(table, units)
    steps = _recording_steps(model, table, units, table.values[counted])
    _warn_of_columns(table, units, own, steps)
    target = _target(model, table, units, steps, c, own if standardise is None else standardise)
    if target.n_components > (n := len(table.values[counted])):
        raise ValueError(f"{target.n_components} components need at least as many rows, and x has {n}")

    key_run, key_occupied = jax.random.split(key)
    draws = settings.run(target, key=key_run)
    for sentence in draws.warnings:
        warnings.warn(sentence, stacklevel=3)

    n_draws = int(np.prod(draws.mixture.means.shape[:2]))
    flat = jax.tree.map(lambda a: jnp.asarray(a.reshape(n_draws, *a.shape[2:])), draws.mixture)
    at = at_rows(flat, units, table.values)
    shape = draws.mixture.means.shape[:2]
    k_plus = occupied(at_rows(flat, units, table.values[counted]), key=key_occupied).sum(1).reshape(shape)
    wanted = n_draws * len(table.values) <= _LARGE if log_likelihood is None else log_likelihood
    groups = _groups(draws, table, units, {} if own else draws.sites, k_plus) | {
        "constant_data": _constants(table, units, model, steps, weights)
    }
    if wanted:
        rows = log_likelihoods(at).reshape(*shape, -1)
        groups["log_likelihood"] = dataset({"x": rows}, {"x": ["observation"]}, table.features)
    return with_about(xr.DataTree.from_dict(groups), **_about(model, settings, seed, target))


def _engine(engine: str | Engine | None) -> Engine:
    """Settings from a name or settings."""
    if engine is None:
        return NUTS()
    if isinstance(engine, str):
        if engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)} or a settings value, not {engine!r}")
        return ENGINES[engine]()
    if not isinstance(engine, tuple(ENGINES.values())):
        raise ValueError(f"engine must be one of {', '.join(ENGINES)} or a settings value such as bgmm.NUTS(), not {engine!r}")
    return engine


def _weights(weights, table: Table) -> Float[np.ndarray, " n"] | None:
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


def _check_scale(table: Table, units: Scaling) -> None:
    """Refuse units in which a variance would be no number."""
    for name, scale in zip(table.features, np.asarray(units.scale), strict=True):
        if not _SMALLEST < scale < 1 / _SMALLEST:
            raise ValueError(f"column '{name}' varies by {scale:.1e}, whose square is no number; give it in other units")


def _recording_steps(model: Model, table: Table, units: Scaling, rows: np.ndarray) -> Float[np.ndarray, " d"]:
    """Recording step of each feature in the units of the data: declared by the model, or seen in the data."""
    declared = model.components.recording_step if isinstance(model, Mixture) else None
    if declared is None:
        return scaling.recording_steps(rows, units)
    d = len(table.features)
    if np.ndim(declared) and np.shape(declared) != (d,):
        raise ValueError(
            f"recording_step has {np.size(declared)} entries, and the data have {d} columns: {', '.join(table.features)}"
        )
    return np.broadcast_to(np.asarray(declared, float), (d,))


def _warn_of_columns(table: Table, units: Scaling, own: bool, steps: np.ndarray) -> None:
    """Say which columns are constant, collinear, or rounded under a model without a floor."""
    constant, collinear = scaling.degenerate_columns(table.values, units)

    def names(columns):
        return ", ".join(f"'{table.features[j]}'" for j in columns)

    if constant:
        warnings.warn(f"no variation in {names(constant)}: it says nothing of clusters; leave it out", stacklevel=4)
    if collinear:
        warnings.warn(f"columns {names(collinear)} are linear combinations of each other; leave one out", stacklevel=4)
    if not own and steps.any():
        warnings.warn(
            f"values of {names(np.flatnonzero(steps))} repeat, and a program of your own has no floor under its scales "
            "unless it declares one: a component can collapse onto the ties",
            stacklevel=4,
        )


def _target(model: Model, table: Table, units: Scaling, steps: np.ndarray, weights, standardise: bool) -> Target:
    """The model traced on rows in its own units, stated on standardised blocks."""
    standard = units.standardise(table.values)
    to_blocks = scaling.identity(len(table.features)) if standardise else units
    own_steps = steps / np.asarray(units.scale) if standardise else steps
    return make_target(
        model,
        standard if standardise else table.values,
        blocks=one_pass.make_blocks(standard, weights),
        scaling=to_blocks,
        recording_step=own_steps if isinstance(model, Mixture) else None,
        closed_form=model if isinstance(model, Mixture) else None,
    )


def _groups(
    draws: Draws, table: Table, units: Scaling, sites: dict[str, np.ndarray], k_plus: np.ndarray
) -> dict[str, xr.Dataset]:
    """The groups that describe the draws."""
    variables = canonical(units.out_of(draws.mixture))
    dims = {name: CLUSTER_DIMS[name] for name in variables}
    for name, value in sites.items():
        if name not in variables:
            variables[name] = value
        elif value.shape != variables[name].shape or not np.allclose(value, variables[name]):
            variables[f"{name}_site"] = value
    stats = {name: value for name, value in draws.stats.items() if name != "log_prior"} | {"n_occupied": k_plus}
    groups = {
        "posterior": dataset(variables, dims, table.features),
        "sample_stats": xr.merge(
            [
                dataset({n: v for n, v in stats.items() if n not in draws.dims}, {}, table.features),
                xr.Dataset({n: (draws.dims[n], v) for n, v in stats.items() if n in draws.dims}),
            ]
        ),
        "observed_data": xr.Dataset(
            {name: ("observation", column) for name, column in zip(table.features, table.values.T, strict=True)}
        ),
    }
    if "log_prior" in draws.stats:
        groups["log_prior"] = dataset({"log_prior": draws.stats["log_prior"]}, {}, table.features)
    return groups


def _constants(table: Table, units: Scaling, model: Model, steps: np.ndarray, weights) -> xr.Dataset:
    """What the fit took as given, in the units of the data."""
    scale = np.asarray(units.scale)
    values = {"centre": np.asarray(units.centre), "scale": scale, "recording_step": steps}
    if isinstance(model, Mixture):
        values["resolution"] = np.asarray(model.components.resolution(steps / scale)) * scale
    group = xr.Dataset({name: ("feature", value) for name, value in values.items()}, coords={"feature": list(table.features)})
    return group if weights is None else group.assign(observation_weights=("observation", np.asarray(weights, float)))


def _about(model: Model, settings: Engine, seed, target: Target) -> dict:
    return {
        "model": repr(model) if isinstance(model, Mixture) else getattr(model, "__name__", repr(model)),
        "engine": type(settings).__name__,
        "settings": asdict(settings),
        "seed": int(seed) if not isinstance(seed, jax.Array) else repr(seed),
        "n_components": target.n_components,
        "versions": {name: version(name) for name in ("bgmm", "jax", "numpyro", "arviz")},
    }
