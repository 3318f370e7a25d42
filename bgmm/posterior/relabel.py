"""Label switching and its cure.

The likelihood does not know the components' names, so draws may exchange them, and means over draws of "component 1" then
average different things; a draw may also have more or fewer occupied components than another. ``align`` says which components
of different draws are the same cluster, by their membership probabilities at some hundred rows; here these probabilities are
computed, and the tree's variables put in place.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool, Int

from bgmm.core.precision import in_float64
from bgmm.posterior.align import Alignment, align
from bgmm.posterior.assignments import small_labels
from bgmm.posterior.compared import Compared, of_assignments, of_mixtures
from bgmm.tree import about, features_of, has_mixtures, held_assignments, mixtures_of, with_about, with_groups


@in_float64
def relabel(tree: xr.DataTree, *, order: str = "weights") -> xr.DataTree:
    """The tree with the clusters of every draw in agreement, so that summaries and R-hat of each cluster mean something.

    All draws are kept; a program's own sites stay as they were drawn. Where the number of components varies, clusters are the
    occupied components, and one that a draw lacks has weight 0 there and ``present`` False; its other variables are held at
    those of the nearest draw of that chain (else of any) that has it, so that summaries of them are of draws with the cluster.
    Density questions still go to the whole mixtures, in the group ``components``.

    ``sample_stats`` gains, for each cluster, ``present`` and ``permutation`` (the component of the given tree that it is, -1
    where absent); ``switched`` (whether a cluster of the draw has another number in the given tree than it mostly has in that
    chain); and ``agreement`` in 0..1: one less the mean total variation between the draw's memberships and those of all
    draws. Agreement that is low, or that differs between chains, says that the draws tell different stories and not only
    name them differently.

    :param tree: any with weights, means and covariances, or with assignments alone.
    :param order: place of the clusters: by mean "weights" (0 where absent), largest first, or by the mean of a feature,
        smallest first.
    :raises ValueError: when ``order`` is neither "weights" nor a feature.
    """
    mixed = has_mixtures(tree)
    known = features_of(tree) if mixed else ()
    if order != "weights" and order not in known:
        raise ValueError(f"order must be 'weights' or one of the features {', '.join(known)}, not {order!r}")
    compared = of_mixtures(tree) if mixed else of_assignments(tree)
    found = align(compared.p, compared.g, compared.counts, compared.score, varying=compared.varying)
    component = _component(found, compared)
    present = component >= 0
    if order == "weights":
        place = -np.where(present, np.take_along_axis(compared.weights, component, 1), 0).mean(0)
    else:
        mu = mixtures_of(tree)["means"].sel(feature=order).transpose("chain", "draw", "cluster").to_numpy()
        mu = np.take_along_axis(mu.reshape(len(component), -1), component, 1)
        place = np.where(present, mu, 0).sum(0) / present.sum(0)
    component = component[:, np.argsort(place, kind="stable")].reshape(*compared.shape, -1)

    groups = _aligned(tree, component) if mixed else _renamed(tree, component)
    groups["sample_stats"] = groups["sample_stats"].assign(
        present=(("chain", "draw", "cluster"), component >= 0),
        permutation=(("chain", "draw", "cluster"), component),
        switched=(("chain", "draw"), _switched(component)),
        agreement=(("chain", "draw"), found.agreement.reshape(compared.shape).astype(float)),
    )
    return with_about(with_groups(tree, groups), relabelled=order)


def relabelled(tree: xr.DataTree) -> xr.DataTree:
    """The tree itself when its clusters agree already, else relabelled."""
    return tree if "relabelled" in about(tree) else relabel(tree)


def _component(found: Alignment, compared: Compared) -> Int[np.ndarray, "s m"]:
    """The component of the tree that is each cluster, -1 where it is absent."""
    own = np.take_along_axis(compared.component, np.maximum(found.component, 0), axis=1)
    return np.where(found.component >= 0, own, -1)


def _switched(component: Int[np.ndarray, "c s m"]) -> Bool[np.ndarray, "c s"]:
    """Whether a present cluster of the draw is another component than it mostly is in that chain."""
    switched = np.zeros(component.shape[:2], bool)
    for chain, own in enumerate(component):
        for numbers in own.T:
            here = numbers >= 0
            switched[chain] |= here & (numbers != np.bincount(numbers[here], minlength=1).argmax())
    return switched


def _statistics(tree: xr.DataTree) -> xr.Dataset:
    """The statistics without those of an earlier alignment."""
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    return stats.drop_vars(["present", "permutation", "switched", "agreement"], errors="ignore")


def _aligned(tree: xr.DataTree, component: Int[np.ndarray, "c s m"]) -> dict[str, xr.Dataset]:
    """Posterior and statistics with the aligned clusters; statistics of the components stay with these."""
    whole, posterior, stats = mixtures_of(tree), tree["posterior"].to_dataset(), _statistics(tree)
    of_each = _with_clusters(stats)
    aligned = _gathered(_with_clusters(whole).drop_vars("occupied", errors="ignore"), component)
    present = xr.DataArray(component >= 0, dims=("chain", "draw", "cluster"))
    aligned["weights"] = aligned["weights"].where(present.assign_coords(aligned["weights"].coords), 0.0)
    if "components" not in tree.children:
        gathered = _gathered(of_each, component)
        return {"posterior": posterior.assign(aligned.data_vars), "sample_stats": stats.assign(gathered.data_vars)}
    posterior = posterior.drop_dims("cluster", errors="ignore")
    return {
        "posterior": posterior.assign(aligned.data_vars),
        "components": whole.assign(of_each.data_vars),
        "sample_stats": stats.drop_vars(list(of_each)),
    }


def _with_clusters(group: xr.Dataset) -> xr.Dataset:
    return group[[name for name, variable in group.items() if "cluster" in variable.dims]]


def _gathered(group: xr.Dataset, component: Int[np.ndarray, "c s m"]) -> xr.Dataset:
    """Every variable with its clusters put in place, an absent one held at the nearest draw that has it."""
    chain, draw = (xr.DataArray(a, dims=("chain", "draw", "place")) for a in _nearest(component >= 0))
    index = xr.DataArray(component[chain.to_numpy(), draw.to_numpy(), np.arange(component.shape[2])], dims=chain.dims)
    labels = group["cluster"].to_numpy() if component.shape[2] == group.sizes.get("cluster") else np.arange(component.shape[2])
    changed = {}
    for name, variable in group.data_vars.items():
        bare = variable.drop_vars(["cluster", "chain", "draw"], errors="ignore")
        placed = bare.isel(chain=chain, draw=draw, cluster=index).rename(place="cluster").transpose(*variable.dims)
        own = {dim: variable[dim] for dim in ("chain", "draw") if dim in variable.coords}
        changed[name] = placed.assign_coords(own | ({"cluster": labels} if "cluster" in variable.coords else {}))
    return xr.Dataset(changed)


def _nearest(present: Bool[np.ndarray, "c s m"]) -> tuple[Int[np.ndarray, "c s m"], Int[np.ndarray, "c s m"]]:
    """Chain and draw at which each cluster is read: its own where present, else the nearest of that chain, else of any."""
    c, s = present.shape[:2]
    chain = np.broadcast_to(np.arange(c)[:, None, None], present.shape).copy()
    draw = np.broadcast_to(np.arange(s)[:, None], present.shape).copy()
    for i, k in np.argwhere(~present.all(1)):
        source = i if present[i, :, k].any() else int(present[:, :, k].any(1).argmax())
        here = np.flatnonzero(present[source, :, k])
        after = np.searchsorted(here, np.arange(s)).clip(0, len(here) - 1)
        before = np.maximum(after - 1, 0)
        nearer = np.abs(here[before] - np.arange(s)) <= np.abs(here[after] - np.arange(s))
        chain[i, :, k], draw[i, :, k] = source, np.where(nearer, here[before], here[after])
    return chain, draw


def _renamed(tree: xr.DataTree, component: Int[np.ndarray, "c s m"]) -> dict[str, xr.Dataset]:
    """The groups with the assignments, these renamed to the clusters."""
    given = held_assignments(tree)
    assert given is not None
    z = small_labels(given.to_numpy())
    name = np.zeros((*z.shape[:2], z.max() + 2), np.int64)  # one place more than there are labels, for what is absent
    at = np.where(component >= 0, component, z.max() + 1)
    np.put_along_axis(name, at, np.broadcast_to(np.arange(component.shape[2]), at.shape), axis=2)
    renamed = given.copy(data=np.take_along_axis(name, z, axis=2))
    groups = {"sample_stats": _statistics(tree)} | {n: g.to_dataset() for n, g in tree.children.items() if n == "posterior"}
    return {n: g.assign(assignments=renamed) if "assignments" in g else g for n, g in groups.items()}
