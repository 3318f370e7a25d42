"""Which features separate the clusters best, for pictures that cannot show all of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def separating(x: Float[np.ndarray, "n d"], r: Float[np.ndarray, "n k"], n_features: int) -> Int[np.ndarray, " shown"]:
    """Indices, in increasing order, of the features with the smallest share of their variance within clusters.

    The share is sum_nk r_nk (x_n - m_k)^2 / sum_n (x_n - m)^2 over the values that are present, with m_k the mean under the
    memberships r of cluster k.
    """
    present, filled = ~np.isnan(x), np.nan_to_num(x)
    n_k = r.T @ present
    m_k = (r.T @ filled) / np.maximum(n_k, np.finfo(float).tiny)
    mean = filled.sum(0) / np.maximum(present.sum(0), 1)
    total = (present * np.square(filled - mean)).sum(0)
    within = sum((r[:, [k]] * present * np.square(filled - m_k[k])).sum(0) for k in range(r.shape[1]))
    share = np.where(total > 0, within / np.maximum(total, np.finfo(float).tiny), 1.0)
    return np.sort(np.argsort(share, kind="stable")[:n_features])
