"""Plots of a partition and its uncertainty: co-clustering probabilities, memberships, and the credible ball."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from scipy.cluster.hierarchy import leaves_list, linkage

from bgmm.posterior.co_clustering import co_clustering
from bgmm.posterior.partition import check_or_find_partition, credible_ball
from bgmm.show.colours import colours, markers
from bgmm.show.names import literal
from bgmm.show.separation import separating
from bgmm.tree.question import of_tree
from bgmm.tree.read import check_features, features_of, observed

_HEAT_MAP_ROWS = 600  # largest number of rows of the heat map
_PLOTTED_ROWS = 5000  # largest number of rows of the other plots
_MANY_RINGS = 150  # number of ringed rows from which the rings are small
_NUMBER_SHARE, _SIZE_SHARE = 0.03, 0.12  # shares of the width from which a cluster shows its number, and its number of rows


@of_tree
def plot_co_clustering(
    tree: xr.DataTree, around: xr.Dataset | None = None, *, seed: int | jax.Array = 0, axes: Axes | None = None
) -> Axes:
    """Heat map of the probabilities that two rows belong to the same cluster.

    Rows are ordered by their cluster in the partition. Within a cluster, rows with similar probabilities are neighbours: the
    leaves of average linkage in their optimal order (Bar-Joseph, Gifford and Jaakkola 2001). Lines separate the clusters. At
    most 600 rows are shown, evenly spaced by ``with_mates``; the title gives their number.

    :param around: a result of ``partition``; by default ``partition(tree, seed=seed)``.
    :param seed: an integer or a JAX key.
    :param axes: axes to draw on; by default those of a new figure.
    :returns: the axes.
    """
    around = check_or_find_partition(around, tree, seed=seed)
    rows, c = _ordered(around, around["with_mates"].to_numpy(), _HEAT_MAP_ROWS)
    probability = co_clustering(tree, rows=rows).to_numpy()
    order = _seriated(probability, c)
    probability = probability[np.ix_(order, order)]
    if axes is None:
        axes = plt.subplots(figsize=(6.2, 5.2), layout="constrained")[1]
    image = axes.imshow(probability, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", rasterized=True)
    for edge in np.flatnonzero(np.diff(c)) + 0.5:
        axes.axhline(edge, color="0.25", lw=0.8)
        axes.axvline(edge, color="0.25", lw=0.8)
    ticks, names = _cluster_ticks(c, around)
    axes.set(xticks=ticks, yticks=ticks, yticklabels=names, xlabel="rows, by cluster", ylabel="rows, by cluster")
    axes.set_xticklabels([name.partition("\n")[0] for name in names])
    axes.tick_params(length=0)
    axes.set_title(_title(len(c), around), fontsize="medium")
    axes.figure.colorbar(image, ax=axes, label="probability that two rows are in one cluster", shrink=0.85)
    return axes


@of_tree
def plot_membership(
    tree: xr.DataTree, around: xr.Dataset | None = None, *, seed: int | jax.Array = 0, axes: Axes | None = None
) -> Axes:
    """Membership probabilities of the rows as stacked bars, the row's cluster in the partition at the bottom.

    Rows are ordered by their cluster in the partition, and within a cluster by their membership in it, most certain first. At
    most 5000 rows are shown, evenly spaced in that order; the title gives their number.

    :param around: a result of ``partition``; by default ``partition(tree, seed=seed)``.
    :param seed: an integer or a JAX key.
    :param axes: axes to draw on; by default those of a new figure.
    :returns: the axes.
    """
    around = check_or_find_partition(around, tree, seed=seed)
    r, n = around["membership"].to_numpy(), around.sizes["observation"]
    rows, c = _ordered(around, r[np.arange(n), around["assignments"].to_numpy()], _PLOTTED_ROWS)
    r = r[rows]
    if axes is None:
        axes = plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
    # each row is a step of width one
    edges = np.repeat(np.arange(len(rows) + 1), 2)[1:-1] - 0.5
    in_partition = r[np.arange(len(rows)), c]
    shades = colours(r.shape[1])
    for k in np.unique(c):
        axes.fill_between(edges, np.repeat(np.where(c == k, in_partition, 0.0), 2), color=shades[k], lw=0)
    below = in_partition.copy()
    for k, shade in enumerate(shades):
        height = np.where(c == k, 0.0, r[:, k])
        axes.fill_between(edges, np.repeat(below, 2), np.repeat(below + height, 2), color=shade, lw=0)
        below += height
    for edge in np.flatnonzero(np.diff(c)) + 0.5:
        axes.axvline(edge, color="white", lw=1.2)
    ticks, names = _cluster_ticks(c, around)
    axes.set(xlim=(-0.5, len(rows) - 0.5), ylim=(0, 1), xticks=ticks, xticklabels=names)
    axes.set(xlabel="rows, by cluster", ylabel="probability of each cluster")
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(len(c), around), fontsize="medium")
    return axes


@of_tree
def plot_credible_ball(
    tree: xr.DataTree,
    ball: xr.Dataset | None = None,
    *,
    features: Sequence[str] | None = None,
    probability: float = 0.95,
    seed: int | jax.Array = 0,
) -> np.ndarray:
    """Scatter plots of the partition and of the bounds of its credible ball, coloured by cluster.

    Rows that a bound puts into another cluster than the partition does are ringed. Bounds that are the same partition share one
    plot. At most 5000 rows are shown, evenly spaced.

    :param ball: a result of ``credible_ball``; by default ``credible_ball(tree, probability=probability, seed=seed)``.
    :param features: names of one or two features to plot; by default the two that separate the clusters best.
    :param probability: posterior probability of the ball, where ``ball`` is None.
    :param seed: an integer or a JAX key, where ``ball`` is None.
    :returns: an array of axes, that of the partition first.
    :raises ValueError: for an unknown feature, or more than two.
    """
    known, x = features_of(tree), observed(tree)
    if features is not None:
        check_features(features, known)
        if not 1 <= len(features) <= 2:
            raise ValueError(f"features must be one or two of {', '.join(known)}, not {', '.join(features) or 'none'}")
    if ball is None:
        ball = credible_ball(tree, probability=probability, seed=seed)
    elif not isinstance(ball, xr.Dataset) or "bound" not in ball:
        raise ValueError(f"ball must be what bgmm.credible_ball returned, not {type(ball).__name__}")
    centre, bounds = ball["centre"].to_numpy(), ball["assignments"].to_numpy()
    shown = list(features or [known[j] for j in separating(x, np.eye(int(centre.max()) + 1)[centre], 2)])
    shades = colours(int(max(bounds.max(), centre.max())) + 1)
    unit = " bits" if ball.attrs["unit"] == "bits" else ""
    about = {"horizontal": "farthest", "vertical upper": "fewest clusters", "vertical lower": "most clusters"}

    panels = [(f"the partition: {_clusters(int(centre.max()) + 1)}", centre)]
    _, first, inverse = np.unique(bounds, axis=0, return_index=True, return_inverse=True)
    for b in np.sort(first):
        names = ball["bound"].to_numpy()[inverse.reshape(-1) == inverse.reshape(-1)[b]]
        name = {1: f"{names[0]} bound", len(bounds): "all three bounds"}.get(len(names), f"{' and '.join(names)} bounds")
        size = f"{_clusters(int(ball['n_clusters'][b]))}, at distance {float(ball['distance'][b]):.3g}{unit}"
        meaning = "" if len(names) == len(bounds) else f"\n({', '.join(about[name] for name in names)})"
        panels.append((f"{name}{meaning}:\n{size}", bounds[b]))

    some = np.unique(np.linspace(0, len(x) - 1, _PLOTTED_ROWS).astype(int))
    points = x[some][:, [known.index(name) for name in shown]]
    if len(shown) == 1:  # the vertical axis is the index of the row
        points = np.column_stack([points, some])
    n_rows, n_columns = -(-len(panels) // 2), 2
    figsize = (8.6, 0.6 + 3.4 * n_rows)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=figsize, layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    area, alpha = markers(len(points))
    large, small = ({"s": s, "lw": lw, "edgecolors": "black", "zorder": 3} for s, lw in ((30, 0.8), (10, 0.3)))
    for axis, (title, c) in zip(axes.flat, panels, strict=False):
        differs = (c != centre)[some]
        axis.scatter(*points[~differs].T, c=shades[c[some][~differs]], s=area, alpha=alpha, lw=0, rasterized=True)
        axis.scatter(*points[differs].T, c=shades[c[some][differs]], **(large if differs.sum() < _MANY_RINGS else small))
        axis.set_title(title, fontsize="medium")
        axis.set(xlabel=literal(shown[0]), ylabel=literal(shown[1]) if len(shown) == 2 else "row")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    meaning = " (variation of information: 0 for equal partitions)" if unit else ""
    radius = f"{float(ball['radius']):.3g}{unit}{meaning}"
    within = f"{ball.attrs['probability']:.0%} of the draws lie within {radius} of the partition"
    figure.suptitle(f"{within};\nringed rows are in another cluster than in the partition", fontsize="medium")
    return axes.reshape(-1)[: len(panels)]


def _seriated(probability: Float[np.ndarray, "m m"], c: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """Indices with the rows of each cluster in the order in which neighbours have the most similar probabilities."""
    order = []
    for k in np.unique(c):
        rows = np.flatnonzero(c == k)
        if len(rows) > 2:
            rows = rows[leaves_list(linkage(probability[rows], "average", optimal_ordering=True))]
        order.append(rows)
    return np.concatenate(order)


def _ordered(
    around: xr.Dataset, certainty: Float[np.ndarray, " n"], max_rows: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Indices of at most ``max_rows`` rows, ordered by cluster and then by decreasing certainty; and their clusters."""
    c = around["assignments"].to_numpy()
    order = np.lexsort((-certainty, c))
    rows = order[np.unique(np.linspace(0, len(order) - 1, max_rows).astype(int))]
    return rows, c[rows]


def _cluster_ticks(c: Int[np.ndarray, " m"], around: xr.Dataset) -> tuple[list[float], list[str]]:
    """Positions and labels of the ticks, one in the middle of each cluster that is wide enough for a label."""
    sizes = around["size"].to_numpy()
    share = np.bincount(c, minlength=len(sizes)) / len(c)
    wide = np.flatnonzero(share >= _NUMBER_SHARE)
    names = [f"{k}\n({sizes[k]} rows)" if share[k] >= _SIZE_SHARE else f"{k}" for k in wide]
    return [float(np.flatnonzero(c == k).mean()) for k in wide], names


def _clusters(n: int) -> str:
    return f"{n} cluster" if n == 1 else f"{n} clusters"


def _title(shown: int, around: xr.Dataset) -> str:
    """The number of clusters, and the number of rows that are shown."""
    n = around.sizes["observation"]
    rows = f"{n} rows" if shown == n else f"{shown} of {n} rows, evenly spaced"
    return f"{_clusters(around.sizes['cluster'])}, {rows}"
