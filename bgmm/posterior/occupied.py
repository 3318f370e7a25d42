"""The number of occupied components K+: those that hold at least one observation."""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr

from bgmm.core.checks import random_key
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import evaluation, occupied
from bgmm.tree import posterior_of


@in_float64
def n_occupied(tree: xr.DataTree, *, seed: int | jax.Array = 0) -> xr.DataArray:
    """Posterior probabilities of K+, for K+ = 1 .. K.

    K+ of a draw counts the components that hold a row after each row's assignment has been drawn from its
    responsibilities under that draw. A tree of ours holds it in ``sample_stats``; for draws from elsewhere it is drawn now,
    with ``seed``, an integer or a JAX key.
    """
    k = np.arange(1, posterior_of(tree).sizes["cluster"] + 1)
    if "sample_stats" in tree.children and "n_occupied" in tree["sample_stats"]:
        counts = tree["sample_stats"]["n_occupied"].to_numpy()
    else:
        counts = occupied(evaluation(tree), key=random_key(seed)).sum(1)
    return xr.DataArray(
        [(counts == value).mean() for value in k], coords={"n_occupied": k}, dims="n_occupied", name="probability"
    )
