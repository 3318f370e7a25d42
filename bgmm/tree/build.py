"""Building trees: draws and what the fit took as given, in the groups of ``tree.schema``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import dict_to_dataset

from bgmm.core.components import Mixture
from bgmm.tree.schema import SITE_DIMS, variable_of


def variables_of(mixture: Mixture) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Variables of mixtures whose leading axes are chain and draw, in their own units, and the dims after these axes."""
    found = {"weights": (("cluster",), np.exp(np.asarray(mixture.log_weights)))} | mixture.components.variables()
    return {name: value for name, (_, value) in found.items()}, {name: list(dims) for name, (dims, _) in found.items()}


def dataset(
    variables: dict[str, np.ndarray], dims: Mapping[Any, list[str]], features: tuple[str, ...], **options
) -> xr.Dataset:
    """A group of a tree, with the names of the features as coordinates where they occur."""
    used = {name for names in dims.values() for name in names}
    pairs = [f"{one}:{other}" for one, other in combinations(features, 2)]
    names = {"feature": list(features), "feature_bis": list(features), "pair": pairs}
    coords: dict[Any, Any] = {name: values for name, values in names.items() if name in used}
    return dict_to_dataset(variables, dims={**dims}, coords=coords, **options)


def draws_groups(
    mixture: Mixture,
    sites: dict[str, np.ndarray],
    stats: dict[str, np.ndarray],
    dims: dict[str, list[str]],
    log_prior: np.ndarray | None,
    features: tuple[str, ...],
    *,
    random_k: bool,
) -> dict[str, xr.Dataset]:
    """The groups that describe draws: mixtures in the user's units, sites, statistics with their dims, and the log prior.

    A site that has the name of a variable of the mixture and other values is called name_site.
    """
    mixtures, mixture_dims = variables_of(mixture)
    others: dict[str, np.ndarray] = {}
    for name, value in sites.items():
        if name not in mixtures:
            others[name] = value
        elif value.shape != mixtures[name].shape or not np.allclose(value, mixtures[name]):
            others[f"{name}_site"] = value
    d = len(features)
    site_dims = {name: list(of) for name, of in SITE_DIMS.items() if name in others and others[name].shape[2:] == (d,)}
    plain = {name: value for name, value in stats.items() if name not in dims}
    with_dims = xr.Dataset({name: (dims[name], value) for name, value in stats.items() if name in dims})
    groups = {"sample_stats": xr.merge([dataset(plain, {}, features), with_dims])}
    if random_k:
        groups["posterior"] = dataset(others | {"n_occupied": stats["n_occupied"]}, site_dims, features)
        groups["components"] = dataset(mixtures, mixture_dims, features)
    else:
        groups["posterior"] = dataset(mixtures | others, mixture_dims | site_dims, features)
    if log_prior is not None:
        groups["log_prior"] = dataset({"log_prior": log_prior}, {}, features)
    return groups


def observed_group(features: tuple[str, ...], x: np.ndarray, labels: np.ndarray | None = None) -> xr.Dataset:
    """The rows (n, d), not copied: one variable for each feature, and their labels where they have any."""
    columns = {variable_of(name): ("observation", column) for name, column in zip(features, x.T, strict=True)}
    return with_labels(xr.Dataset(columns), labels)


def with_own_rows(tree: xr.DataTree) -> xr.DataTree:
    """The tree with copies of its rows, which no longer change when the user's array does."""
    if "observed_data" in tree.children:
        tree["observed_data"] = xr.DataTree(tree["observed_data"].to_dataset().copy(deep=True))
    return tree


def with_labels(group: xr.Dataset, labels: np.ndarray | None) -> xr.Dataset:
    """The group with these labels of the rows as the coordinate of ``observation``."""
    return group if labels is None else group.assign_coords(observation=labels)
