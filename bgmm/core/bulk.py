"""Where the bulk of each column lies: limits that a few far rows do not move, and the values outside of them.

Let q_5 and q_95 be quantiles of a column, R = q_95 - q_5. The limits are q_5 - 10 R and q_95 + 10 R: 34 standard deviations
from the centre of Gaussian data, and beyond any cluster that holds more than a twentieth of the rows. Units follow the values
between the limits (``scaling``), so that a wild row does not decide what the priors and the floor under the scales mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

_TAIL = 0.05  # share of a column that may be wild on each side
_LARGEST_TAIL = 0.25  # of a few rows, of which one may be wild
_REACH = 10.0  # limits are so many times R from the quantiles
_FILL = 0.5  # largest share of a column that can be a fill value
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
    kept = np.ones(len(values), bool)
    for end in (values[0], values[-1]):  # a value that repeats and is the least or the largest may be a fill value
        if 2 <= c[values == end].sum() <= _FILL * c.sum():
            kept &= values != end
    if kept.sum() > 1 and not kept.all():
        low, high = _around(values[kept], c[kept])
        if values[0] < low or values[-1] > high:
            return low, high
    return _around(values, c)


def _around(values: np.ndarray, c: np.ndarray) -> tuple[float, float]:
    low, high = _quantiles(values, c)
    if high - low <= _EQUAL * max(abs(low), abs(high)):  # nearly all are one value: how far are the others?
        others = abs(values - low) > _EQUAL * max(abs(low), abs(high))
        if not others.any():
            return -np.inf, np.inf
        first, last = _quantiles(values[others], c[others])
        low, high = min(low, first), max(high, last)
    reach = _REACH * high - _REACH * low
    return low - reach, high + reach


def _quantiles(values: np.ndarray, c: np.ndarray) -> tuple[float, float]:
    """The least values that so much of the weight is not above."""
    total = c.sum()
    tail = float(np.clip(1 / total, _TAIL, _LARGEST_TAIL))
    below = np.cumsum(c) / total
    first, last = np.searchsorted(below, [tail + 1e-9, 1 - tail - 1e-9])
    return float(values[first]), float(values[min(last, len(values) - 1)])
