"""How sure the membership of each row is, and whether that is for want of knowledge or because clusters overlap."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bgmm.core import one_pass
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import evaluation, mean_over_draws
from bgmm.posterior.predict import membership


@in_float64
def uncertainty(tree: xr.DataTree, x=None) -> xr.Dataset:
    """Entropy of the membership of each row, in bits, and the part of it that knowing the mixture would not remove.

    With p_sn the memberships of row n in the clusters under draw s, and p_n their mean,

        entropy_n = H(p_n),    overlap_n = (1/S) sum_s H(p_sn) <= entropy_n (where every draw has the same clusters),

    where the overlap is there however well the mixture is known, because clusters overlap at the row, and the rest is doubt
    about the mixture itself, which more data would take away. The overlap needs no labels, so that it is exact whether or not
    the draws agree with each other. For the sureness of rows in one point partition, and the probability of being together
    with their mates there, see ``partition``.

    :param x: rows (n, d) with the features of the fit, in its units; by default the rows that were fitted.
    :returns: ``entropy`` and ``overlap``, dims (observation,).
    :raises ValueError: when the columns of ``x`` are not those of the fit.
    """
    p = membership(tree, x).to_numpy()
    at = evaluation(tree, x)
    overlap = mean_over_draws(_entropies, at, (at.blocks.weights.size,))[at.position]
    return xr.Dataset({"entropy": ("observation", np.asarray(_entropy(p))), "overlap": ("observation", overlap)})


def _entropy(p) -> Float[Array, " n"]:
    """-sum_k p_k log2 p_k, without a minus before zero."""
    return jnp.abs(jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1.0)), 0.0).sum(-1))


def _entropies(eta, blocks, centres) -> Float[Array, " places"]:
    return _entropy(one_pass.responsibilities(eta, blocks, centres))
