"""How uncertain the membership of each row is, and how much of that comes from overlapping clusters."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bgmm.core import kernel
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import directions, mean_over_draws, row_coords, rows_like
from bgmm.posterior.predict import membership
from bgmm.tree.question import of_tree
from bgmm.tree.read import observed, parameters


@of_tree
@in_float64
def uncertainty(tree: xr.DataTree, x=None) -> xr.Dataset:
    """Entropy of each row's membership in bits, and the part of it that is due to the overlap of clusters.

    Let p_sn be the membership probabilities of row n under draw s, p_n their mean over the draws, and H the entropy. Then

        entropy_n = H(p_n),    overlap_n = (1/S) sum_s H(p_sn) <= entropy_n (where every draw has the same clusters).

    The overlap remains even if the mixture is known exactly, because several clusters are likely at the row. The difference
    entropy_n - overlap_n is uncertainty about the mixture itself, which more data would reduce. The overlap does not depend on
    labels, so it is exact whether or not the draws agree with each other. ``partition`` reports the certainty of each row's
    place in a single partition.

    :param x: rows (n, d) with the features of the fit, in its units; by default the rows that were fitted.
    :returns: ``entropy`` and ``overlap``, dims (observation,).
    :raises ValueError: when the columns of ``x`` are not those of the fit.
    """
    p = membership(tree, x).to_numpy()
    inputs = directions(*parameters(tree), observed(tree) if x is None else rows_like(tree, x))  # membership has named far rows
    overlap = mean_over_draws(_entropies, inputs, (inputs.rows.n_places,))[inputs.position]
    variables = {"entropy": ("observation", np.asarray(_entropy(p))), "overlap": ("observation", overlap)}
    return xr.Dataset(variables, coords=row_coords(tree, x))


def _entropy(p) -> Float[Array, " n"]:
    """-sum_k p_k log2 p_k, with 0 log 0 = 0 and no negative zero."""
    return jnp.abs(jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1.0)), 0.0).sum(-1))


def _entropies(natural, rows) -> Float[Array, " places"]:
    """Entropy of the responsibilities in every place of the rows, under one draw."""
    return _entropy(kernel.responsibilities(natural, rows))
