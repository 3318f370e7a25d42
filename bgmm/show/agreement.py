"""A picture of how far fits of one data set agree."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from bgmm.core.options import named_options
from bgmm.core.precision import in_float64
from bgmm.posterior.agreement import answers_of, differences, relative_moments
from bgmm.show.colours import colours

_WIDE = 1.645  # standard deviations on each side: 90 % of a normal distribution
_SHOWN = 40  # parameters, those that differ most
_OUTSIDE = 6.0  # standard deviations of the reference, beyond which intervals are cut off


@named_options()
@in_float64
def plot_agreement(trees: Mapping[str, xr.DataTree], *, reference: str | None = None, x=None) -> tuple[Axes, Axes]:
    """Plot the parameters and the label-free distances of fits against one of them.

    Left: for each weight, mean and scale the posterior mean of each fit with a bar of 1.645 standard deviations on each side,
    in units in which the reference has mean zero and standard deviation one (its bar is the grey band). Of more than 40
    parameters, those that differ most. Right: the distances of ``agreement`` (filled) beside what chance alone gives (hollow).

    :param trees: fits of the same features, by name.
    :param reference: name of the fit that the others are compared with; by default the last.
    :param x: rows at which fits are compared, as in ``agreement``.
    :returns: the two axes.
    :raises ValueError: as ``agreement``.
    """
    answers = answers_of(trees, reference, x)
    table, (names, moments) = differences(*answers), relative_moments(*answers)
    worst = np.max([np.abs(mean) + np.abs(np.log(np.maximum(sd, 1e-3))) for mean, sd in moments.values()], axis=0)
    shown = np.sort(np.argsort(-worst, kind="stable")[:_SHOWN])
    _, (left, right) = plt.subplots(
        1, 2, figsize=(11, 1.5 + 0.22 * max(len(shown), 8)), width_ratios=(1.6, 1), layout="constrained"
    )
    colour = dict(zip(moments, colours(len(moments)), strict=True))
    left.axvspan(-_WIDE, _WIDE, color="0.9", zorder=0)
    left.axvline(0, color="0.6", lw=1, zorder=1)
    for i, (name, (mean, sd)) in enumerate(moments.items()):
        y = np.arange(len(shown)) + 0.6 * ((i + 0.5) / len(moments) - 0.5)
        left.errorbar(
            mean[shown], y, xerr=_WIDE * sd[shown], fmt="o", ms=3, lw=1.5, color=colour[name], label=name, clip_on=True
        )
    limit = min(_OUTSIDE, 1.1 * max(_WIDE, *(float(np.max(np.abs(m) + _WIDE * s)) for m, s in moments.values())))
    left.set(yticks=range(len(shown)), yticklabels=[names[i] for i in shown], xlim=(-limit, limit))
    left.set_xlabel(f"standard deviations of {reference or list(trees)[-1]} from its mean")
    left.invert_yaxis()
    left.tick_params(axis="y", labelsize=8)
    left.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(moments), frameon=False)
    distances = [name for name in table.index.unique("quantity") if "total variation" in name or "mean difference" in name]
    for i, name in enumerate(moments):
        part = table.loc[name].loc[distances]
        y = np.arange(len(distances)) + 0.6 * ((i + 0.5) / len(moments) - 0.5)
        right.plot(part["value"], y, "o", color=colour[name])
        right.plot(part["error"], y, "o", color=colour[name], mfc="none")
    right.set(yticks=range(len(distances)), yticklabels=[name.replace(" (", "\n(") for name in distances])
    right.set(xlim=(0, None), xlabel="distance; hollow: by chance alone", ylim=(len(distances) - 0.5, -0.5))
    right.tick_params(axis="y", labelsize=8)
    return left, right
