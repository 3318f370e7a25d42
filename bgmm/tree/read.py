"""Reading trees: mixtures, scaling, data, and how the tree was made. Draws of other programs can be read too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr

from bgmm.core.components import Components, Mixture
from bgmm.core.gaussians import Gaussians
from bgmm.core.scaling import Scaling
from bgmm.tree.schema import variable_of

_NO_WEIGHT = -1e30  # logarithm of a weight of zero: finite, and less than any density makes up for


def parameters(tree: xr.DataTree, group: xr.Dataset | None = None) -> tuple[Mixture, Scaling]:
    """The mixtures of all draws (one leading axis), standardised, and the scaling that standardised them.

    Works on any tree that holds ``weights``, ``means`` and ``covariances`` (or ``scales``) with the dims of ``tree.schema``,
    and on trees of other families whose components are registered.

    :param group: that holds the mixtures; by default the whole ones, see ``mixtures_of``.
    """
    scaling = _scaling(tree)
    mixture = scaling.into(_mixture(tree, mixtures_of(tree) if group is None else group))
    return jax.tree.map(np.asarray, mixture), scaling


def _mixture(tree: xr.DataTree, group: xr.Dataset) -> Mixture:
    """The mixtures in the units of the data."""
    name = about(tree).get("components", Gaussians.__name__)
    if name not in Components.registered:
        raise ValueError(f"this tree holds components of the family {name}; import the module that defines it first")
    n = group.sizes["chain"] * group.sizes["draw"]
    values = {
        str(name): variable.transpose("chain", "draw", ...).to_numpy().reshape(n, *(variable.sizes[d] for d in dims))
        for name, variable in group.items()
        if {"chain", "draw"} <= set(variable.dims)
        for dims in [[d for d in variable.dims if d not in ("chain", "draw")]]
    }
    with np.errstate(divide="ignore"):
        log_w = np.maximum(np.log(values["weights"].astype(np.float64)), _NO_WEIGHT)
    return Mixture(log_w, Components.registered[name].from_variables(values))


def posterior_of(tree: xr.DataTree) -> xr.Dataset:
    """The posterior group with its clusters, or one sentence when the tree has none."""
    if "posterior" not in tree.children:
        raise ValueError("this tree has no posterior group; give the tree that bgmm.fit returned")
    return _checked(tree, tree["posterior"].to_dataset(), "posterior")


def mixtures_of(tree: xr.DataTree) -> xr.Dataset:
    """The group with the whole mixture of every draw: ``components`` where their number varies, else the posterior."""
    if "components" in tree.children:
        return _checked(tree, tree["components"].to_dataset(), "group 'components'")
    return posterior_of(tree)


def _checked(tree: xr.DataTree, group: xr.Dataset, name: str) -> xr.Dataset:
    gaussian = (
        about(tree).get("components", Gaussians.__name__) == Gaussians.__name__
    )  # other families name what they are made of
    if "weights" not in group or set(group["weights"].dims) != {"chain", "draw", "cluster"}:
        raise ValueError(f"the {name} needs the variable 'weights' with dims chain, draw, cluster")
    if gaussian and set(getattr(group.get("means"), "dims", ())) != {"chain", "draw", "cluster", "feature"}:
        raise ValueError(f"the {name} needs the variable 'means' with dims chain, draw, cluster, feature")
    if gaussian and "scales" not in group and "covariances" not in group:
        dims = "chain, draw, cluster, feature, feature_bis"
        raise ValueError(f"the {name} needs the variable 'covariances' with dims {dims}, or 'scales'")
    return group


def covariances_of(posterior: xr.Dataset) -> xr.DataArray:
    """Covariance matrices of a group of Gaussians, from the scales where its components have no correlations."""
    if "covariances" in posterior:
        return posterior["covariances"]
    if "scales" not in posterior:
        raise ValueError(
            "these components have neither 'covariances' nor 'scales'; only those of Gaussians can be drawn as ellipses"
        )
    scales = posterior["scales"]
    eye = xr.DataArray(np.eye(scales.sizes["feature"]), dims=("feature", "feature_bis"), coords={"feature": scales["feature"]})
    return scales**2 * eye


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


def _scaling(tree: xr.DataTree) -> Scaling:
    """The scaling that the tree remembers, or that of its mean mixture when another program made it."""
    if "constant_data" in tree.children and "scale" in tree["constant_data"]:
        return Scaling(tree["constant_data"]["centre"].to_numpy(), tree["constant_data"]["scale"].to_numpy())
    w, g = np.exp((mixture := _mixture(tree, mixtures_of(tree))).log_weights), mixture.components
    if not isinstance(g, Gaussians):
        raise ValueError(
            "this tree has no constant_data with centre and scale of the features; give the tree that bgmm.fit returned"
        )
    centre = np.einsum("sk,skd->d", w, g.means) / w.sum()
    variances = np.square(g.means - centre) + np.asarray(g.factor.variances(g.n_features))
    return Scaling(centre, np.sqrt(np.einsum("sk,skd->d", w, variances) / w.sum()))


def features_of(tree: xr.DataTree) -> tuple[str, ...]:
    """Names of the features."""
    for group in ("constant_data", "components", "posterior"):
        if group in tree.children and "feature" in tree[group].coords:
            return tuple(str(name) for name in tree[group]["feature"].to_numpy())
    means = mixtures_of(tree)["means"]
    return tuple(str(name) for name in means["feature"].to_numpy())


def check_features(features: object, known: tuple[str, ...]) -> None:
    """Require a list of names of features that the tree has."""
    if isinstance(features, str) or not np.iterable(features):
        raise ValueError(f"features must be a list of names, such as [{known[0]!r}], not {features!r}")
    for name in features:
        if name not in known:
            raise ValueError(f"no feature {name!r}; the tree has {', '.join(known)}")


def observed(tree: xr.DataTree) -> np.ndarray:
    """The rows (n, d) that the tree was fitted to, in the user's units."""
    if "observed_data" not in tree.children:
        if "n_rows" in about(tree):
            raise ValueError(
                "this tree was fitted to a stream and holds no rows; give some of them as x to a function that takes x "
                "(membership, log_density, uncertainty, ...), or fit a sample of the rows in memory"
            )
        raise ValueError("this tree holds no observed data; give the rows as x, to from_draws or to a function that takes x")
    group = tree["observed_data"]
    return np.stack([group[variable_of(name)].to_numpy() for name in features_of(tree)], axis=1)


def observation_weights(tree: xr.DataTree) -> np.ndarray | None:
    """The weights of the rows that the tree was fitted to, where it holds any."""
    if "constant_data" not in tree.children or "observation_weights" not in tree["constant_data"]:
        return None
    return tree["constant_data"]["observation_weights"].to_numpy()


def n_draws(tree: xr.DataTree) -> int:
    """Draws of the mixture in all chains; one for a mode."""
    sizes = mixtures_of(tree).sizes
    return sizes["chain"] * sizes["draw"]


def check_fits(trees: object, least: int, sentence: str) -> None:
    """Require at least so many trees by name, else raise an error with the sentence."""
    named = isinstance(trees, Mapping) and not isinstance(trees, xr.DataTree)  # a tree maps names to its groups
    if not named or not all(isinstance(tree, xr.DataTree) for tree in trees.values()) or len(trees) < least:  # type: ignore[attr-defined, arg-type]
        raise ValueError(sentence)


def check_same_features(trees: Mapping[str, xr.DataTree], reference: str) -> None:
    """Require that all fits have the features of the one with this name."""
    features = features_of(trees[reference])
    for name, tree in trees.items():
        if features_of(tree) != features:
            raise ValueError(
                f"fit '{name}' has the features {', '.join(features_of(tree))}, and '{reference}' has {', '.join(features)}"
            )


def observed_labels(tree: xr.DataTree) -> np.ndarray | None:
    """The labels of the rows that the tree was fitted to, where it holds any."""
    rows = tree["observed_data"] if "observed_data" in tree.children else held_assignments(tree)
    return None if rows is None or "observation" not in rows.coords else rows["observation"].to_numpy()


def about(tree: xr.DataTree) -> dict[str, Any]:
    """How the tree was made: model, engine, settings, seed, versions; empty for trees made elsewhere."""
    made = json.loads(tree.attrs.get("bgmm", "{}"))
    if not isinstance(made, dict) or not isinstance(made.get("components", ""), str):
        raise ValueError("the attribute 'bgmm' of the tree is not as bgmm writes it")
    return made


def is_independent(tree: xr.DataTree) -> bool:
    """Whether its draws are independent of each other, and not those of chains."""
    return about(tree).get("draws") == "independent"


def with_about(tree: xr.DataTree, **changes: Any) -> xr.DataTree:
    """A copy of the tree with entries of ``about`` changed."""
    changed = tree.copy()
    changed.attrs = dict(tree.attrs) | {"bgmm": json.dumps(about(tree) | changes)}
    return changed
