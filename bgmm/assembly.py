"""The tree of a fit, from the draws of its engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bgmm.core import scaling
from bgmm.core.components import Mixture
from bgmm.core.rows import Rows
from bgmm.core.scaling import Scaling
from bgmm.engines.base import Draws, Engine
from bgmm.inputs import Data
from bgmm.posterior.criteria import LEAST_LOO_DRAWS, criteria
from bgmm.posterior.evaluate import Evaluation, at_rows, log_likelihoods, log_volume, occupied
from bgmm.prior import declared_prior
from bgmm.program.family import About, DeclaredMixture, Resolved
from bgmm.program.target import Target
from bgmm.tree.build import dataset, draws_groups, observed_group, with_labels

type Model = DeclaredMixture | Callable[..., None]

_POINTS = 5  # at which log densities are kept for the diagnostics
_LARGE = 2e7  # numbers in a log_likelihood group (160 MB) from which it is made only when asked for


@dataclass(frozen=True)
class Question:
    """What was asked: everything that a tree depends on beside the draws."""

    model: Model
    seed: int | jax.Array
    data: Data
    rows: Rows
    position: np.ndarray | None  # of each row among the places of ``rows``
    target: Target
    key: Array

    def tree(self, draws: Draws) -> xr.DataTree:
        """The tree without what ``about`` says, and without the log likelihood of each row."""
        data, target = self.data, self.target
        inputs, shape = self._evaluation(draws)
        stats, dims = dict(draws.stats), dict(draws.dims)
        if "occupied" not in stats:
            stats["occupied"] = occupied(inputs, key=self.key).reshape(*shape, -1)
            stats["n_occupied"] = stats["occupied"].sum(-1)
            dims["occupied"] = ["chain", "draw", "cluster"]
        if draws.kind == "mode":
            stats["n_parameters"] = np.full(shape, target.n_parameters)
            of_mode = criteria(inputs, target.n_parameters, data.units)
            stats |= {name: value.reshape(shape) for name, value in of_mode.items()}
        else:
            points = at_rows(inputs.mixture, data.units, _fixed_points(data))
            stats["log_density"] = log_likelihoods(points).reshape(*shape, -1)
            dims["log_density"] = ["chain", "draw", "point"]
        mixture = jax.tree.map(np.asarray, data.units.out_of(draws.mixture))
        groups = draws_groups(mixture, draws.sites, stats, dims, draws.log_prior, data.features, random_k=bool(target.discrete))
        if data.in_memory is not None:
            groups["observed_data"] = observed_group(data.features, data.in_memory, data.labels)
        groups["constant_data"] = _constants(data, target.model)
        return xr.DataTree.from_dict(groups)

    def log_likelihood(self, draws: Draws) -> xr.Dataset:
        """The log likelihood of every row and draw: a group of the tree."""
        inputs, shape = self._evaluation(draws)
        assert self.data.in_memory is not None
        inputs = inputs._replace(log_volume=log_volume(self.data.in_memory, self.data.units))
        each_row = dataset({"x": log_likelihoods(inputs).reshape(*shape, -1)}, {"x": ["observation"]}, self.data.features)
        return with_labels(each_row, self.data.labels)

    def has_log_likelihood(self, asked: bool | None, draws: Draws) -> bool:
        """Whether the tree is to hold the log likelihood of every row."""
        n_draws = int(np.prod(np.shape(draws.mixture.log_weights)[:2]))
        if asked:
            if not draws.interrupted:  # then the draws would be lost
                check_draws_for_loo(n_draws)
            return n_draws >= LEAST_LOO_DRAWS
        small = self.data.in_memory is not None and n_draws <= _LARGE / len(self.data.in_memory)
        return asked is None and small and n_draws >= LEAST_LOO_DRAWS

    def _evaluation(self, draws: Draws) -> tuple[Evaluation, tuple[int, int]]:
        """The mixtures with one axis of draws at the rows, without volumes, and the numbers of chains and draws."""
        flat, shape = _flat(draws.mixture)
        return Evaluation(flat, self.rows, self.position, np.zeros(0), flat.components.needs_centres(self.rows.dtype)), shape

    def about(self, settings: Engine, draws: Draws) -> dict:
        """How the tree was made."""
        model, data, seed = self.model, self.data, self.seed
        streamed = data.in_memory is None
        rows = {"rows": str(data.values.path), "n_rows": data.values.n_rows} if streamed else {}  # type: ignore[union-attr]
        told = ({"stopped": draws.stopped} if draws.stopped else {}) | ({"interrupted": True} if draws.interrupted else {})
        return (
            rows
            | told
            | {
                "model": repr(model) if isinstance(model, DeclaredMixture) else _named(model),
                "model_in_short": _in_short(model) if isinstance(model, DeclaredMixture) else _named(model),
                "components": type(draws.mixture.components).__name__,
                "engine": type(settings).__name__,
                "settings": {name: _named(value) for name, value in asdict(settings).items()},  # type: ignore[call-overload]
                "draws": draws.kind,
                "seed": int(seed) if not isinstance(seed, jax.Array) else repr(seed),
                "n_components": self.target.n_components,
                "versions": {name: _version(name) for name in ("bgmm", "jax", "numpyro", "arviz")},
            }
        )


def _version(package: str) -> str:
    """The version of a package; a folder on Python's path has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _in_short(value: object) -> str:
    """The repr of a model without the settings that are at their defaults; the priors that it is made of are named."""
    if isinstance(value, type) or not is_dataclass(value):
        return repr(value)
    values = [(field, getattr(value, field.name)) for field in fields(value) if field.repr]
    # reprs are compared, because a family of the user's own may hold an array
    said = [(field.name, one) for field, one in values if is_dataclass(one) or repr(one) != repr(field.default)]
    listed = [f"{name}={_in_short(one)}" for name, one in said]
    return f"{type(value).__name__}({', '.join(listed)})"


def check_draws_for_loo(n_draws: float) -> None:
    """Require as many draws as leave-one-out cross-validation needs, where the log likelihood of each row is asked for."""
    if n_draws < LEAST_LOO_DRAWS:
        raise ValueError(
            "log_likelihood=True is for leave-one-out cross-validation (az.loo), "
            f"which needs at least {LEAST_LOO_DRAWS} draws, and this fit gives {n_draws}; "
            "leave it out, compare fits by aic, bic or icl (bgmm.compare), or take "
            "bgmm.log_density(tree, x), the log density of each row"
        )


def _flat(mixture: Mixture) -> tuple[Mixture, tuple[int, int]]:
    """The mixtures with one axis of draws, and the numbers of chains and draws."""
    chains, draws = np.shape(mixture.log_weights)[:2]
    return jax.tree.map(lambda a: np.asarray(a).reshape(chains * draws, *a.shape[2:]), mixture), (chains, draws)


def _fixed_points(data: Data) -> Float[np.ndarray, "p d"]:
    """A few rows, spread along the direction in which the data vary most: where densities are compared between chains."""
    some = data.counted[: scaling.CHUNK]
    standard = np.nan_to_num(data.units.standardise(some))
    along = standard @ np.linalg.eigh(standard.T @ standard)[1][:, -1]
    return some[np.argsort(along, kind="stable")[np.linspace(0, len(along) - 1, _POINTS).astype(int)]]


def _constants(data: Data, model: DeclaredMixture | None) -> xr.Dataset:
    """What the fit took as given, in the units of the data."""
    units = Scaling(*(np.asarray(a) for a in data.units))
    values = {"centre": units.centre, "scale": units.scale, "recording_step": data.steps}
    if model is not None and isinstance(model.components, Resolved):
        values["resolution"] = np.asarray(model.components.resolution(About(data.steps / units.scale))) * units.scale
    group = xr.Dataset({name: ("feature", value) for name, value in values.items()}, coords={"feature": list(data.features)})
    if model is not None:
        group = group.merge(declared_prior(model, data.n_counted))
    if data.weights is None or data.in_memory is None:
        return group
    return with_labels(group.assign(observation_weights=("observation", data.weights)), data.labels)


def _named(value: object) -> object:
    """A class or a function by its name, which JSON can hold."""
    return getattr(value, "__name__", repr(value)) if callable(value) else value
