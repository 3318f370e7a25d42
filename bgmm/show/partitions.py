"""Pictures of the clustering and of its uncertainty: co-clustering, the credible ball, and memberships."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from bgmm.posterior.partition import credible_ball, given_or_found
from bgmm.posterior.together import co_clustering
from bgmm.show.colours import colours
from bgmm.tree import features_of, observed

_SHOWN_BLOCK = 600  # rows of the heat map
_SHOWN_ROWS = 5000
_MANY = 150  # ringed rows, from which the rings are small
_NAMED, _COUNTED = 0.03, 0.12  # share of the width from which a cluster has its number, and its count of rows below it


def plot_co_clustering(
    tree: xr.DataTree, around: xr.Dataset | None = None, *, seed: int | jax.Array = 0, axes: Axes | None = None
) -> Axes:
    """Heat map of the probabilities of being together, rows ordered by the partition and within its clusters by sureness.

    Lines part the clusters. Of more than 600 rows an even choice from that order is shown, as the title says.

    :param around: what ``partition`` returned; by default it is found first, with ``seed``.
    """
    around = given_or_found(around, tree, seed=seed)
    rows, c = _ordered(around, around["with_mates"].to_numpy(), _SHOWN_BLOCK)
    probability = co_clustering(tree, rows=rows)
    if axes is None:
        axes = plt.subplots(figsize=(6.2, 5.2), layout="constrained")[1]
    image = axes.imshow(probability, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", rasterized=True)
    for edge in np.flatnonzero(np.diff(c)) + 0.5:
        axes.axhline(edge, color="0.25", lw=0.8)
        axes.axvline(edge, color="0.25", lw=0.8)
    places, names = _middles(c, around)
    axes.set(xticks=places, yticks=places, yticklabels=names, xlabel="cluster", ylabel="cluster")
    axes.set_xticklabels([name.partition("\n")[0] for name in names])
    axes.tick_params(length=0)
    axes.set_title(_how_many(len(c), around), fontsize="medium")
    axes.figure.colorbar(image, ax=axes, label="probability of being together", shrink=0.85)
    return axes


def plot_membership(
    tree: xr.DataTree, around: xr.Dataset | None = None, *, seed: int | jax.Array = 0, axes: Axes | None = None
) -> Axes:
    """Memberships of all rows, stacked, that in the own cluster lowest; rows ordered by cluster, within it the surest first.

    Of more than 5000 rows an even choice from that order is shown, as the title says.

    :param around: what ``partition`` returned; by default it is found first, with ``seed``.
    """
    around = given_or_found(around, tree, seed=seed)
    r, n = around["membership"].to_numpy(), around.sizes["observation"]
    rows, c = _ordered(around, r[np.arange(n), around["assignments"].to_numpy()], _SHOWN_ROWS)
    r = r[rows]
    if axes is None:
        axes = plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
    # each row as a step of width one, its own cluster at the bottom
    edges = np.repeat(np.arange(len(rows) + 1), 2)[1:-1] - 0.5
    own = r[np.arange(len(rows)), c]
    shades = colours(r.shape[1])
    for k in np.unique(c):
        axes.fill_between(edges, np.repeat(np.where(c == k, own, 0.0), 2), color=shades[k], lw=0)
    below = own.copy()
    for k, shade in enumerate(shades):
        more = np.where(c == k, 0.0, r[:, k])
        axes.fill_between(edges, np.repeat(below, 2), np.repeat(below + more, 2), color=shade, lw=0)
        below += more
    for edge in np.flatnonzero(np.diff(c)) + 0.5:
        axes.axvline(edge, color="white", lw=1.2)
    places, names = _middles(c, around)
    axes.set(xlim=(-0.5, len(rows) - 0.5), ylim=(0, 1), xticks=places, xticklabels=names, xlabel="cluster", ylabel="membership")
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_how_many(len(c), around), fontsize="medium")
    return axes


def plot_credible_ball(
    tree: xr.DataTree,
    ball: xr.Dataset | None = None,
    *,
    features: Sequence[str] | None = None,
    probability: float = 0.95,
    seed: int | jax.Array = 0,
) -> np.ndarray:
    """The partition and the bounds of its credible ball, each over the data; rows that changed cluster are ringed.

    Bounds that are the same partition share a picture. Of more than 5000 rows an even choice is shown.

    :param ball: what ``credible_ball`` returned; by default it is found first, with ``probability`` and ``seed``.
    :param features: one or two to draw; by default the two that part the clusters best.
    :returns: an array of axes, the partition first.
    :raises ValueError: for an unknown feature, or more than two.
    """
    known, x = features_of(tree), observed(tree)
    if features is not None and not (1 <= len(features) <= 2 and set(features) <= set(known)):
        raise ValueError(f"features must be one or two of {', '.join(known)}, not {', '.join(map(str, features)) or 'none'}")
    if ball is None:
        ball = credible_ball(tree, probability=probability, seed=seed)
    elif not isinstance(ball, xr.Dataset) or "bound" not in ball:
        raise ValueError(f"ball must be what bgmm.credible_ball returned, not {type(ball).__name__}")
    centre, bounds = ball["centre"].to_numpy(), ball["assignments"].to_numpy()
    shown = list(features or [known[j] for j in _telling(x, centre)])
    shades = colours(int(max(bounds.max(), centre.max())) + 1)
    unit = " bits" if ball.attrs["unit"] == "bits" else ""

    pictures = [(f"the partition: {_clusters(int(centre.max()) + 1)}", centre)]
    _, first, which = np.unique(bounds, axis=0, return_index=True, return_inverse=True)
    for one in np.sort(first):
        names = ball["bound"].to_numpy()[which.reshape(-1) == which.reshape(-1)[one]]
        name = {1: f"{names[0]} bound", len(bounds): "all three bounds"}.get(len(names), f"{' and '.join(names)} bounds")
        what = f"{_clusters(int(ball['n_clusters'][one]))}, at {float(ball['distance'][one]):.3g}{unit}"
        pictures.append((f"{name}:\n{what}", bounds[one]))

    some = np.unique(np.linspace(0, len(x) - 1, _SHOWN_ROWS).astype(int))
    place = x[some][:, [known.index(name) for name in shown]]
    if len(shown) == 1:  # the rows below each other
        place = np.column_stack([place, some])
    down, across = -(-len(pictures) // 2), 2
    size = (8.6, 0.6 + 3.4 * down)
    figure, axes = plt.subplots(down, across, figsize=size, layout="constrained", sharex=True, sharey=True, squeeze=False)
    few, many = ({"s": s, "lw": lw, "edgecolors": "black", "zorder": 3} for s, lw in ((30, 0.8), (10, 0.3)))
    for axis, (title, c) in zip(axes.flat, pictures, strict=False):
        differs = (c != centre)[some]
        axis.scatter(*place[~differs].T, c=shades[c[some][~differs]], s=12, alpha=0.75, lw=0)
        axis.scatter(*place[differs].T, c=shades[c[some][differs]], **(few if differs.sum() < _MANY else many))
        axis.set_title(title, fontsize="medium")
        axis.set(xlabel=shown[0], ylabel=shown[1] if len(shown) == 2 else "row")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[len(pictures) :]:
        axis.set_axis_off()
    within = f"{ball.attrs['probability']:.0%} of the draws lie within {float(ball['radius']):.3g}{unit} of the partition"
    figure.suptitle(f"{within}; ringed rows are in another cluster there than in the partition", fontsize="medium")
    return axes.reshape(-1)[: len(pictures)]


def _telling(x: Float[np.ndarray, "n d"], c: Int[np.ndarray, " n"]) -> list[int]:
    """The two features with the least share of their variance within clusters, in their order; or the only one."""
    within = np.zeros(x.shape[1])
    for k in np.unique(c):
        own = x[c == k]
        seen = np.maximum((~np.isnan(own)).sum(0), 1)
        within += np.nansum(np.square(own - np.nansum(own, 0) / seen), 0)
    share = within / np.maximum(np.nansum(np.square(x - np.nanmean(x, 0)), 0), np.finfo(float).tiny)
    return sorted(np.argsort(share, kind="stable")[:2].tolist())


def _ordered(
    around: xr.Dataset, sureness: Float[np.ndarray, " n"], most: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """At most ``most`` rows in the order of their cluster and, in it, of their sureness; and their clusters."""
    c = around["assignments"].to_numpy()
    order = np.lexsort((-sureness, c))
    rows = order[np.unique(np.linspace(0, len(order) - 1, most).astype(int))]
    return rows, c[rows]


def _middles(c: Int[np.ndarray, " m"], around: xr.Dataset) -> tuple[list[float], list[str]]:
    """Where the clusters' labels stand, and what they say; clusters too narrow for one have none."""
    sizes = around["size"].to_numpy()
    share = np.bincount(c, minlength=len(sizes)) / len(c)
    wide = np.flatnonzero(share >= _NAMED)
    names = [f"{k}\n({sizes[k]} rows)" if share[k] >= _COUNTED else f"{k}" for k in wide]
    return [float(np.flatnonzero(c == k).mean()) for k in wide], names


def _clusters(n: int) -> str:
    return f"{n} cluster" if n == 1 else f"{n} clusters"


def _how_many(shown: int, around: xr.Dataset) -> str:
    n = around.sizes["observation"]
    rows = f"{n} rows" if shown == n else f"{shown} of {n} rows, evenly chosen"
    return f"{_clusters(around.sizes['cluster'])}, {rows}"
