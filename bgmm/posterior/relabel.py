"""Relabelling: the same cluster gets the same number in every draw of a tree.

The likelihood of a mixture does not depend on the order of its components, so their numbers may switch between draws, and the
posterior mean of "component 1" then averages different components. Draws may also differ in the number of occupied
components. ``memberships`` computes the membership probabilities of some hundred rows, ``align`` matches the components of
different draws by them, and this module reorders the variables of the tree.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool, Int

from bgmm.core.precision import in_float64
from bgmm.posterior.align import Alignment, align
from bgmm.posterior.assignments import small_labels
from bgmm.posterior.memberships import Memberships, memberships_of_assignments, memberships_of_mixtures
from bgmm.tree.question import of_tree
from bgmm.tree.read import about, features_of, has_mixtures, held_assignments, mixtures_of, with_about, with_groups


@of_tree
def relabel(tree: xr.DataTree, *, order: str = "weights") -> xr.DataTree:
    """The tree with consistent cluster numbers, so that posterior summaries and R-hat of each cluster are meaningful.

    All draws are kept. The sites of a user's own NumPyro program stay as they were sampled. The clusters are the components of
    a model with a given number of them, unless more than 5 % of the draws leave some component empty; then, and where the
    number of components varies, they are the occupied components. A cluster that a draw lacks has weight 0 and ``present``
    False in that draw; its other variables repeat those of the nearest draw of the chain that has the cluster (or of any chain,
    where the chain has no such draw), so that their summaries describe draws with the cluster. Densities are still computed
    from the whole mixtures, which are in the group ``components``.

    ``sample_stats`` gains four variables. For each cluster, ``present`` says whether the draw has it, and ``permutation`` is
    the index of its component in the input tree, -1 where absent. For each draw, ``switched`` says whether some cluster has
    another index than it has in most draws of the chain, and ``agreement`` in 0..1 is one minus the mean total variation
    between the memberships of the draw and those of all draws. An agreement that is low or differs between chains means that
    the draws describe different clusterings and not only different numberings of one clustering.

    :param tree: a tree with weights, means and covariances, or with assignments.
    :param order: numbering of the clusters: "weights" for decreasing mean weight (counted as 0 where absent), or the name of a
        feature for increasing mean in that feature.
    :raises ValueError: when ``order`` is neither "weights" nor a feature.
    """
    return _aligned(tree, order)


@in_float64
def _aligned(tree: xr.DataTree, order: str, max_rows: int | None = None) -> xr.DataTree:
    """The relabelled tree; ``max_rows`` of the data are compared, by default as many as are worth it."""
    mixed = has_mixtures(tree)
    known = features_of(tree) if mixed else ()
    if order != "weights" and order not in known:
        raise ValueError(f"order must be 'weights' or one of the features {', '.join(known)}, not {order!r}")
    memberships = memberships_of_mixtures(tree, max_rows) if mixed else memberships_of_assignments(tree)
    alignment = align(memberships.p, memberships.g, memberships.counts, memberships.score, varying=memberships.varying)
    component = _index_in_tree(alignment, memberships)
    present = component >= 0
    if order == "weights":
        sort_by = -np.where(present, np.take_along_axis(memberships.weights, component, 1), 0).mean(0)
    else:
        mu = mixtures_of(tree)["means"].sel(feature=order).transpose("chain", "draw", "cluster").to_numpy()
        mu = np.take_along_axis(mu.reshape(len(component), -1), component, 1)
        sort_by = np.where(present, mu, 0).sum(0) / present.sum(0)
    component = component[:, np.argsort(sort_by, kind="stable")].reshape(*memberships.shape, -1)

    groups = _reorder_mixtures(tree, component) if mixed else _rename_assignments(tree, component)
    groups["sample_stats"] = groups["sample_stats"].assign(
        present=(("chain", "draw", "cluster"), component >= 0),
        permutation=(("chain", "draw", "cluster"), component),
        switched=(("chain", "draw"), _switched(component)),
        agreement=(("chain", "draw"), alignment.agreement.reshape(memberships.shape).astype(float)),
    )
    return with_about(with_groups(tree, groups), relabelled=order)


def relabelled(tree: xr.DataTree, *, max_rows: int | None = None) -> xr.DataTree:
    """The tree itself if it has been relabelled, else ``relabel(tree)``, with the draws aligned on at most so many rows."""
    return tree if "relabelled" in about(tree) else _aligned(tree, "weights", max_rows)


def _index_in_tree(alignment: Alignment, memberships: Memberships) -> Int[np.ndarray, "s m"]:
    """For each draw and cluster the index of the matching component in the tree, -1 where absent."""
    index = np.take_along_axis(memberships.component, np.maximum(alignment.component, 0), axis=1)
    return np.where(alignment.component >= 0, index, -1)


def _switched(component: Int[np.ndarray, "c s m"]) -> Bool[np.ndarray, "c s"]:
    """Whether a present cluster of the draw has another component index than in most draws of the chain."""
    switched = np.zeros(component.shape[:2], bool)
    for chain, of_chain in enumerate(component):
        for index in of_chain.T:
            present = index >= 0
            switched[chain] |= present & (index != np.bincount(index[present], minlength=1).argmax())
    return switched


def _statistics(tree: xr.DataTree) -> xr.Dataset:
    """The sample statistics without those of an earlier relabelling."""
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    return stats.drop_vars(["present", "permutation", "switched", "agreement"], errors="ignore")


def _reorder_mixtures(tree: xr.DataTree, component: Int[np.ndarray, "c s m"]) -> dict[str, xr.Dataset]:
    """Posterior and statistics in the order of the clusters.

    Where some draw lacks a cluster, the whole mixtures go to the group ``components``, which keeps its own order. Statistics
    with a cluster axis describe components, so they go where the whole mixtures are.
    """
    whole, posterior, stats = mixtures_of(tree), tree["posterior"].to_dataset(), _statistics(tree)
    component_stats = _with_cluster_axis(stats)
    reordered = _take_clusters(_with_cluster_axis(whole).drop_vars("occupied", errors="ignore"), component)
    present = xr.DataArray(component >= 0, dims=("chain", "draw", "cluster"))
    reordered["weights"] = reordered["weights"].where(present.assign_coords(reordered["weights"].coords), 0.0)
    if "components" not in tree.children and component.shape[2] == whole.sizes["cluster"] and (component >= 0).all():
        reordered_stats = _take_clusters(component_stats, component)
        return {"posterior": posterior.assign(reordered.data_vars), "sample_stats": stats.assign(reordered_stats.data_vars)}
    shared = whole.drop_dims("cluster")  # parameters that all components share
    posterior = posterior.drop_dims("cluster", errors="ignore").assign(shared.data_vars)
    return {
        "posterior": posterior.assign(reordered.data_vars),
        "components": whole.assign(component_stats.data_vars),
        "sample_stats": stats.drop_vars(list(component_stats)),
    }


def _with_cluster_axis(group: xr.Dataset) -> xr.Dataset:
    return group[[name for name, variable in group.items() if "cluster" in variable.dims]]


def _take_clusters(group: xr.Dataset, component: Int[np.ndarray, "c s m"]) -> xr.Dataset:
    """Every variable in the order of the clusters; an absent cluster repeats the nearest draw that has it."""
    chain, draw = (xr.DataArray(a, dims=("chain", "draw", "target")) for a in _nearest_present(component >= 0))
    index = xr.DataArray(component[chain.to_numpy(), draw.to_numpy(), np.arange(component.shape[2])], dims=chain.dims)
    labels = group["cluster"].to_numpy() if component.shape[2] == group.sizes.get("cluster") else np.arange(component.shape[2])
    reordered = {}
    for name, variable in group.data_vars.items():
        bare = variable.drop_vars(["cluster", "chain", "draw"], errors="ignore")
        taken = bare.isel(chain=chain, draw=draw, cluster=index).rename(target="cluster").transpose(*variable.dims)
        coords = {dim: variable[dim] for dim in ("chain", "draw") if dim in variable.coords}
        reordered[name] = taken.assign_coords(coords | ({"cluster": labels} if "cluster" in variable.coords else {}))
    return xr.Dataset(reordered)


def _nearest_present(present: Bool[np.ndarray, "c s m"]) -> tuple[Int[np.ndarray, "c s m"], Int[np.ndarray, "c s m"]]:
    """For each chain, draw and cluster the chain and draw to read it from.

    They are the same chain and draw where the cluster is present, else the nearest draw of the chain that has the cluster, else
    the nearest such draw of another chain.
    """
    c, s = present.shape[:2]
    chain = np.broadcast_to(np.arange(c)[:, None, None], present.shape).copy()
    draw = np.broadcast_to(np.arange(s)[:, None], present.shape).copy()
    for i, k in np.argwhere(~present.all(1)):
        source = i if present[i, :, k].any() else int(present[:, :, k].any(1).argmax())
        draws = np.flatnonzero(present[source, :, k])
        after = np.searchsorted(draws, np.arange(s)).clip(0, len(draws) - 1)
        before = np.maximum(after - 1, 0)
        nearer = np.abs(draws[before] - np.arange(s)) <= np.abs(draws[after] - np.arange(s))
        chain[i, :, k], draw[i, :, k] = source, np.where(nearer, draws[before], draws[after])
    return chain, draw


def _rename_assignments(tree: xr.DataTree, component: Int[np.ndarray, "c s m"]) -> dict[str, xr.Dataset]:
    """The groups that hold assignments, these renamed to the numbers of the clusters."""
    assignments = held_assignments(tree)
    assert assignments is not None
    z = small_labels(assignments.to_numpy())
    name = np.zeros((*z.shape[:2], z.max() + 2), np.int64)  # of each label; the last entry receives the absent clusters
    label = np.where(component >= 0, component, z.max() + 1)
    np.put_along_axis(name, label, np.broadcast_to(np.arange(component.shape[2]), label.shape), axis=2)
    renamed = assignments.copy(data=np.take_along_axis(name, z, axis=2))
    groups = {"sample_stats": _statistics(tree)} | {n: g.to_dataset() for n, g in tree.children.items() if n == "posterior"}
    return {n: g.assign(assignments=renamed) if "assignments" in g else g for n, g in groups.items()}
