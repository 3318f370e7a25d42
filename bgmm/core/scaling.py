"""Centre and scale the data in float64 before anything else, find its recording step, and undo both exactly.

Model units are what the declared program sees (standardised for our own models); the kernel always works on
standardised rows, so that neither an offset nor a unit of the data costs digits.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bgmm.core.gaussian import AnyArray, Parameters

RECORDING_SHARE = 0.4  # 1 / sqrt(2 pi): a Gaussian of this many steps is nowhere denser than one over the step


CHUNK = 65_536  # rows that are looked at together, so that no second copy of the data is made


class Scaling(NamedTuple):
    """x = centre + scale * standardised x, for each feature."""

    centre: Float[AnyArray, " d"]
    scale: Float[AnyArray, " d"]

    def standardise(self, x: np.ndarray) -> np.ndarray:
        """Rows in units of the scale about the centre."""
        return (x - np.asarray(self.centre)) / np.asarray(self.scale)

    def into(self, mixture: Parameters) -> Parameters:
        """A mixture stated in the units of x, for standardised x."""
        return mixture._replace(
            means=(mixture.means - self.centre) / self.scale, scale_tril=mixture.scale_tril / self.scale[:, None]
        )

    def out_of(self, mixture: Parameters) -> Parameters:
        """A mixture stated for standardised x, in the units of x."""
        return mixture._replace(
            means=mixture.means * self.scale + self.centre, scale_tril=mixture.scale_tril * self.scale[:, None]
        )


def identity(d: int) -> Scaling:
    """The scaling that changes nothing."""
    return Scaling(jnp.zeros(d), jnp.ones(d))


def scaling_of(x: np.ndarray, weights: np.ndarray | None = None) -> Scaling:
    """Mean and standard deviation of the values of each feature that are present; scale one where all are equal.

    ``weights`` are observation weights (n,): weight 2 counts as the row twice, weight 0 as its absence.
    """
    each = [_centre_and_scale(column, weights) for column in x.T]  # column by column: no copy of all the data
    return Scaling(*(np.array(values) for values in zip(*each, strict=True)))


def _centre_and_scale(x: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"] | None) -> tuple[float, float]:
    """Weighted mean and standard deviation of one feature."""
    c = np.where(np.isnan(x), 0.0, 1.0 if weights is None else weights)
    c /= max(c.sum(), np.finfo(float).tiny)
    unit = np.max(np.where(c > 0, np.abs(x), 0.0))  # squares of y = x / unit neither overflow nor vanish
    unit = unit if unit > 0 else 1.0
    y = np.where(c > 0, x, 0.0) / unit
    centre = c @ y
    centre += c @ (y - centre)  # the second look removes the rounding of the first
    scale = np.sqrt(c @ np.square(y - centre))
    constant = scale <= 8 * np.finfo(float).eps * np.abs(centre)
    return centre * unit, 1.0 if constant else scale * unit


def recording_steps(x: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Smallest gap between distinct values of each feature whose values repeat, else zero; in the units of x.

    Values closer than 1e-9 of the feature's scale count as equal: that is how 0.1 + 0.2 differs from 0.3.
    """
    steps = np.zeros(x.shape[1])
    for j, column in enumerate(x.T):
        values = np.sort(column[~np.isnan(column)])
        gaps = np.diff(values)
        real = gaps > 1e-9 * np.asarray(scaling.scale)[j]
        if real.any() and not real.all():
            steps[j] = gaps[real].min()
    return steps


def degenerate_columns(x: np.ndarray, scaling: Scaling) -> tuple[list[int], list[int]]:
    """Columns without variation, and columns that are linear combinations of each other, to rounding."""
    first, second = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
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
    tied = np.abs(vectors[:, values < 1e-10]).max(axis=1, initial=0.0) > 1e-3
    return constant.tolist(), varying[tied].tolist()
