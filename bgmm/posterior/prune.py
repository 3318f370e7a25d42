"""Remove clusters that are unlikely to hold a row, and bound the effect on the predictive distribution."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bgmm.core import kernel
from bgmm.core.checks import check_between
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import at_rows, each_draw
from bgmm.posterior.relabel import relabelled
from bgmm.tree.question import of_tree
from bgmm.tree.read import (
    has_mixtures,
    observation_weights,
    observed,
    occupied_of,
    parameters,
    posterior_of,
    with_about,
    with_groups,
)


@of_tree
@in_float64
def prune(tree: xr.DataTree, *, threshold: float = 0.5) -> xr.DataTree:
    """The tree without the clusters whose probability of holding a row is below ``threshold``, the weights renormalised.

    The draws are relabelled first where the tree is not relabelled yet. Let R_s be the total weight of the removed clusters in
    draw s. The pruned mixture of draw s is the whole mixture conditional on a row not coming from a removed cluster. The
    probability of any event under draw s therefore changes by at most R_s, and its posterior predictive probability by at most
    the mean of R_s:

        | integral over A of (p_whole - p_pruned) |  <=  (1/S) sum_s R_s    for every set A.

    ``sample_stats`` gains ``removed_mass``, which is R_s. The attribute ``bgmm`` lists under "pruned" each removed cluster with
    its probability of holding a row and its mean weight, and the summary reports them. The tables of K and K+ still describe
    the whole mixtures. In a draw where every kept cluster has weight zero, the weights are the means over the other draws, and
    R_s = 1. The group ``log_likelihood`` is dropped, because it belongs to the whole mixtures. ``partition``, ``credible_ball``
    and ``co_clustering`` of the pruned tree ignore the uncertainty about the removed clusters; use the whole tree for them.

    The probability that a cluster holds a row is the share of draws in which it does, where the tree records that. Otherwise
    it is the mean over the draws of 1 - prod_n (1 - p(z_n = k | x_n, draw s)).

    :param threshold: strictly between 0 and 1. The default 0.5 keeps the clusters that are more likely to hold a row than not,
        like the variables in the median probability model of Barbieri and Berger (2004).
    :raises ValueError: when no cluster would be left, and for a tree that holds assignments and no mixtures.
    """
    check_between("threshold", threshold, 0, 1)
    if not has_mixtures(tree):
        raise ValueError("this tree holds assignments alone; only mixtures have components that can be pruned")
    tree = relabelled(tree)
    posterior, stats = posterior_of(tree), tree["sample_stats"].to_dataset()
    probability = _occupied_probabilities(tree)
    kept, removed = np.flatnonzero(probability >= threshold), np.flatnonzero(probability < threshold)
    if not len(kept):
        raise ValueError(
            f"no cluster holds a row with a probability of {threshold:g}, the likeliest with {probability.max():.2f}; "
            "give a lower threshold"
        )
    w = posterior["weights"].isel(cluster=kept)
    kept_mass = w.sum("cluster")
    mean = w.where(kept_mass > 0).mean(["chain", "draw"])
    weights = (w / kept_mass).where(kept_mass > 0, mean / mean.sum()).transpose("chain", "draw", "cluster")
    posterior = posterior.isel(cluster=kept).assign(weights=weights)
    stats = stats.isel(cluster=kept).assign(removed_mass=np.maximum(1 - kept_mass, 0.0))
    groups = {
        name: group.assign_coords(cluster=np.arange(len(kept))) if "cluster" in group.coords else group
        for name, group in (("posterior", posterior), ("sample_stats", stats))
    }
    clusters = [
        {"cluster": int(k), "probability": float(probability[k]), "weight": float(posterior_of(tree)["weights"][..., k].mean())}
        for k in removed
    ]
    report = {"threshold": threshold, "removed_mass": float(stats["removed_mass"].mean()), "clusters": clusters}
    return with_about(with_groups(tree, groups | {"components": None, "log_likelihood": None}), pruned=report)


def _occupied_probabilities(tree: xr.DataTree) -> Float[np.ndarray, " k"]:
    """Posterior probability that each cluster of a relabelled tree holds a row."""
    if "components" in tree.children:
        return tree["sample_stats"]["present"].mean(["chain", "draw"]).to_numpy()
    occupied = occupied_of(tree)
    if occupied is not None:
        return occupied.mean((0, 1))
    rows = observed(tree)
    if (weights := observation_weights(tree)) is not None:
        rows = rows[weights > 0]
    mixture, scaling = parameters(tree)
    return each_draw(_occupied_probabilities_of_draw, at_rows(mixture, scaling, rows)).mean(0)


def _occupied_probabilities_of_draw(natural, rows) -> Float[Array, " k"]:
    """1 - prod_n (1 - r_nk), over the rows with positive observation weight."""
    r = kernel.responsibilities(natural, rows)
    counts = rows.weights.reshape(-1)[:, None] > 0
    return -jnp.expm1(jnp.where(counts, jnp.log1p(-jnp.minimum(r, 1.0)), 0.0).sum(0))
