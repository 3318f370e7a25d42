"""Standardise the data in float64, transform mixtures between units, and detect recording steps and degenerate columns.

The units are mean and standard deviation, with values far outside of the bulk moved to its limits (``bulk``).

The kernel always works on standardised rows, so that neither an offset nor the unit of the data costs digits. A declared
program may see the rows in other units: standardised for ``bgmm.models``, unchanged for a user's own program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bgmm.core.bulk import Bulk, bulk_of
from bgmm.core.components import Mixture
from bgmm.core.factor import AnyArray

RECORDING_SHARE = 0.4  # 1 / sqrt(2 pi): the density of a Gaussian with this scale, in steps, is at most one over the step
LARGEST_STEP = 2.0  # in standard deviations
CHUNK = 65_536  # rows that are processed at a time, so that no second copy of the data is made


class Scaling(NamedTuple):
    """x = centre + scale * standardised x, for each feature."""

    centre: Float[AnyArray, " d"]
    scale: Float[AnyArray, " d"]

    def standardise(self, x: np.ndarray) -> np.ndarray:
        """Standardised rows: (x - centre) / scale."""
        return (x - np.asarray(self.centre)) / np.asarray(self.scale)

    def restore(self, y: Float[AnyArray, "*s d"]) -> Float[AnyArray, "*s d"]:
        """Standardised rows in the units of x: centre + scale * y."""
        return self.centre + self.scale * y

    def within_reach(
        self, x: Float[np.ndarray, "n d"], reach: float
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        """Rows moved towards the centre until no standardised value exceeds ``reach``, and the factor s >= 1 of each distance.

        So far out a Gaussian log density is its quadratic form, in all digits: that of the row is s^2 times that of the moved
        row, and the memberships are those of every row in this direction.
        """
        half = x / 2 - np.asarray(self.centre) / 2  # differences of finite numbers may overflow
        with np.errstate(over="ignore"):
            s = np.maximum((np.where(np.isnan(x), 0.0, np.abs(half)) / (0.5 * reach * np.asarray(self.scale))).max(1), 1.0)
        moved = np.asarray(self.centre) + 2 * (half / s[:, None])
        return np.where(s[:, None] > 1, moved, x), s

    def into(self, mixture: Mixture) -> Mixture:
        """Convert a mixture from the units of x to standardised units."""
        return mixture.rescale(self.centre, self.scale)

    def out_of(self, mixture: Mixture) -> Mixture:
        """Convert a mixture from standardised units to the units of x."""
        return mixture.rescale(-self.centre / self.scale, 1 / self.scale)


def scaling_of(x: np.ndarray, weights: np.ndarray | None = None) -> Scaling:
    """Mean and standard deviation of the values of each feature that are present; scale one where all are equal.

    Values outside of the limits of the bulk count as the limit, so that each row moves the units by a bounded amount.
    ``weights`` are observation weights (n,): weight 2 counts as the row twice, weight 0 as its absence.
    """
    return scaling_of_chunks(lambda: in_chunks(x), weights, bulk_of(x, weights))


def in_chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    """Rows that are in memory, some at a time."""
    return (x[start : start + CHUNK] for start in range(0, len(x), CHUNK))


def scaling_of_chunks(chunks: Callable[[], Iterable[np.ndarray]], weights: np.ndarray | None, bulk: Bulk) -> Scaling:
    """The same for rows that are not all in memory.

    :param chunks: gives all rows, some (m, d) at a time; called three times, and none of the rows is kept.
    """
    unit = np.zeros(1)
    for x, c in _weighted(chunks(), weights, bulk):
        unit = np.maximum(unit, np.where(c > 0, np.abs(x), 0.0).max(axis=0))
    unit = np.where(unit > 0, unit, 1.0)  # squares of y = x / unit neither overflow nor vanish
    count, first = np.zeros(1), np.zeros(1)
    for x, c in _weighted(chunks(), weights, bulk):
        count, first = count + c.sum(axis=0), first + (c * np.where(c > 0, x / unit, 0.0)).sum(axis=0)
    count = np.maximum(count, np.finfo(float).tiny)
    centre = first / count
    first, second = np.zeros(1), np.zeros(1)
    for x, c in _weighted(chunks(), weights, bulk):
        away = np.where(c > 0, x / unit - centre, 0.0)
        first, second = first + (c * away).sum(axis=0), second + (c * np.square(away)).sum(axis=0)
    correction = first / count  # the rounding of the first pass
    scale = np.sqrt(np.maximum(second / count - np.square(correction), 0.0))
    centre = centre + correction
    constant = (scale <= 8 * np.finfo(float).eps * np.abs(centre)) | (scale * unit == 0)  # 0 and 5e-324 are one value
    return Scaling(centre * unit, np.where(constant, 1.0, scale * unit))


def _weighted(chunks: Iterable[np.ndarray], weights: np.ndarray | None, bulk: Bulk) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each chunk within the limits, with the weight of each of its values: that of the row, zero where missing."""
    start = 0
    for x in chunks:
        c = 1.0 if weights is None else weights[start : start + len(x), None]
        yield np.clip(x, bulk.low, bulk.high), np.where(np.isnan(x), 0.0, c)
        start += len(x)


def recording_steps(x: np.ndarray, scaling: Scaling) -> np.ndarray:
    """The recording step of each feature, in the units of x: the smallest gap between distinct values.

    It is zero for a feature without repeated values. Values that differ by less than 1e-9 of the feature's scale count as
    equal, because 0.1 + 0.2 is not exactly 0.3. No step exceeds two standard deviations, as that of a fair coin does not: the
    gap of a rare flag says little of its spread, and a floor above it would widen every component.
    """
    steps = np.zeros(x.shape[1])
    for j, column in enumerate(x.T):
        values = np.sort(column[~np.isnan(column)])
        gaps = np.diff(values)
        distinct = gaps > 1e-9 * np.asarray(scaling.scale)[j]
        if distinct.any() and not distinct.all():
            steps[j] = min(gaps[distinct].min(), LARGEST_STEP * np.asarray(scaling.scale)[j])
    return steps


def degenerate_columns(x: np.ndarray, scaling: Scaling) -> tuple[list[int], list[int]]:
    """Columns that are constant, and columns that are linear combinations of each other, up to rounding."""
    first, second = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))  # sums of moments
    for start in range(0, len(x), CHUNK):
        standard = np.nan_to_num(scaling.standardise(x[start : start + CHUNK]))
        first += standard.sum(axis=0)
        second += standard.T @ standard
    spread = np.sqrt(np.diagonal(second) / len(x))
    constant = np.flatnonzero(spread < 1e-7)
    varying = np.setdiff1d(np.arange(x.shape[1]), constant)
    if len(varying) < 2 or len(x) <= len(varying):
        return constant.tolist(), []
    covariances = (second / len(x) - np.outer(first, first) / len(x) ** 2)[np.ix_(varying, varying)]
    scales = np.sqrt(np.diagonal(covariances))
    values, vectors = np.linalg.eigh(covariances / np.outer(scales, scales))
    collinear = np.abs(vectors[:, values < 1e-10]).max(axis=1, initial=0.0) > 1e-3
    return constant.tolist(), varying[collinear].tolist()
