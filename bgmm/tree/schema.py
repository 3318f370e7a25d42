"""What a tree holds: one schema for every engine, family, prior and number of rows.

Group        holds
===========  =========================================================================================================
posterior    the mixture of each draw, in the user's units; the sites of a user's program, and those that the components of a
             declared mixture share (hyperparameters, the concentration, the number of components)
components   where the number of components is a random variable of the model: the mixtures, which then are not in the
             posterior; in a relabelled tree also where draws lack clusters: the mixtures as they were drawn
sample_stats what the engine reports, always ``lp``, ``n_occupied`` and ``occupied``; of a mode ``n_parameters``, ``aic``,
             ``bic`` and ``icl``
log_prior    ``log_prior``, the log prior density of all sites, unless the engine ignores the priors; where the number of
             components is random, of that number, the concentration and what components share alone, since only
             priors of a fixed size can be scaled by a power (``az.psense``). The number and the concentration depend on
             their own priors in all data, which ``az.psense_summary`` calls a conflict; ask it about ``n_occupied``
observed_data  one variable for each feature, of the name that ``variable_of`` gives, unless the rows are streamed
constant_data  what the fit took as given: the scaling, the recording step, the prior of the number of components, and that of
             ``shape_spread`` where the model learns how alike the shapes of its components are
log_likelihood ``x``, of each row, on request or where it is small; never of fewer draws than LOO needs
===========  =========================================================================================================

Variables of a mixture and their dims, after chain and draw (a parameter that all components share lacks ``cluster``):

    weights (cluster), means (cluster, feature), scales (cluster, feature), and where features may be correlated
    covariances (cluster, feature, feature_bis), correlations (cluster, pair).

Components of another family show the variables that they declare (``Components.variables``). Where the number of components
varies, the axis ``cluster`` is as long as the largest number in any draw, and a component that a draw lacks has weight zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import xarray as xr

DIMS: Mapping[str, tuple[str, ...]] = {
    "weights": ("cluster",),
    "means": ("cluster", "feature"),
    "scales": ("cluster", "feature"),
    "covariances": ("cluster", "feature", "feature_bis"),
    "correlations": ("cluster", "pair"),
}
SITE_DIMS: Mapping[str, tuple[str, ...]] = {"shared_scales": ("feature",)}  # of sites that are no variables of the mixture
GROUPS = (
    *("posterior", "components", "sample_stats", "log_prior", "observed_data", "constant_data", "log_likelihood"),
    *("posterior_predictive", "prior", "prior_predictive"),
)
RESERVED = ("chain", "draw", "cluster", "feature", "feature_bis", "observation")  # dimensions of these groups
STATISTICS: Mapping[str, tuple[str, ...]] = {"lp": (), "n_occupied": (), "occupied": ("cluster",)}
CONSTANTS = ("centre", "scale", "recording_step")
_NO_VARIABLE = re.compile(r"\.{0,2}|%|.*(/|%[0-9A-F]{2}).*", re.DOTALL)  # names that a tree or a file would take for others


def variable_of(feature: str) -> str:
    """The variable that holds a feature's rows: its name, unless a tree or a file cannot have a variable of that name.

    Such a name ("km/h", "..", "observation") is written in percent encoding, and the empty one as "%". The coordinate
    ``feature`` holds all names as they are.
    """
    if feature in RESERVED:
        return f"%{ord(feature[0]):02X}{feature[1:]}"
    if not _NO_VARIABLE.fullmatch(feature):
        return feature
    if feature in (".", ".."):
        return "%2E" * len(feature)
    return feature.replace("%", "%25").replace("/", "%2F") or "%"


def violations(tree: xr.DataTree) -> list[str]:
    """What in a tree that ``fit`` returned is not as this schema says: one sentence each."""
    found = [f"group '{name}' is not in the schema" for name in tree.children if name not in GROUPS]
    for name in ("posterior", "sample_stats", "constant_data"):
        if name not in tree.children:
            return [*found, f"there is no group '{name}'"]
    mixtures = tree["components" if "components" in tree.children else "posterior"].to_dataset()
    for name, dims in DIMS.items():
        if name not in mixtures:
            continue
        shared = tuple(dim for dim in dims if dim != "cluster")
        allowed = [("chain", "draw", *dims)] + [("chain", "draw", *shared)] * (name not in ("weights", "means"))
        if mixtures[name].dims not in allowed:
            found.append(f"'{name}' has dims {', '.join(map(str, mixtures[name].dims))}")
    if "weights" not in mixtures:
        found.append("there is no variable 'weights'")
    elif not np.allclose(mixtures["weights"].sum("cluster"), 1):
        found.append("weights do not sum to one")
    if ("components" in tree.children) and "cluster" in tree["posterior"].dims and "permutation" not in tree["sample_stats"]:
        found.append("mixtures are in 'components' and clusters in the posterior, and the tree is not relabelled")
    for name, dims in STATISTICS.items():
        statistic = tree["sample_stats"].get(name)
        if name == "occupied" and statistic is None:
            statistic = mixtures.get(name)
        if statistic is None or statistic.dims != ("chain", "draw", *dims):
            found.append(f"'{name}' is not in sample_stats with dims chain, draw{''.join(f', {d}' for d in dims)}")
    found += [f"'{name}' is not in constant_data" for name in CONSTANTS if name not in tree["constant_data"]]
    return found
