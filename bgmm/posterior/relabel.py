"""Label switching and its cure (Stephens 2000, algorithm 2).

The likelihood does not know the components' names, so draws may exchange them, and means over draws of "component 1" then
average different things. Each draw s gets the permutation that makes its membership probabilities p_nk closest, in
Kullback-Leibler divergence, to their mean q_nk over the relabelled draws,

    min over permutations of  sum_nk p_nk log(p_nk / q_nk),

an assignment problem; q and the permutations are found in turn until they agree. It starts from the draw of highest
likelihood. The rows are the data's, at most a few hundred of them, and the means of that draw.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from bgmm.core.gaussian import Parameters
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import at_rows, responsibilities
from bgmm.tree import about, features_of, observed, parameters, posterior_of, with_about

_ROWS = 256
_ROUNDS = 50


@in_float64
def relabel(tree: xr.DataTree, *, order: str = "weights") -> xr.DataTree:
    """The tree with the clusters of every draw in agreement, so that summaries and R-hat of each cluster mean something.

    All draws are kept; a program's own sites stay as they were drawn. ``sample_stats`` gains ``permutation`` (the cluster of
    the given tree that now stands at each place), ``switched`` (whether a draw's permutation differs from the commonest of
    its chain) and ``agreement`` in 0..1: one less the mean total variation between the draw's memberships and those of all
    draws. Agreement that is low, or that differs between chains, says that the draws tell different stories and not only
    name them differently.

    :param order: place of the clusters: by mean "weights", largest first, or by the mean of a feature, smallest first.
    :raises ValueError: when ``order`` is neither "weights" nor a feature.
    """
    posterior = posterior_of(tree)
    if order != "weights" and order not in features_of(tree):
        raise ValueError(f"order must be 'weights' or one of the features {', '.join(features_of(tree))}, not {order!r}")
    mixture, scaling = parameters(tree)
    p = responsibilities(at_rows(mixture, scaling, _rows(tree, mixture, scaling)))
    permutations, agreement = _align(p, start=_best(tree, p))
    ordered = _ordered(mixture, permutations, by=None if order == "weights" else features_of(tree).index(order))
    permutations = permutations[:, ordered]

    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    permutations = permutations.reshape(*shape, -1)
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    stats = stats.assign(
        permutation=(("chain", "draw", "cluster"), permutations),
        switched=(("chain", "draw"), _switched(permutations)),
        agreement=(("chain", "draw"), agreement.reshape(shape)),
    )
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    groups |= {"posterior": _permuted(posterior, permutations), "sample_stats": stats}
    aligned = xr.DataTree.from_dict(groups, name=tree.name)
    aligned.attrs = tree.attrs
    return with_about(aligned, relabelled=order)


def relabelled(tree: xr.DataTree) -> xr.DataTree:
    """The tree itself when its clusters agree already, else relabelled."""
    return tree if "relabelled" in about(tree) else relabel(tree)


def _rows(tree: xr.DataTree, mixture: Parameters, scaling) -> Float[np.ndarray, "n d"]:
    """Rows at which memberships are compared: some of the data, and the means of a draw so that no cluster lacks one."""
    means = scaling.centre + scaling.scale * mixture.means[0]
    if "observed_data" not in tree.children:
        spread = mixture.means[:: max(1, len(mixture.means) // _ROWS)].reshape(-1, means.shape[1])
        return np.concatenate([scaling.centre + scaling.scale * spread, means])
    x = observed(tree)
    return np.concatenate([x[np.unique(np.linspace(0, len(x) - 1, _ROWS).astype(int))], means])


def _align(p: Float[np.ndarray, "s n k"], start: int) -> tuple[Int[np.ndarray, "s k"], Float[np.ndarray, " s"]]:
    """Permutation of each draw, and its agreement with all."""
    q = p[start]
    permutations = np.tile(np.arange(p.shape[2]), (len(p), 1))
    for _ in range(_ROUNDS):
        gain = np.einsum("snj,nk->skj", p, np.log(np.maximum(q, 1e-12)))
        new = np.stack([linear_sum_assignment(g, maximize=True)[1] for g in gain])
        done = np.array_equal(new, permutations)
        permutations = new
        aligned = np.take_along_axis(p, permutations[:, None, :], axis=2)
        q = aligned.mean(0)
        if done:
            break
    return permutations, np.minimum(aligned, q).sum(2).mean(1)


def _best(tree: xr.DataTree, p: Float[np.ndarray, "s n k"]) -> int:
    """The draw to begin with: that of highest log posterior when the tree knows it, else the most decided one."""
    if "sample_stats" in tree.children and "lp" in tree["sample_stats"]:
        return int(tree["sample_stats"]["lp"].to_numpy().argmax())
    return int(p.max(2).mean(1).argmax())


def _ordered(mixture: Parameters, permutations: Int[np.ndarray, "s k"], by: int | None) -> Int[np.ndarray, " k"]:
    """Places of the aligned clusters in the order asked for."""
    if by is None:
        place = -np.take_along_axis(np.exp(mixture.log_weights), permutations, 1).mean(0)
    else:
        place = np.take_along_axis(np.asarray(mixture.means)[:, :, by], permutations, 1).mean(0)
    return np.argsort(place, kind="stable")


def _switched(permutations: Int[np.ndarray, "c s k"]) -> np.ndarray:
    """Whether each draw's permutation differs from the commonest of its chain."""
    differs = np.zeros(permutations.shape[:2], bool)
    for chain, own in enumerate(permutations):
        _, which, counts = np.unique(own, axis=0, return_inverse=True, return_counts=True)
        differs[chain] = which.reshape(-1) != counts.argmax()
    return differs


def _permuted(posterior: xr.Dataset, permutations: Int[np.ndarray, "c s k"]) -> xr.Dataset:
    """Every variable with a cluster axis, its clusters put in place."""
    index = xr.DataArray(permutations, dims=("chain", "draw", "place"))
    chain = xr.DataArray(np.arange(permutations.shape[0]), dims="chain")
    draw = xr.DataArray(np.arange(permutations.shape[1]), dims="draw")
    changed = {
        name: variable.isel(chain=chain, draw=draw, cluster=index)
        .drop_vars("cluster", errors="ignore")
        .rename(place="cluster")
        .assign_coords(cluster=variable["cluster"])
        .transpose(*variable.dims)
        for name, variable in posterior.data_vars.items()
        if "cluster" in variable.dims
    }
    return posterior.assign(changed)
