"""How far fits of one data set agree: by other engines, settings, seeds or models.

Every figure comes with its Monte Carlo error, because draws differ that come from one posterior. For means and standard
deviations it follows from the effective number of draws. For distances between averages over draws (of memberships, densities,
co-clustering) it is what two fits of these sizes would show if nothing but chance told them apart: with H the distance between
the first and the second half of the draws of a fit, half the root of the sum of both H^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from bgmm.core.options import named_options
from bgmm.core.precision import in_float64
from bgmm.posterior.answers import Answers, Moments
from bgmm.posterior.evaluate import rows_like
from bgmm.tree.read import check_fits, check_same_features, n_draws, observed

_MAX_ROWS = 400  # at which densities and memberships are compared
_GROUPS = ("weights", "means", "scales")


@named_options()
@in_float64
def agreement(trees: Mapping[str, xr.DataTree], *, reference: str | None = None, x=None) -> pd.DataFrame:
    """A table of the differences between the fits and one of them.

    Clusters are matched by the memberships of the rows. For weights, means and scales the table gives the largest shift of a
    posterior mean, in posterior standard deviations of the reference, and the ratio of standard deviations that is furthest
    from one, and says ``where``. What does not depend on labels follows: the total variation distance of the posteriors of K+,
    the mean absolute difference of the log predictive density of the rows, the mean total variation distance of their
    memberships, and the mean absolute difference of the co-clustering probabilities of their pairs.

    :param trees: fits of the same features, by name; best the most trusted last.
    :param reference: name of the fit that the others are compared with; by default the last.
    :param x: rows (n, d) at which fits are compared, by default up to 400 of those that were fitted.
    :returns: one row for each fit and quantity, with ``value``, its Monte Carlo ``error``, and ``where``. A ratio of a fit
        without spread, such as a mode, is missing.
    :raises ValueError: for fewer than two fits, an unknown reference or one without a spread, or fits of different features.
    """
    return differences(*answers_of(trees, reference, x))


def answers_of(trees: Mapping[str, xr.DataTree], reference: str | None, x=None) -> tuple[dict[str, Answers], Answers]:
    """What each fit but the reference says at the rows, and what the reference says."""
    reference = _checked(trees, reference)
    rows = _rows(trees, reference, x)
    answers = {name: Answers(tree, rows) for name, tree in trees.items()}
    expected = answers.pop(reference)
    return answers, expected


def differences(answers: Mapping[str, Answers], expected: Answers) -> pd.DataFrame:
    """The table of ``agreement``."""
    return pd.concat({name: _compared(fit, expected) for name, fit in answers.items()}, names=["fit", "quantity"])


def relative_moments(
    answers: Mapping[str, Answers], expected: Answers
) -> tuple[list[str], dict[str, tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]]]:
    """Names of the weights, means and scales of matched clusters, and of each fit their means and standard deviations.

    Both are in the units of the reference, less its mean and over its standard deviation.
    """
    pairs = {name: matched(fit, expected) for name, fit in answers.items()}
    common = sorted(set.intersection(*(set(theirs.tolist()) for _, theirs in pairs.values())))
    groups = [name for name in _GROUPS if all(name in one.posterior for one in (expected, *answers.values()))]
    theirs = [expected.moments(name, np.array(common)) for name in groups]
    found = {}
    for name, fit in answers.items():
        own, of_reference = pairs[name]
        chosen = own[np.isin(of_reference, common)]
        parts = [(fit.moments(group, chosen), of_group) for group, of_group in zip(groups, theirs, strict=True)]
        means = np.concatenate([(one.mean - other.mean) / other.sd for one, other in parts])
        found[name] = (means, np.concatenate([one.sd / other.sd for one, other in parts]))
    names = [f"{group[:-1]}, {name}" for group, of_group in zip(groups, theirs, strict=True) for name in of_group.names]
    return names, found


def _checked(trees: Mapping[str, xr.DataTree], reference: str | None) -> str:
    """The name of the reference, once the fits can be compared."""
    check_fits(trees, 2, "agreement needs at least two fits by name, such as {'vi': tree, 'nuts': other}")
    reference = list(trees)[-1] if reference is None else reference
    if reference not in trees:
        raise ValueError(f"reference must be one of {', '.join(trees)}, not {reference!r}")
    if n_draws(trees[reference]) == 1:
        raise ValueError(f"fit '{reference}' is one point, without a spread to compare with; name a reference that has draws")
    check_same_features(trees, reference)
    return reference


def _rows(trees: Mapping[str, xr.DataTree], reference: str, x) -> Float[np.ndarray, "n d"]:
    if x is not None:
        x = rows_like(trees[reference], x)
    else:
        holders = [tree for tree in (trees[reference], *trees.values()) if "observed_data" in tree.children]
        if not holders:
            raise ValueError("none of these fits holds its rows; give some as x, at which they are compared")
        x = observed(holders[0])
    return x[np.unique(np.linspace(0, len(x) - 1, _MAX_ROWS).astype(int))]


def matched(fit: Answers, reference: Answers) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Clusters of the fit and of the reference that share the most memberships, in the order of the reference."""
    own, theirs = linear_sum_assignment(fit.membership[0].T @ reference.membership[0], maximize=True)
    order = np.argsort(theirs)
    return own[order], theirs[order]


def _compared(fit: Answers, reference: Answers) -> pd.DataFrame:
    own, theirs = matched(fit, reference)
    lines: dict[str, tuple[float, float, str]] = {}
    for name in _GROUPS:
        if name in fit.posterior and name in reference.posterior and (name != "weights" or len(theirs) > 1):
            lines |= _moment_lines(name, fit.moments(name, own), reference.moments(name, theirs))
    moved = _total_variation(fit.n_occupied[0], reference.n_occupied[0])
    noise = math.hypot(*(one.noise(one.n_occupied, _total_variation) for one in (fit, reference)))
    lines["K+ (total variation)"] = (moved, noise, "")
    difference, gap = _mean_difference, np.abs(fit.log_density[0] - reference.log_density[0])
    noise = math.hypot(fit.noise(fit.log_density, difference), reference.noise(reference.log_density, difference))
    lines["log density (mean difference)"] = (float(gap.mean()), noise, f"{gap.max():.2g} at the most")
    moved = _mean_variation(_padded(fit.membership[0], own, theirs, reference), reference.membership[0])
    noise = math.hypot(fit.noise(fit.membership, _mean_variation), reference.noise(reference.membership, _mean_variation))
    lines["membership (total variation)"] = (moved, noise, "")
    noise = math.hypot(fit.noise(fit.co_clustering, difference), reference.noise(reference.co_clustering, difference))
    lines["co-clustering (mean difference)"] = (difference(fit.co_clustering[0], reference.co_clustering[0]), noise, "")
    return pd.DataFrame.from_dict(lines, orient="index", columns=["value", "error", "where"])


def _moment_lines(name: str, fit: Moments, reference: Moments) -> dict[str, tuple[float, float, str]]:
    """The largest shift and the most different spread of one group of parameters."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = (fit.mean - reference.mean) / reference.sd
        shift_error = np.hypot(fit.mean_error, reference.mean_error) / reference.sd
        ratio = fit.sd / reference.sd
        ratio_error = ratio * np.hypot(fit.sd_error / fit.sd, reference.sd_error / reference.sd)
        furthest = np.abs(np.log(ratio))
    i = int(np.nanargmax(np.where(np.isfinite(shift), np.abs(shift), -1)))
    lines = {f"shift of {name} (sd)": (float(shift[i]), float(shift_error[i]), reference.names[i])}
    j = int(np.nanargmax(np.where(np.isfinite(furthest), furthest, -1)))
    spread = (float(ratio[j]), float(ratio_error[j])) if np.isfinite(furthest[j]) else (np.nan, np.nan)
    return lines | {f"sd ratio of {name}": (*spread, reference.names[j])}


def _padded(p: Float[np.ndarray, "n k"], own, theirs, reference: Answers) -> Float[np.ndarray, "n m"]:
    """Memberships in the clusters of the reference, those in unmatched clusters after them."""
    rest = np.setdiff1d(np.arange(p.shape[1]), own)
    answer = np.zeros((len(p), reference.membership[0].shape[1] + len(rest)))
    answer[:, theirs] = p[:, own]
    answer[:, reference.membership[0].shape[1] :] = p[:, rest]
    return answer


def _total_variation(p: Float[np.ndarray, " k"], q: Float[np.ndarray, " m"]) -> float:
    size = max(len(p), len(q))
    return 0.5 * float(np.abs(np.pad(p, (0, size - len(p))) - np.pad(q, (0, size - len(q)))).sum())


def _mean_variation(p: Float[np.ndarray, "n k"], q: Float[np.ndarray, "n m"]) -> float:
    size = max(p.shape[1], q.shape[1])
    p, q = (np.pad(a, ((0, 0), (0, size - a.shape[1]))) for a in (p, q))
    return 0.5 * float(np.abs(p - q).sum(1).mean())


def _mean_difference(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.abs(p - q).mean())
