"""Rows and the ellipses of their clusters in two features, and the legend that names what is seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.path import Path
from scipy.stats import chi2

from bgmm.show.colours import colours, markers
from bgmm.tree.read import covariances_of

MARGIN = 0.06  # of the axes around the rows, as a share of their range
_CERTAIN = 0.95  # rows without a membership this large are ringed
_USUAL = 0.5  # clusters in a smaller share of the draws have no mean ellipse
_RARE = 0.05  # clusters in a smaller share of the draws have no ellipses at all


class Seen(NamedTuple):
    """The clusters with an ellipse that passes through the axes."""

    thick: frozenset[int]  # of the mean
    thin: frozenset[int]  # of single draws


class Clusters:
    """Weights, means and covariances in the shown features: for some draws, and averaged over all draws."""

    def __init__(self, posterior: xr.Dataset, presence: Float[np.ndarray, " k"], columns: list[int], n_draws: int):
        if "scales" not in posterior and "covariances" not in posterior:
            raise ValueError(
                "these plots draw ellipses of Gaussian components, and this tree has neither scales nor covariances"
            )
        shown = posterior.isel({name: columns for name in ("feature", "feature_bis") if name in posterior.dims})
        sigma = covariances_of(shown).broadcast_like(shown["weights"])  # one that all share is each one's
        stacked = shown[["weights", "means"]].assign(covariances=sigma).stack(sample=("chain", "draw"))
        some = np.unique(np.linspace(0, stacked.sizes["sample"] - 1, n_draws).astype(int))
        w = stacked["weights"].transpose("sample", "cluster").to_numpy()
        mu = stacked["means"].transpose("sample", "cluster", "feature").to_numpy()
        covariances = stacked["covariances"].transpose("sample", "cluster", "feature", "feature_bis").to_numpy()
        self.draws = (w[some], mu[some], covariances[some])
        self.mean = (w.mean(0), mu.mean(0), covariances.mean(0))
        self.n_clusters = w.shape[1]
        self.presence = presence  # share of the draws that have each cluster
        self.usual = np.flatnonzero(presence >= _USUAL)
        drawn = (presence >= _RARE) & ((w[some] > 0).any(0) if len(some) > 1 else presence >= _USUAL)
        self.drawn = np.flatnonzero(drawn)  # those with an ellipse


def scatter(
    axes: Axes,
    clusters: Clusters,
    rows,
    r: Float[np.ndarray, "n k"],
    pair: tuple[int, int],
    masses: Sequence[float],
    *,
    area: float = 1.0,
) -> Seen:
    """Draw rows and ellipses in the two features of ``pair``; return which clusters have an ellipse inside the axes."""
    x = rows[:, pair]
    shades = r @ colours(r.shape[1])
    uncertain = r.max(1) < _CERTAIN
    size, alpha = markers(len(x))
    size *= area
    axes.scatter(x[~uncertain, 0], x[~uncertain, 1], c=shades[~uncertain], s=size, alpha=alpha, lw=0, rasterized=True)
    ringed = axes.scatter(x[uncertain, 0], x[uncertain, 1], c=shades[uncertain], s=3.2 * size, alpha=min(1.0, 1.3 * alpha))
    ringed.set(edgecolors="black", linewidths=size / 12, zorder=3, rasterized=True)
    weights, draw_means, draw_covariances = clusters.draws
    _, means, covariances = clusters.mean
    block = np.ix_(pair, pair)
    palette = colours(clusters.n_clusters)
    thin: dict[int, list] = {}
    thick: dict[int, list] = {}
    for k in clusters.drawn.tolist():
        if len(draw_means) > 1:
            present = weights[:, k] > 0
            draws = zip(draw_means[present], draw_covariances[present], strict=True)
            thin[k] = [_ellipse(m[k, pair], s[k][block], max(masses)) for m, s in draws]
            axes.add_collection(LineCollection(thin[k], colors=[palette[k]], lw=0.5, alpha=0.25))
        if k in clusters.usual:
            thick[k] = [_ellipse(means[k, pair], covariances[k][block], mass) for mass in masses]
            axes.add_collection(LineCollection(thick[k], colors=[palette[k]], lw=1.8))
    for name, values in zip(("xlim", "ylim"), x.T, strict=True):
        if (known := values[~np.isnan(values)]).size:
            edge = MARGIN * (np.ptp(known) or 1.0)
            axes.set(**{name: (known.min() - edge, known.max() + edge)})
    axes.spines[["top", "right"]].set_visible(False)
    return Seen(*(frozenset(k for k, curves in of.items() if _any_inside(axes, curves)) for of in (thick, thin)))


def _any_inside(axes: Axes, curves: Sequence[Float[np.ndarray, "t 2"]]) -> bool:
    """Whether any of these curves passes through the axes."""
    return any(Path(curve).intersects_bbox(axes.viewLim, filled=False) for curve in curves)


def _ellipse(mean: Float[np.ndarray, "2"], covariance: Float[np.ndarray, "2 2"], mass: float) -> Float[np.ndarray, "t 2"]:
    """The ellipse mu + sqrt(q) L (cos t, sin t), with q the ``mass`` quantile of chi-squared with two degrees of freedom.

    It contains the probability ``mass`` of the Gaussian.
    """
    t = np.linspace(0, 2 * np.pi, 100)
    circle = np.column_stack([np.cos(t), np.sin(t)])
    return mean + np.sqrt(chi2.ppf(mass, 2)) * circle @ np.linalg.cholesky(covariance).T


def legend_handles(r: Float[np.ndarray, "n k"], clusters: Clusters, seen: Seen, masses: Sequence[float]) -> list[Line2D]:
    """Handles of the legend of a scatter plot."""
    shades = colours(clusters.n_clusters)
    handles = []
    holding = set(r.argmax(1))
    for k in clusters.drawn:
        inside = k in seen.thick | seen.thin
        if inside or k in holding:
            rare = "" if k in clusters.usual else f", in {clusters.presence[k]:.0%} of the draws"
            outside = "" if inside else ", its ellipses outside"
            handles.append(Line2D([], [], color=shades[k], marker="o", ls="", ms=5, label=f"cluster {k}{rare}{outside}"))
    if (r.max(1) < _CERTAIN).any():
        handles.append(
            Line2D(
                [],
                [],
                color="0.6",
                marker="o",
                ls="",
                ms=7,
                mec="black",
                label=f"rows of doubtful cluster (under {_CERTAIN:.0%})",
            )
        )
    contained = " and ".join(f"{mass:.0%}" for mass in sorted(masses))
    if seen.thick:
        handles.append(Line2D([], [], color="0.3", lw=1.8, label=f"ellipses with {contained} of a cluster"))
    if seen.thin:
        handles.append(Line2D([], [], color="0.3", lw=0.5, label=f"{max(masses):.0%} ellipses of single draws"))
    return handles
