"""Checks of the parameters that a user brings, with scikit-learn's sentences."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight

from bgmm.data.source import filled
from bgmm.estimators.covariance_types import CovarianceType


def of_shape(value, shape: tuple[int, ...], name: str) -> Float[np.ndarray, "..."]:
    """An array of that shape; its type is float64 or float32."""
    array = check_array(filled(value), dtype=[np.float64, np.float32], ensure_2d=False, allow_nd=True)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    return array


def row_weights(value, rows: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, " n"]:
    """One weight for each row, finite, not negative and not all zero; a copy, and ones where there are none."""
    return _check_sample_weight(filled(value), rows, dtype=np.float64, ensure_non_negative=True, copy=True)


def weights(value, k: int) -> Float[np.ndarray, " k"]:
    """Weights between zero and one, of sum one."""
    w = of_shape(value, (k,), "weights")
    if (w < 0).any() or (w > 1).any():
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{w.min():.5f}, min value {w.max():.5f}"  # the least first: scikit-learn's sentence
        )
    if abs(1 - w.sum()) > (1e-6 if w.dtype == np.float32 else 1e-8):
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {w.sum():.5f}")
    return w


def precisions(value, structure: CovarianceType, k: int, d: int) -> Float[np.ndarray, "..."]:
    """Positive definite precisions, in the shape that scikit-learn has them."""
    array = of_shape(value, structure.shape(k, d), f"{structure.name} precision")
    if (fault := structure.fault(structure.stacked(array))) is not None:
        raise ValueError(f"'{structure.name} precision' should be {fault}")
    return array
