"""Draws to an ArviZ ``DataTree`` and back; save and load.

The posterior of a tree is in the user's units: ``weights`` (cluster), ``means`` and ``scales`` (cluster, feature),
``covariances`` (cluster, feature, feature_bis) and ``correlations`` (cluster, pair), each with leading chain and draw.
``constant_data`` holds the scaling and the resolution, ``observed_data`` one variable a feature, and the attribute ``bgmm`` a
JSON text that says how the tree was made.

Where the number of clusters varies between draws, because that of components does or because the prior expects some of them to
be empty, the group ``components`` holds the mixtures instead, with a cluster axis as long as the largest number in any draw and
weight zero for what a draw lacks. The posterior then holds variables without a cluster axis, and, once the draws have been
aligned by ``relabel``, those of the clusters: the components that hold rows.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import dict_to_dataset

from bgmm.core.gaussian import Parameters
from bgmm.core.scaling import Scaling

CLUSTER_DIMS = {
    "weights": ["cluster"],
    "means": ["cluster", "feature"],
    "scales": ["cluster", "feature"],
    "covariances": ["cluster", "feature", "feature_bis"],
    "correlations": ["cluster", "pair"],
}
_NO_WEIGHT = -1e30  # logarithm of a weight of zero: finite, and less than any density makes up for
_MIXTURE = ("weights", "means", "covariances")  # what makes a posterior that of a mixture


def canonical(mixture: Parameters) -> dict[str, np.ndarray]:
    """The variables of the posterior, from a mixture whose leading axes are chain and draw."""
    L = np.asarray(mixture.scale_tril)
    covariances = L @ np.swapaxes(L, -1, -2)
    scales = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    log_w = np.asarray(mixture.log_weights)
    variables = {
        "weights": np.exp(log_w),
        "means": np.asarray(mixture.means),
        "scales": scales,
        "covariances": covariances,
    }
    i, j = np.triu_indices(scales.shape[-1], 1)
    if i.size:  # each pair once: ArviZ's plots and diagnostics stumble over a diagonal of constants
        variables["correlations"] = covariances[..., i, j] / (scales[..., i] * scales[..., j])
    return variables


def dataset(
    variables: dict[str, np.ndarray], dims: Mapping[Any, list[str]], features: tuple[str, ...], **options
) -> xr.Dataset:
    """A group of a tree, with the names of the features as coordinates where they occur."""
    used = {name for names in dims.values() for name in names}
    pairs = [f"{one}:{other}" for one, other in combinations(features, 2)]
    names = {"feature": list(features), "feature_bis": list(features), "pair": pairs}
    coords: dict[Any, Any] = {name: values for name, values in names.items() if name in used}
    return dict_to_dataset(variables, dims={**dims}, coords=coords, **options)


def parameters(tree: xr.DataTree, group: xr.Dataset | None = None) -> tuple[Parameters, Scaling]:
    """The mixtures of all draws (one leading axis), standardised, and the scaling that standardised them.

    Works on any tree that holds ``weights``, ``means`` and ``covariances`` with the dims above.

    :param group: that holds the mixtures; by default the whole ones, see ``mixtures_of``.
    """
    scaling = _scaling(tree)
    w, mu, sigma = (a.reshape(-1, *a.shape[2:]) for a in _arrays(mixtures_of(tree) if group is None else group))
    scale = np.asarray(scaling.scale)
    with np.errstate(divide="ignore"):
        log_w = np.maximum(np.log(w), _NO_WEIGHT)
    return Parameters(log_w, scaling.standardise(mu), np.linalg.cholesky(sigma / (scale[:, None] * scale))), scaling


def posterior_of(tree: xr.DataTree) -> xr.Dataset:
    """The posterior group with its clusters, or one sentence when the tree has none."""
    if "posterior" not in tree.children:
        raise ValueError("this tree has no posterior group; give the tree that bgmm.fit returned")
    return _checked(tree["posterior"].to_dataset(), "posterior")


def mixtures_of(tree: xr.DataTree) -> xr.Dataset:
    """The group with the whole mixture of every draw: ``components`` where their number varies, else the posterior."""
    if "components" in tree.children:
        return _checked(tree["components"].to_dataset(), "group 'components'")
    return posterior_of(tree)


def _checked(group: xr.Dataset, name: str) -> xr.Dataset:
    for variable in _MIXTURE:
        dims = CLUSTER_DIMS[variable]
        if variable not in group or set(group[variable].dims) != {"chain", "draw", *dims}:
            raise ValueError(f"the {name} needs the variable '{variable}' with dims chain, draw, {', '.join(dims)}")
    return group


def occupied_of(tree: xr.DataTree) -> np.ndarray | None:
    """Which components of the whole mixtures hold a row (chain, draw, cluster), where the tree says so."""
    for group in ("components", "sample_stats"):
        if group in tree.children and "occupied" in tree[group]:
            return tree[group]["occupied"].transpose("chain", "draw", "cluster").to_numpy().astype(bool)
    return None


def presence_of(tree: xr.DataTree) -> np.ndarray:
    """Share of the draws that have each cluster of an aligned tree."""
    if "sample_stats" in tree.children and "present" in tree["sample_stats"]:
        return tree["sample_stats"]["present"].mean(["chain", "draw"]).to_numpy()
    return np.ones(posterior_of(tree).sizes["cluster"])


def held_assignments(tree: xr.DataTree) -> xr.DataArray | None:
    """The assignments (chain, draw, observation) that a sampler left in the tree, if it did."""
    for group in ("posterior", "sample_stats"):
        if group in tree.children and "assignments" in tree[group]:
            found = tree[group]["assignments"]
            if set(found.dims) != {"chain", "draw", "observation"}:
                raise ValueError(
                    f"'assignments' needs the dims chain, draw, observation, not {', '.join(map(str, found.dims))}"
                )
            return found.transpose("chain", "draw", "observation")
    return None


def has_mixtures(tree: xr.DataTree) -> bool:
    """Whether the tree holds mixtures, or assignments alone."""
    means = "posterior" in tree.children and "means" in tree["posterior"]
    return means or "components" in tree.children or held_assignments(tree) is None


def with_groups(tree: xr.DataTree, groups: Mapping[str, xr.Dataset | None]) -> xr.DataTree:
    """A copy of the tree with these groups in the place of its own; None takes one away."""
    every = {name: node.to_dataset() for name, node in tree.children.items()} | dict(groups)
    changed = xr.DataTree.from_dict({name: group for name, group in every.items() if group is not None}, name=tree.name)
    changed.attrs = dict(tree.attrs)
    return changed


def _arrays(posterior: xr.Dataset) -> list[np.ndarray]:
    """Weights (c, s, k), means (c, s, k, d) and covariances (c, s, k, d, d)."""
    return [posterior[n].transpose("chain", "draw", *CLUSTER_DIMS[n]).to_numpy().astype(np.float64) for n in _MIXTURE]


def _scaling(tree: xr.DataTree) -> Scaling:
    """The scaling that the tree remembers, or that of its mean mixture when another program made it."""
    if "constant_data" in tree.children and "scale" in tree["constant_data"]:
        return Scaling(tree["constant_data"]["centre"].to_numpy(), tree["constant_data"]["scale"].to_numpy())
    w, mu, sigma = _arrays(mixtures_of(tree))
    centre = np.einsum("csk,cskd->d", w, mu) / w.sum()
    variances = np.square(mu - centre) + np.diagonal(sigma, axis1=-2, axis2=-1)
    return Scaling(centre, np.sqrt(np.einsum("csk,cskd->d", w, variances) / w.sum()))


def features_of(tree: xr.DataTree) -> tuple[str, ...]:
    """Names of the features."""
    means = mixtures_of(tree)["means"]
    return tuple(str(name) for name in means["feature"].to_numpy())


def observed(tree: xr.DataTree) -> np.ndarray:
    """The rows (n, d) that the tree was fitted to, in the user's units."""
    if "observed_data" not in tree.children:
        raise ValueError("this tree holds no observed data; give the rows as x, to from_draws or to a question that takes them")
    group = tree["observed_data"]
    return np.stack([group[name].to_numpy() for name in features_of(tree)], axis=1)


def about(tree: xr.DataTree) -> dict[str, Any]:
    """How the tree was made: model, engine, settings, seed, versions; empty for trees made elsewhere."""
    return json.loads(tree.attrs.get("bgmm", "{}"))


def with_about(tree: xr.DataTree, **changes: Any) -> xr.DataTree:
    """A copy of the tree with entries of ``about`` changed."""
    changed = tree.copy()
    changed.attrs = dict(tree.attrs) | {"bgmm": json.dumps(about(tree) | changes)}
    return changed


def save(tree: xr.DataTree, path: str | Path) -> None:
    """Write the tree to a netCDF file, whole or not at all.

    :raises ValueError: when the folder is missing or cannot be written.
    """
    with replacing(path) as unfinished:
        tree.to_netcdf(unfinished, engine="h5netcdf")


class replacing:  # noqa: N801 (read as a verb)
    """A path to write to that takes the place of ``path`` once the block has ended without an error."""

    def __init__(self, path: str | Path):
        self.path = Path(path).resolve()  # a link stays, what it points to is replaced

    def __enter__(self) -> Path:
        if self.path.exists() and not self.path.is_file():
            raise ValueError(f"'{self.path}' is a {'folder' if self.path.is_dir() else 'device'}; give the name of a file")
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".bgmm-", suffix=self.path.suffix)
        except OSError as error:
            raise ValueError(f"cannot write '{self.path}': {error.strerror or error}; choose another folder") from None
        os.close(handle)
        self.unfinished = Path(name)
        return self.unfinished

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None:
            mask = os.umask(0)
            os.umask(mask)
            self.unfinished.chmod(0o666 & ~mask)
            self.unfinished.replace(self.path)
        else:
            self.unfinished.unlink(missing_ok=True)


def load(path: str | Path) -> xr.DataTree:
    """Read a tree that ``save`` wrote, into memory; the file is closed again.

    :raises ValueError: when there is no such file, or it is not a tree of a mixture.
    """
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise ValueError(f"'{path}' {what}; give a file that bgmm.save or 'bgmm fit' wrote")
    try:
        with xr.open_datatree(path, engine="h5netcdf", phony_dims="sort") as lazy:
            tree = xr.DataTree.from_dict({name: node.to_dataset().load() for name, node in lazy.children.items()})
            tree.attrs = lazy.attrs
    except (OSError, ValueError) as error:
        raise ValueError(f"'{path}' is not a netCDF file that bgmm wrote ({type(error).__name__})") from None
    try:
        _ = has_mixtures(tree) and mixtures_of(tree)
    except ValueError as error:
        raise ValueError(f"'{path}' holds no mixture: {error}") from None
    return tree
