"""fit(model, x, engine, seed): checks the inputs, runs the engine, and builds the tree."""

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

from bgmm.core import scaling
from bgmm.core.checks import check_choice, check_flag, random_key
from bgmm.core.components import Mixture
from bgmm.core.options import named_options
from bgmm.core.precision import in_float64
from bgmm.core.progress import shown, stage
from bgmm.core.rows import Rows
from bgmm.core.scaling import Scaling
from bgmm.engines.base import Draws, Engine
from bgmm.engines.catalogue import BEST_FIRST, ENGINES, engine_named
from bgmm.inputs import Data, read_data, start_mixture
from bgmm.posterior.criteria import criteria
from bgmm.posterior.diagnose import chains_verdict, verdict_entry
from bgmm.posterior.evaluate import Evaluation, at_rows, log_likelihoods, log_volume, occupied
from bgmm.prior import count_prior
from bgmm.program.declare import make_target
from bgmm.program.family import About, DeclaredMixture, Resolved
from bgmm.program.target import Target
from bgmm.tree.build import dataset, draws_groups, observed_group, with_labels
from bgmm.tree.read import with_about

type Model = DeclaredMixture | Callable[..., None]

_POINTS = 5  # at which log densities are kept for the diagnostics
_LARGE = 2e7  # numbers in a log_likelihood group (160 MB) from which it is made only when asked for


@named_options()
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
    progress: bool | None = None,
) -> xr.DataTree:
    """Fit a declared mixture to data.

    :param model: one of ``bgmm.models``, or any NumPyro program of one argument, the rows, that observes a
        ``bgmm.GaussianMixture`` or a ``bgmm.ComponentMixture``.
    :param x: data (n, d): array, DataFrame or anything alike, where NaN is a missing value and is marginalised; or a
        ``bgmm.stream`` of a file that is larger than memory. The index of a DataFrame becomes the coordinate of ``observation``
        in the tree and in answers about rows, where it consists of strings, numbers or dates that are all different. Any other
        index (of several levels, with repeated or missing entries, with time zones) is left out, and the rows are numbered.
    :param engine: "em", "nuts", "gibbs", or a value with settings such as ``bgmm.NUTS(n_draws=2000)``; by default Gibbs where
        it can fit the model and the rows, else NUTS.
    :param seed: an integer or a JAX key. Equal seeds give equal trees on one machine.
    :param weights: of the observations (n,): a row of weight 2 counts as that row twice.
    :param standardise: whether the model sees standardised rows. By default our models do, plain functions do not.
    :param log_likelihood: whether the tree holds the log likelihood of every row and draw, which LOO needs. By default
        when there is more than one draw, it takes under 160 MB, and the rows are in memory. Of one draw, LOO is not defined,
        and ``log_density`` of the tree is the log likelihood of every row.
    :param start: where to begin instead of at restarts: means (k, d), a label for each row (n,), or the tree of another fit.
    :param dtype: "float32" runs the passes of EM and NUTS over the data in single precision, which halves their memory and
        costs about 1e-6 of the log likelihood. Parameters and sums stay in double precision, and so do the passes of Gibbs.
    :param progress: whether a line on stderr says what a fit of more than a second does, how far it is, and the time left. By
        default on terminals and in notebooks only; False turns it off, True shows it anywhere.
    :returns: an ArviZ tree in the units of the data; ``bgmm.tree.schema`` lists its groups and variables. EM gives one chain of
        one draw. ``sample_stats`` holds which components hold a row (``occupied``, ``n_occupied``), what the engine reports,
        and ``lp``, the log posterior of the model in its own units; of EM also ``aic``, ``bic``, ``icl`` and ``n_parameters``
        (``posterior.criteria``), from the log likelihood at the mode. One warning says where chains do not agree or have too
        few effective draws; ``summary`` says how far draws can be trusted.
    :raises ValueError: one sentence that says what is wrong with the data, the model or an option.
    """
    check_choice("dtype", dtype, ("float64", "float32"))
    for name, flag in (("standardise", standardise), ("log_likelihood", log_likelihood), ("progress", progress)):
        if flag is not None:
            check_flag(name, flag)
    key_run, key_occupied = jax.random.split(random_key(seed))
    settings = None if engine is None else _settings(engine)
    with shown(progress):
        with stage("reading the rows"):
            data = read_data(model, x, weights)
        if log_likelihood and data.in_memory is None:
            raise ValueError("log_likelihood=True needs the rows in memory, and here they are streamed; leave it out")
        with stage("reading the model"):
            rows, position = data.rows(dtype)
            target = declared_target(model, data, rows, standardise)
        bounded = target.model is not None and target.model.weights.size_is_bound
        if not bounded and target.n_components > data.n_counted:
            raise ValueError(f"{target.n_components} components need at least as many rows, and x has {data.n_counted}")
        settings = _best(target, start) if settings is None else settings
        if (refusal := settings.refuses(target, start)) is not None:
            able = [name for name in ENGINES if engine_named(name).refuses(target, start) is None]
            raise ValueError(refusal + (f"; use {' or '.join(able)}" if able else ""))
        begin = None if start is None else start_mixture(start, data, target.n_components)
        with stage(type(settings).__name__):
            draws = settings.run(target, key=key_run, start=begin)
        flat, shape = _flat(draws.mixture)
        log_volumes = np.zeros(0) if data.in_memory is None else log_volume(data.in_memory, data.units)
        inputs = Evaluation(flat, rows, position, log_volumes, flat.components.needs_centres(rows.dtype))
        if "occupied" not in draws.stats:
            with stage("components that hold a row"):
                draws.stats["occupied"] = occupied(inputs, key=key_occupied).reshape(*shape, -1)
            draws.stats["n_occupied"] = draws.stats["occupied"].sum(-1)
            draws.dims["occupied"] = ["chain", "draw", "cluster"]
        if draws.kind == "mode":
            draws.stats["n_parameters"] = np.full(shape, target.n_parameters)
            of_mode = criteria(inputs, target.n_parameters, data.units)
            draws.stats |= {name: value.reshape(shape) for name, value in of_mode.items()}
        else:
            points = at_rows(flat, data.units, _fixed_points(data))
            draws.stats["log_density"] = log_likelihoods(points).reshape(*shape, -1)
            draws.dims["log_density"] = ["chain", "draw", "point"]
        groups = _groups(draws, data, target)
        if _wanted(log_likelihood, data, shape):
            with stage("log likelihood of each row"):
                each = log_likelihoods(inputs).reshape(*shape, -1)
            each_row = dataset({"x": each}, {"x": ["observation"]}, data.features)
            groups["log_likelihood"] = with_labels(each_row, data.labels)
        tree = with_about(xr.DataTree.from_dict(groups), **_about(model, settings, seed, data, target, draws))
        said, remembered = list(draws.warnings), {}
        if draws.kind == "chains":
            with stage("whether the chains agree"):
                verdict = chains_verdict(tree)
            said += [] if verdict.failure is None else [verdict.failure]
            remembered = {"verdict": verdict_entry(tree, verdict)}
        tree = with_about(tree, warnings=said, **remembered)
    for sentence in said:  # once the line of the progress is gone
        warnings.warn(sentence, stacklevel=4)
    return tree


def _settings(engine: str | Engine) -> Engine:
    """Settings from a name or settings."""
    if isinstance(engine, str) and engine in ENGINES:
        return engine_named(engine)
    if isinstance(engine, str | type) or not isinstance(engine, Engine):
        names = ", ".join(ENGINES)
        raise ValueError(f"engine must be one of {names} or a settings value such as bgmm.NUTS(), not {engine!r}")
    return engine


def _best(target: Target, start) -> Engine:
    """The model's own best engine: the first that does not refuse it, else the first, whose refusal is then the error."""
    engines = [engine_named(name) for name in BEST_FIRST]
    return next((engine for engine in engines if engine.refuses(target, start) is None), engines[0])


def declared_target(model: Model, data: Data, rows: Rows, standardise: bool | None) -> Target:
    """The model traced on rows in its own units, and stated on standardised ones."""
    declared = isinstance(model, DeclaredMixture)
    standardise = declared if standardise is None else standardise
    some = data.counted[:1] if declared or data.in_memory is None else data.in_memory
    steps = data.steps / np.asarray(data.units.scale) if standardise else data.steps
    return make_target(
        model,
        data.units.standardise(some) if standardise else some,
        rows=rows,
        scaling=None if standardise else data.units,
        recording_step=steps if declared else None,
    )


def _flat(mixture: Mixture) -> tuple[Mixture, tuple[int, int]]:
    """The mixtures with one axis of draws, and the numbers of chains and draws."""
    chains, draws = np.shape(mixture.log_weights)[:2]
    return jax.tree.map(lambda a: jnp.asarray(a).reshape(chains * draws, *a.shape[2:]), mixture), (chains, draws)


def _fixed_points(data: Data) -> Float[np.ndarray, "p d"]:
    """A few rows, spread along the direction in which the data vary most: where densities are compared between chains."""
    some = data.counted[: scaling.CHUNK]
    standard = np.nan_to_num(data.units.standardise(some))
    along = standard @ np.linalg.eigh(standard.T @ standard)[1][:, -1]
    return some[np.argsort(along, kind="stable")[np.linspace(0, len(along) - 1, _POINTS).astype(int)]]


def _wanted(log_likelihood: bool | None, data: Data, shape: tuple[int, int]) -> bool:
    """Whether the tree is to hold the log likelihood of every row."""
    if data.in_memory is None:
        return False
    if log_likelihood is not None:
        return log_likelihood
    n_draws = int(np.prod(shape))
    return 1 < n_draws <= _LARGE / len(data.in_memory)  # LOO needs more than one draw


def _groups(draws: Draws, data: Data, target: Target) -> dict[str, xr.Dataset]:
    """Every group but the log likelihood."""
    mixture = jax.tree.map(np.asarray, data.units.out_of(draws.mixture))
    groups = draws_groups(
        mixture, draws.sites, draws.stats, draws.dims, draws.log_prior, data.features, random_k=bool(target.discrete)
    )
    if data.in_memory is not None:
        groups["observed_data"] = observed_group(data.features, data.in_memory, data.labels)
    return groups | {"constant_data": _constants(data, target.model)}


def _constants(data: Data, model: DeclaredMixture | None) -> xr.Dataset:
    """What the fit took as given, in the units of the data."""
    units = Scaling(*(np.asarray(a) for a in data.units))
    values = {"centre": units.centre, "scale": units.scale, "recording_step": data.steps}
    if model is not None and isinstance(model.components, Resolved):
        values["resolution"] = np.asarray(model.components.resolution(About(data.steps / units.scale))) * units.scale
    group = xr.Dataset({name: ("feature", value) for name, value in values.items()}, coords={"feature": list(data.features)})
    if model is not None:
        group = group.merge(count_prior(model.weights, data.n_counted))
    if data.weights is None or data.in_memory is None:
        return group
    return with_labels(group.assign(observation_weights=("observation", data.weights)), data.labels)


def _named(value: object) -> object:
    """A class or a function by its name, which JSON can hold."""
    return getattr(value, "__name__", repr(value)) if callable(value) else value


def _about(model: Model, settings: Engine, seed, data: Data, target: Target, draws: Draws) -> dict:
    """How the tree was made."""
    rows = {} if data.in_memory is not None else {"rows": str(data.values.path), "n_rows": data.values.n_rows}  # type: ignore[union-attr]
    return rows | {
        "model": repr(model) if isinstance(model, DeclaredMixture) else _named(model),
        "components": type(draws.mixture.components).__name__,
        "engine": type(settings).__name__,
        "settings": {name: _named(value) for name, value in asdict(settings).items()},  # type: ignore[call-overload]
        "draws": draws.kind,
        "seed": int(seed) if not isinstance(seed, jax.Array) else repr(seed),
        "n_components": target.n_components,
        "versions": {name: version(name) for name in ("bgmm", "jax", "numpyro", "arviz")},
    }
