"""Where the bulk of each column lies: limits that a few far rows do not move, and the values outside of them.

Let q_5 and q_95 be quantiles of a column, R = q_95 - q_5. The limits are q_5 - 10 R and q_95 + 10 R: 34 standard deviations
from the centre of Gaussian data, and beyond any cluster that holds more than a twentieth of the rows. Units follow the values
between the limits (``scaling``), so that a wild row does not decide what the priors and the floor under the scales mean.

A tail that lies outside of the limits of the other values may be larger. It is left out where one or two values that repeat
make it up, such as -999 (fill values), and where it is ten times as wide as the others: rows of a cluster lie together.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

_TAIL = 0.05  # share of a column that may be wild on each side
_LEAST = 4  # rows, of which none can be told to be wild
_LARGEST_TAIL = 0.25  # of a few rows, of which one may be wild
_REACH = 10.0  # limits are so many times R from the quantiles
_REACH_OF_FEW, _FEW = 40.0, 20  # the same of fewer rows, whose quantiles vary much
_FILL = 0.5  # largest share of a column that fill values can be
_FILLED = 0.9  # least share of a tail that one or two fill values are
_WIDE = 0.25  # largest share of a column that a tail of wild rows can be
_GAPS = 6  # the widest on each side, as seen from the median, at which a tail may begin
_EQUAL = 8 * float(np.finfo(float).eps)  # relative difference of values that count as equal


class Bulk(NamedTuple):
    """Limits of each column; values outside are far from the others."""

    low: Float[np.ndarray, " d"]
    high: Float[np.ndarray, " d"]

    def is_far(self, x: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, "n d"]:
        """Which values lie outside of the limits; missing ones do not."""
        return (x < self.low) | (x > self.high)


def bulk_of(x: Float[np.ndarray, "n d"], weights: Float[np.ndarray, " n"] | None = None) -> Bulk:
    """The limits of each column, from its values that are present; observation ``weights`` (n,) count as repeated rows."""
    limits = np.empty((2, x.shape[1]))
    for j, column in enumerate(x.T):
        present = ~np.isnan(column)
        c = np.ones(len(x)) if weights is None else np.asarray(weights, float)
        present &= c > 0
        order = np.argsort(column[present], kind="stable")
        with np.errstate(over="ignore", invalid="ignore"):  # limits beyond the largest number hold every value
            limits[:, j] = _limits(column[present][order], c[present][order])
    return Bulk(*limits)


def _limits(values: np.ndarray, c: np.ndarray) -> tuple[float, float]:
    """Limits of one column, its values sorted."""
    if not values.size or values[0] == values[-1]:
        return -np.inf, np.inf
    below, total = np.concatenate([[0.0], np.cumsum(c)]), c.sum()
    middle = int(np.searchsorted(below, total / 2))
    from_middle = np.maximum(np.abs(values - values[min(middle, len(values) - 1)]), np.finfo(float).tiny)
    gaps = np.diff(values)  # each beside how far from the median it begins
    lower, upper = np.argsort(-gaps / from_middle[1:]) + 1, np.argsort(-gaps / from_middle[:-1]) + 1
    firsts = [0, *lower[below[lower] <= _FILL * total][:_GAPS]]
    lasts = [len(values), *upper[total - below[upper] <= _FILL * total][:_GAPS]]
    most, found = 0.0, _around(values, c)
    for first, last in product(firsts, lasts):
        left_out = total - (below[last] - below[first])
        if first >= last or not most < left_out <= _FILL * total:
            continue
        low, high = _around(values[first:last], c[first:last])
        below_limits = first == 0 or values[first - 1] < low <= values[first]
        above_limits = last == len(values) or values[last - 1] <= high < values[last]
        tails = [slice(None, first), slice(last, None)]
        clusters = (_is_cluster(values[tail], c[tail], (high - low) / 2, _WIDE * total) for tail in tails)
        if below_limits and above_limits and not any(clusters):
            most, found = left_out, (low, high)
    return found


def _is_cluster(tail: np.ndarray, c: np.ndarray, width: float, largest: float) -> bool:
    """Whether a tail is neither one or two values that repeat nor a few rows, up to this weight, that lie far apart."""
    if not tail.size:
        return False
    different, place = np.unique(tail, return_inverse=True)
    repeated = np.bincount(place, c)
    filled = np.sort(repeated[repeated > 1])[-2:].sum() >= _FILLED * c.sum()
    return bool(not filled and (different[-1] - different[0] <= width or c.sum() > largest))


def _around(values: np.ndarray, c: np.ndarray) -> tuple[float, float]:
    low, high = _quantiles(values, c)
    if high - low <= _EQUAL * max(abs(low), abs(high)):  # nearly all are one value: how far are the others?
        others = abs(values - low) > _EQUAL * max(abs(low), abs(high))
        if not others.any():
            return -np.inf, np.inf
        first, last = _quantiles(values[others], c[others])
        low, high = min(low, first), max(high, last)
    times = _REACH if c.sum() >= _FEW else _REACH_OF_FEW
    reach = times * high - times * low
    return low - reach, high + reach


def _quantiles(values: np.ndarray, c: np.ndarray) -> tuple[float, float]:
    """The least values that so much of the weight is not above."""
    total = c.sum()
    tail = float(np.clip(1 / total, _TAIL, _LARGEST_TAIL)) if total > _LEAST else 0.0
    below = np.cumsum(c) / total
    first, last = np.searchsorted(below, [tail + 1e-9, 1 - tail - 1e-9])
    return float(values[first]), float(values[min(last, len(values) - 1)])
