"""Pruning: the mixture without the clusters that hardly ever hold a row, and what that costs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bgmm.core import one_pass
from bgmm.core.checks import check_between
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import at_rows, each_draw
from bgmm.posterior.relabel import relabelled
from bgmm.tree import has_mixtures, observed, occupied_of, parameters, posterior_of, with_about, with_groups


@in_float64
def prune(tree: xr.DataTree, *, threshold: float = 0.5) -> xr.DataTree:
    """The tree without the clusters that are less likely than ``threshold`` to hold a row, the weights renormalised.

    Draws are aligned first when they are not yet. With R_s the mass that is taken from draw s, the pruned mixture of that
    draw is the whole one given that a row is not in what was removed, so that the probabilities of any event differ by at most
    R_s, and those of the predictive distributions by at most its mean over the draws:

        | integral over A of (p_whole - p_pruned) |  <=  (1/S) sum_s R_s    for every set A.

    ``sample_stats`` gains ``removed_mass``, R_s; the attribute ``bgmm`` lists under "pruned" each cluster that was removed,
    with its probability of holding a row and its mean weight, and the summary says it. What is said of K and K+ stays that of
    the whole tree. A draw that lacks every cluster that stays has the mean weights of the others, and R_s = 1. The group
    ``log_likelihood`` is left out: it is of the whole mixtures. Clusterings of the pruned tree (``partition``,
    ``credible_ball``, ``co_clustering``) are of the pruned mixtures, without what was doubtful about the clusters that went:
    ask the whole tree.

    The probability that a cluster holds a row is the share of draws in which it does, where the sampler drew assignments;
    else it is exact given each draw, one less the product over the rows of (1 - p(z_n = k | x_n, draw s)).

    :param threshold: between 0 and 1. The default 0.5 keeps what is there rather than not (as the median probability model of
        Barbieri and Berger 2004 does with regressors).
    :raises ValueError: when no cluster would be left, and for a tree of assignments alone.
    """
    check_between("threshold", threshold, 0, 1)
    if not has_mixtures(tree):
        raise ValueError("this tree holds assignments alone; only mixtures have components that can be pruned")
    tree = relabelled(tree)
    posterior, stats = posterior_of(tree), tree["sample_stats"].to_dataset()
    probability = _probabilities(tree)
    kept, removed = np.flatnonzero(probability >= threshold), np.flatnonzero(probability < threshold)
    if not len(kept):
        raise ValueError(
            f"no cluster holds a row with a probability of {threshold:g}, the likeliest with {probability.max():.2f}; "
            "give a lower threshold"
        )
    w = posterior["weights"].isel(cluster=kept)
    left = w.sum("cluster")
    mean = w.where(left > 0).mean(["chain", "draw"])
    weights = (w / left).where(left > 0, mean / mean.sum()).transpose("chain", "draw", "cluster")
    posterior = posterior.isel(cluster=kept).assign(weights=weights)
    stats = stats.isel(cluster=kept).assign(removed_mass=np.maximum(1 - left, 0.0))
    groups = {
        name: group.assign_coords(cluster=np.arange(len(kept))) if "cluster" in group.coords else group
        for name, group in (("posterior", posterior), ("sample_stats", stats))
    }
    each = [
        {"cluster": int(k), "probability": float(probability[k]), "weight": float(posterior_of(tree)["weights"][..., k].mean())}
        for k in removed
    ]
    report = {"threshold": threshold, "removed_mass": float(stats["removed_mass"].mean()), "clusters": each}
    return with_about(with_groups(tree, groups | {"components": None, "log_likelihood": None}), pruned=report)


def _probabilities(tree: xr.DataTree) -> Float[np.ndarray, " k"]:
    """Probability of each aligned cluster that it holds a row."""
    if "components" in tree.children:
        return tree["sample_stats"]["present"].mean(["chain", "draw"]).to_numpy()
    drawn = occupied_of(tree)
    if drawn is not None:
        return drawn.mean((0, 1))
    rows = observed(tree)
    if "constant_data" in tree.children and "observation_weights" in tree["constant_data"]:
        rows = rows[tree["constant_data"]["observation_weights"].to_numpy() > 0]
    mixture, scaling = parameters(tree)
    return each_draw(_holds_a_row, at_rows(mixture, scaling, rows)).mean(0)


def _holds_a_row(eta, blocks, centres) -> Float[Array, " k"]:
    """1 - prod_n (1 - r_nk)."""
    r = one_pass.responsibilities(eta, blocks, centres)
    counts = blocks.weights.reshape(-1)[:, None] > 0
    return -jnp.expm1(jnp.where(counts, jnp.log1p(-jnp.minimum(r, 1.0)), 0.0).sum(0))
