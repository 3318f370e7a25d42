"""Plots of a fitted mixture: its clusters in one, two or more features, and the number of occupied components."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from scipy.stats import norm

from bgmm.core.checks import check_count
from bgmm.posterior.evaluate import rows_like
from bgmm.posterior.occupied import n_occupied
from bgmm.posterior.predict import membership
from bgmm.posterior.relabel import relabelled
from bgmm.show.colours import colours
from bgmm.show.ellipses import MARGIN, Clusters, Seen, legend_handles, scatter
from bgmm.show.names import literal
from bgmm.show.separation import separating
from bgmm.tree.question import of_tree
from bgmm.tree.read import check_features, features_of, observed, posterior_of, presence_of

_INTERVAL = 0.89  # probability of the band of the density: the default of ArviZ
_MAX_ROWS = 20_000
_MAX_FEATURES = 6
_NEGLIGIBLE = 0.005  # numbers of components that are less probable are left out
_TAILS = 0.12  # of the axes around the rows of a single feature, as a share of their range
_IN_GRID = 0.6  # area of the markers in a grid of plots, as a share of that in a single one


@of_tree
def plot_clusters(
    tree: xr.DataTree,
    x=None,
    *,
    features: Sequence[str] | None = None,
    masses: Sequence[float] = (0.5, 0.9),
    n_draws: int = 50,
) -> Axes | np.ndarray:
    """Plot the clusters over the data.

    With one feature: the posterior predictive density with its 89 % band, the weighted density of each cluster, a histogram and
    a rug of the rows. With two features: the rows, coloured by membership, and ellipses of each cluster. Rows whose largest
    membership is below 0.95 are large and ringed. Thick ellipses belong to the posterior mean of the cluster and contain the
    probabilities ``masses``; thin ellipses show the largest of them for single draws. With more features: a grid of all pairs.
    A cluster that fewer than half of the draws have is shown by thin ellipses only, and one that fewer than 5 % have by none.
    The axes end where the rows do, and cut off ellipses that reach farther. The legend names the clusters whose ellipses are
    seen, and says of others that hold a row that theirs lie outside.

    :param x: rows to show, by default those that were fitted; at most 20 000 of them, evenly spaced, are shown.
    :param features: names of the features to show, by default all of them, or the six that separate the clusters best; the
        picture then names those that are left out.
    :param masses: probabilities that the ellipses contain.
    :param n_draws: number of draws for the thin ellipses and for the band of the density.
    :returns: the axes; for more than two features an array of axes.
    :raises ValueError: for an unknown feature or a mass outside of 0..1.
    """
    tree = relabelled(tree)
    known = features_of(tree)
    if features is not None:
        check_features(features, known)
        if not len(features):
            raise ValueError("features is empty; leave it out, or name one of " + ", ".join(known))
    check_count("n_draws", n_draws)
    if not np.iterable(masses):
        raise ValueError(f"masses must be a list of probabilities, such as [0.5, 0.9], not {masses!r}")
    for mass in masses:
        if not 0 < mass < 1:
            raise ValueError(f"masses must lie between 0 and 1, not {mass}")
    rows = observed(tree) if x is None else rows_like(tree, x)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, _MAX_ROWS).astype(int))]
    r = membership(tree, rows).to_numpy()
    shown = [known[j] for j in separating(rows, r, _MAX_FEATURES)] if features is None else list(features)
    columns = [known.index(name) for name in shown]
    clusters = Clusters(posterior_of(tree), presence_of(tree), columns, n_draws)
    rows = rows[:, columns]

    d = len(shown)
    if d == 1:
        axes = plt.subplots(figsize=(7, 4.2), layout="constrained")[1]
        _density(axes, clusters, rows[:, 0], r, 0, margin=_TAILS)
        axes.set(xlabel=literal(shown[0]), ylabel="probability density")
        axes.legend(frameon=False)
    elif d == 2:
        axes = plt.subplots(figsize=(7, 5.5), layout="constrained")[1]
        seen = scatter(axes, clusters, rows, r, (0, 1), masses)
        axes.set(xlabel=literal(shown[0]), ylabel=literal(shown[1]))
        axes.legend(handles=legend_handles(r, clusters, seen, masses), frameon=False, loc="best")
    else:
        figure, axes = plt.subplots(d, d, figsize=(2.3 * d, 2.3 * d), layout="constrained")
        cells = [_cell(axes[i, j], clusters, rows, r, (i, j), masses, shown) for i in range(d) for j in range(d)]
        seen = Seen(*(frozenset().union(*ellipses) for ellipses in zip(*filter(None, cells), strict=True)))
        figure.legend(handles=legend_handles(r, clusters, seen, masses), frameon=False, loc="upper right")
        if features is None and (left_out := [name for name in known if name not in shown]):
            figure.suptitle(_left_out(d, left_out, width=14 * d), fontsize="medium")
    return axes


@of_tree
def plot_occupied(tree: xr.DataTree, *, axes: Axes | None = None) -> Axes:
    """Bar plot of the posterior probabilities of the number of occupied components, next to the prior ones where known.

    The plot ends at the largest number with a probability of at least 0.005 under the posterior or the prior.

    :param axes: axes to draw on; by default those of a new figure.
    :returns: the axes.
    """
    if axes is not None and not isinstance(axes, Axes):
        raise ValueError(f"axes must be axes of matplotlib, as plt.subplots() makes them, not {axes!r}")
    probability = n_occupied(tree)
    prior = probability["prior"].to_numpy() if "prior" in probability.coords else None
    likely = probability.to_numpy() if prior is None else np.maximum(probability, prior).to_numpy()
    shown = slice(int(np.flatnonzero(likely >= _NEGLIGIBLE).max()) + 1)
    k, p = probability["n_occupied"].to_numpy()[shown], probability.to_numpy()[shown]
    if axes is None:
        axes = plt.subplots(figsize=(max(5.0, 1.4 + 0.55 * len(k)), 3.2), layout="constrained")[1]
    width = 0.7 if prior is None else 0.4
    bars = axes.bar(
        k - (0 if prior is None else width / 2), p, color=colours(1)[0], width=width, label="given the rows (posterior)"
    )
    axes.bar_label(bars, [f"{value:.2f}" if value >= _NEGLIGIBLE else "" for value in p], padding=2, fontsize="small")
    if prior is not None:
        axes.bar(k + width / 2, prior[shown], color="0.75", width=width, label="before (prior)")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    axes.set(xlabel="clusters that hold a row ($K_+$)", ylabel="probability", xticks=k, ylim=(0, 1.12 * max(likely.max(), 0.4)))
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _density(
    axes: Axes, clusters: Clusters, x: Float[np.ndarray, " n"], r: Float[np.ndarray, "n k"], j: int, *, margin: float
) -> None:
    """Histogram, rug, density with its band, and the weighted density of each cluster, in feature j."""
    present = ~np.isnan(x)
    x, r = x[present], r[present]
    edge = margin * (np.ptp(x) or 1.0)
    grid = np.linspace(x.min() - edge, x.max() + edge, 400)
    axes.set_xlim(grid[0], grid[-1])
    w, mu, sigma = clusters.draws
    parts = w[..., None] * norm.pdf(grid, mu[:, :, j, None], np.sqrt(sigma[:, :, j, j])[..., None])
    low, high = np.quantile(parts.sum(1), [(1 - _INTERVAL) / 2, (1 + _INTERVAL) / 2], axis=0)
    axes.hist(x, bins=max(len(np.histogram_bin_edges(x, "fd")), round(np.sqrt(len(x)))), density=True, color="0.88", zorder=0)
    shades = colours(clusters.n_clusters)
    axes.plot(grid, parts.sum(1).mean(0), color="0.5", lw=3.6, label="all clusters together")
    if len(w) > 1:
        axes.fill_between(grid, low, high, color="0.15", alpha=0.2, lw=0, label=f"{_INTERVAL:.0%} of the draws")
    for k in clusters.usual:  # over the total, which would cover them where one cluster is nearly all of it
        axes.fill_between(grid, parts.mean(0)[k], color=shades[k], alpha=0.15, lw=0, zorder=1)
        axes.plot(grid, parts.mean(0)[k], color=shades[k], lw=1.6, label=f"cluster {k}", zorder=3)
    ticks = np.stack([np.column_stack([x, np.zeros_like(x)]), np.column_stack([x, np.full_like(x, -0.04)])], axis=1)
    axes.add_collection(
        LineCollection(list(ticks), colors=r @ colours(r.shape[1]), lw=0.8, transform=axes.get_xaxis_transform(), clip_on=False)
    )
    axes.tick_params(axis="x", pad=8)
    axes.spines[["top", "right"]].set_visible(False)


def _cell(
    axes: Axes, clusters: Clusters, rows, r, cell: tuple[int, int], masses: Sequence[float], shown: list[str]
) -> Seen | None:
    """One cell of the grid of pairs: a density on the diagonal, a scatter plot below it, nothing above it."""
    i, j = cell
    if j > i:
        axes.set_axis_off()
        return None
    seen = None
    if i == j:
        _density(axes, clusters, rows[:, i], r, i, margin=MARGIN)
        axes.set_yticks([])
    else:
        seen = scatter(axes, clusters, rows, r, (j, i), masses, area=_IN_GRID)
    if i == len(shown) - 1:
        axes.set_xlabel(literal(shown[j]))
    if j == 0 and i > 0:
        axes.set_ylabel(literal(shown[i]))
    return seen


def _left_out(n_shown: int, names: list[str], *, width: int) -> str:
    """The sentence that names the features that are not shown, in lines."""
    listed = literal(", ".join(names))
    sentence = f"the {n_shown} of {n_shown + len(names)} features that separate the clusters best; left out: {listed}"
    return "\n".join(textwrap.wrap(sentence, width))
