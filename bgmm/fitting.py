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

from bgmm.core import gaussian, scaling
from bgmm.core.blocks import make_blocks
from bgmm.core.checks import check_choice, random_key
from bgmm.core.gaussian import Parameters
from bgmm.core.precision import in_float64
from bgmm.core.scaling import Scaling
from bgmm.core.slots import Slots, make_slots
from bgmm.core.target import Target, log_volume_of, make_target
from bgmm.data.table import Table
from bgmm.engines.draws import Draws
from bgmm.engines.em import EM
from bgmm.engines.gibbs import Gibbs
from bgmm.engines.nuts import NUTS
from bgmm.inputs import beginning, given
from bgmm.models import Gaussian, Mixture, RandomK, StickBreaking
from bgmm.posterior.evaluate import Evaluation, at_rows, log_likelihoods, log_volume, occupied
from bgmm.posterior.occupied import expected_occupied
from bgmm.prior import count_prior
from bgmm.tree import CLUSTER_DIMS, canonical, dataset, with_about

type Engine = EM | Gibbs | NUTS
type Model = Mixture | Callable[..., None]

ENGINES: dict[str, type[EM] | type[Gibbs] | type[NUTS]] = {"em": EM, "gibbs": Gibbs, "nuts": NUTS}
_POINTS = 5  # at which log densities are kept for the diagnostics
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
    :param engine: "em", "nuts", "gibbs", or a value with settings such as ``bgmm.NUTS(n_draws=2000)``; by default Gibbs for
        ``bgmm.models`` (NUTS with a ``start``, or ``weights`` other than 0 and 1, which Gibbs does not take), NUTS for others.
    :param seed: an integer or a JAX key. Equal seeds give equal trees on one machine.
    :param weights: of the observations (n,): a row of weight 2 counts as that row twice.
    :param standardise: whether the model sees standardised rows. By default our models do, plain functions do not.
    :param log_likelihood: whether the tree holds the log likelihood of every row and draw, which LOO needs. By default
        when it takes under 160 MB.
    :param start: where to begin instead of at restarts: means (k, d), a label for each row (n,), or the tree of another fit.
    :param dtype: "float32" runs the passes over the data in single precision, which halves their time and memory and costs
        about 1e-6 of the log likelihood. Parameters and sums stay in double precision.
    :returns: an ArviZ tree in the units of the data: groups posterior, sample_stats, observed_data, constant_data, log_prior
        and log_likelihood; by Gibbs, where the number of clusters varies between draws (K is unknown, or the prior expects some
        components to be empty), also components, the whole mixtures, and ``relabel`` puts clusters into the posterior. EM gives
        one chain of one draw. ``sample_stats`` holds the number of occupied components ``n_occupied``, what the engine has to
        say, and ``lp``, the log posterior of the model in its own units.
    :raises ValueError: one sentence that says what is wrong with the data, the model or an option.
    """
    check_choice("dtype", dtype, ("float64", "float32"))
    key = random_key(seed)
    settings = _engine(engine, model)
    table, c, units, steps = given(model, x, weights)
    if engine is None and not _random_k(model) and (start is not None or not _whole(c)):
        settings = NUTS()
    if isinstance(settings, Gibbs) and start is not None:
        raise ValueError(f"Gibbs begins its chains at different numbers of components; leave start out{_or_else(model)}")
    own = isinstance(model, Mixture)
    counted = table.values if c is None else table.values[c > 0]
    make: Callable[..., tuple[Slots | Target, np.ndarray]] = slots_of if isinstance(settings, Gibbs) else target_of
    target, position = make(model, table, units, steps, c, own if standardise is None else standardise, dtype)
    if not _open_ended(model) and target.n_components > (n := len(counted)):
        raise ValueError(f"{target.n_components} components need at least as many rows, and x has {n}")

    key_run, key_occupied = jax.random.split(key)
    begin = None if start is None else beginning(start, table, c, units, target.n_components)
    draws = _run(settings, target, key_run, begin)
    for sentence in draws.warnings:
        warnings.warn(sentence, stacklevel=3)

    n_draws = int(np.prod(draws.mixture.means.shape[:2]))
    flat = jax.tree.map(lambda a: jnp.asarray(a.reshape(n_draws, *a.shape[2:])), draws.mixture)
    centred = gaussian.needs_own_centres(flat, dtype)
    at = Evaluation(flat, target.blocks, position, log_volume(table.values, units), centred)
    shape = draws.mixture.means.shape[:2]
    if "n_occupied" not in draws.stats:
        draws.stats["n_occupied"] = occupied(at, key=key_occupied).sum(1).reshape(shape)
    if n_draws > 1:
        points = _fixed_points(counted, units)
        draws.stats["log_density"] = log_likelihoods(at_rows(flat, units, points)).reshape(*shape, -1)
        draws.dims["log_density"] = ["chain", "draw", "point"]
    wanted = n_draws * len(table.values) <= _LARGE if log_likelihood is None else log_likelihood
    constants = _constants(table, units, model, steps, weights)
    varying = "occupied" in draws.stats and (_random_k(model) or expected_occupied(constants, len(counted))[-1] < 0.5)
    groups = _groups(draws, table, units, own, varying) | {"constant_data": constants}
    if wanted:
        rows = log_likelihoods(at).reshape(*shape, -1)
        groups["log_likelihood"] = dataset({"x": rows}, {"x": ["observation"]}, table.features)
    return with_about(xr.DataTree.from_dict(groups), **_about(model, settings, seed, target))


def _random_k(model: Model) -> bool:
    return isinstance(model, Mixture) and isinstance(model.weights, RandomK)


def _or_else(model: Model) -> str:
    """What there is beside Gibbs."""
    return "" if _random_k(model) else ", or use nuts or em"


def _open_ended(model: Model) -> bool:
    """Whether there may be fewer rows than components: then more of these are only possible, and not asked for."""
    return isinstance(model, Mixture) and isinstance(model.weights, RandomK | StickBreaking)


def _engine(engine: str | Engine | None, model: Model) -> Engine:
    """Settings from a name or settings, or the model's own best engine."""
    if engine is None:
        engine = Gibbs() if isinstance(model, Mixture) else NUTS()
    if isinstance(engine, str):
        if engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)} or a settings value, not {engine!r}")
        engine = ENGINES[engine]()
    if not isinstance(engine, tuple(ENGINES.values())):
        raise ValueError(f"engine must be one of {', '.join(ENGINES)} or a settings value such as bgmm.NUTS(), not {engine!r}")
    if _random_k(model) and not isinstance(engine, Gibbs):
        raise ValueError(f"{type(engine).__name__} needs a given number of components, and here it is unknown; use gibbs")
    if isinstance(engine, Gibbs) and callable(model) and not isinstance(model, Mixture):
        raise ValueError("Gibbs fits a models.Mixture, whose components are alike; use nuts or em for a program of your own")
    return engine


def _run(settings: Engine, target: Slots | Target, key: jax.Array, start: Parameters | None) -> Draws:
    """The engine on what it is made for."""
    if isinstance(settings, Gibbs):
        assert isinstance(target, Slots)
        return settings.run(target, key=key)
    assert isinstance(target, Target)
    return settings.run(target, key=key, start=start)


def slots_of(
    model: Model, table: Table, units: Scaling, steps: np.ndarray, weights, standardise: bool, dtype: str
) -> tuple[Slots, np.ndarray]:
    """The model as slots stated on standardised blocks; and the places of the rows in these."""
    assert isinstance(model, Mixture)
    if not _whole(weights):
        raise ValueError(f"Gibbs assigns whole rows, and weights= has others than 0 and 1; repeat the rows{_or_else(model)}")
    blocks, position = make_blocks(table.values, weights, scaling=units, dtype=dtype)
    scale = np.asarray(units.scale)
    slots = make_slots(
        model,
        blocks=blocks,
        scaling=scaling.identity(len(table.features)) if standardise else units,
        recording_step=steps / scale if standardise else steps,
        log_volume=jnp.zeros(()) if standardise else log_volume_of(blocks, units),
    )
    return slots, position


def _whole(weights: np.ndarray | None) -> bool:
    """Whether each row counts once or not at all."""
    return weights is None or bool(np.isin(weights, (0.0, 1.0)).all())


def target_of(
    model: Model, table: Table, units: Scaling, steps: np.ndarray, weights, standardise: bool, dtype: str
) -> tuple[Target, np.ndarray]:
    """The model traced on rows in its own units, stated on standardised blocks; and the places of the rows in these."""
    own = isinstance(model, Mixture)
    rows = table.values[:1] if own else table.values
    blocks, position = make_blocks(table.values, weights, scaling=units, dtype=dtype)
    target = make_target(
        model,
        units.standardise(rows) if standardise else rows,
        blocks=blocks,
        scaling=scaling.identity(len(table.features)) if standardise else units,
        recording_step=(steps / np.asarray(units.scale) if standardise else steps) if own else None,
        closed_form=model if isinstance(model, Mixture) and isinstance(model.components, Gaussian) else None,
    )
    return target, position


def _fixed_points(rows: np.ndarray, units: Scaling) -> np.ndarray:
    """A few rows, spread along the direction in which the data vary most: where densities are compared between chains."""
    standard = np.nan_to_num(units.standardise(rows[: scaling.CHUNK]))
    along = standard @ np.linalg.eigh(standard.T @ standard)[1][:, -1]
    return rows[np.argsort(along, kind="stable")[np.linspace(0, len(along) - 1, _POINTS).astype(int)]]


def _groups(draws: Draws, table: Table, units: Scaling, own: bool, varying: bool) -> dict[str, xr.Dataset]:
    """The groups that describe the draws; where the number of clusters varies, the mixtures have one of their own."""
    mixtures = canonical(units.out_of(draws.mixture))
    dims = {name: CLUSTER_DIMS[name] for name in mixtures}
    stats = {name: value for name, value in draws.stats.items() if name not in ("log_prior", "occupied")}
    variables = {} if varying else dict(mixtures)
    for name, value in draws.sites.items() if not own or "occupied" in draws.stats else ():
        if name not in variables:
            variables[name] = value
        elif value.shape != variables[name].shape or not np.allclose(value, variables[name]):
            variables[f"{name}_site"] = value
    if varying:
        variables["n_occupied"] = stats["n_occupied"]
    groups = {
        "posterior": dataset(variables, {} if varying else dims, table.features),
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
    if varying:
        groups["components"] = dataset(
            mixtures | {"occupied": draws.stats["occupied"]}, dims | {"occupied": ["cluster"]}, table.features
        )
    if "log_prior" in draws.stats:
        groups["log_prior"] = dataset({"log_prior": draws.stats["log_prior"]}, {}, table.features)
    return groups


def _constants(table: Table, units: Scaling, model: Model, steps: np.ndarray, weights) -> xr.Dataset:
    """What the fit took as given, in the units of the data."""
    scale = np.asarray(units.scale)
    values = {"centre": np.asarray(units.centre), "scale": scale, "recording_step": steps}
    if isinstance(model, Mixture) and isinstance(model.components, Gaussian):
        values["resolution"] = np.asarray(model.components.resolution(steps / scale)) * scale
    group = xr.Dataset({name: ("feature", value) for name, value in values.items()}, coords={"feature": list(table.features)})
    if isinstance(model, Mixture):
        group = group.merge(count_prior(model))
    return group if weights is None else group.assign(observation_weights=("observation", np.asarray(weights, float)))


def _about(model: Model, settings: Engine, seed, target: Slots | Target) -> dict:
    return {
        "model": repr(model) if isinstance(model, Mixture) else getattr(model, "__name__", repr(model)),
        "engine": type(settings).__name__,
        "settings": asdict(settings),
        "seed": int(seed) if not isinstance(seed, jax.Array) else repr(seed),
        "n_components": target.n_components,
        "versions": {name: version(name) for name in ("bgmm", "jax", "numpyro", "arviz")},
    }
