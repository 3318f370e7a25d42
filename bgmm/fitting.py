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

from bgmm.core import gaussian, one_pass, scaling
from bgmm.core.checks import check_choice, random_key
from bgmm.core.precision import in_float64
from bgmm.core.scaling import Scaling
from bgmm.core.target import Target, make_target
from bgmm.data.table import Table, as_table
from bgmm.engines.draws import Draws
from bgmm.engines.em import EM
from bgmm.engines.nuts import NUTS
from bgmm.inputs import beginning, check_scale, observation_weights, recording_steps, warn_of_columns
from bgmm.models import Mixture
from bgmm.posterior.evaluate import Evaluation, log_likelihoods, log_volume, occupied
from bgmm.tree import CLUSTER_DIMS, canonical, dataset, with_about

type Engine = EM | NUTS
type Model = Mixture | Callable[..., None]

ENGINES: dict[str, type[EM] | type[NUTS]] = {"em": EM, "nuts": NUTS}
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
    start=None,
    dtype: str = "float64",
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
    :param start: where to begin instead of at restarts: means (k, d), a label for each row (n,), or the tree of another fit.
    :param dtype: "float32" runs the passes over the data in single precision, which halves their time and memory and costs
        about 1e-6 of the log likelihood. Parameters and sums stay in double precision.
    :returns: an ArviZ tree in the units of the data: groups posterior, sample_stats, observed_data, constant_data, log_prior
        and log_likelihood. EM gives one chain of one draw. ``sample_stats`` holds the number of occupied components
        ``n_occupied``, what the engine has to say, and ``lp``, the log posterior of the model in its own units.
    :raises ValueError: one sentence that says what is wrong with the data, the model or an option.
    """
    settings = _engine(engine)
    check_choice("dtype", dtype, ("float64", "float32"))
    if not callable(model):
        raise ValueError(f"model must be one of bgmm.models or a NumPyro program, not {type(model).__name__}")
    table = x if isinstance(x, Table) else as_table(x)
    for note in () if table is x else table.notes:
        warnings.warn(note, stacklevel=3)
    key = random_key(seed)
    own = isinstance(model, Mixture)
    c = observation_weights(weights, table)
    counted = table.values if c is None else table.values[c > 0]
    units = scaling.scaling_of(table.values, c)
    check_scale(table, units)
    steps = recording_steps(model, table, units, counted)
    warn_of_columns(table, counted, units, own, steps)
    target, position = _target(model, table, units, steps, c, own if standardise is None else standardise, dtype)
    if target.n_components > (n := len(counted)):
        raise ValueError(f"{target.n_components} components need at least as many rows, and x has {n}")

    key_run, key_occupied = jax.random.split(key)
    begin = None if start is None else beginning(start, table, c, units, target.n_components)
    draws = settings.run(target, key=key_run, start=begin)
    for sentence in draws.warnings:
        warnings.warn(sentence, stacklevel=3)

    n_draws = int(np.prod(draws.mixture.means.shape[:2]))
    flat = jax.tree.map(lambda a: jnp.asarray(a.reshape(n_draws, *a.shape[2:])), draws.mixture)
    centred = gaussian.needs_own_centres(flat, dtype)
    at = Evaluation(flat, target.blocks, position, log_volume(table.values, units), centred)
    shape = draws.mixture.means.shape[:2]
    k_plus = occupied(at, key=key_occupied).sum(1).reshape(shape)
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


def _target(
    model: Model, table: Table, units: Scaling, steps: np.ndarray, weights, standardise: bool, dtype: str
) -> tuple[Target, np.ndarray]:
    """The model traced on rows in its own units, stated on standardised blocks; and the places of the rows in these."""
    own = isinstance(model, Mixture)
    rows = table.values[:1] if own else table.values
    blocks, position = one_pass.make_blocks(table.values, weights, scaling=units, dtype=dtype)
    target = make_target(
        model,
        units.standardise(rows) if standardise else rows,
        blocks=blocks,
        scaling=scaling.identity(len(table.features)) if standardise else units,
        recording_step=(steps / np.asarray(units.scale) if standardise else steps) if own else None,
        closed_form=model if isinstance(model, Mixture) else None,
    )
    return target, position


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
