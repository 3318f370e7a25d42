"""Predictions that average over the draws: membership, density, new observations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bgmm.core.distributions import GaussianMixture
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import evaluation, mean_log_density, mean_responsibilities
from bgmm.posterior.relabel import relabelled
from bgmm.tree import features_of, parameters


@in_float64
def membership(tree: xr.DataTree, x=None) -> xr.DataArray:
    """Probability of each row belonging to each cluster, averaged over draws: p(z = k | x, data).

    Clusters are those of the relabelled tree (the draws are aligned first when they are not yet). A row without any value
    gets the mean weights.

    :param x: rows (n, d) with the features of the fit, in its units; by default the rows that were fitted.
    :returns: dims (observation, cluster); each row sums to one.
    :raises ValueError: when the columns of ``x`` are not those of the fit.
    """
    tree = relabelled(tree)
    return xr.DataArray(mean_responsibilities(evaluation(tree, x)), dims=("observation", "cluster"), name="membership")


@in_float64
def log_density(tree: xr.DataTree, x=None) -> xr.DataArray:
    """Log posterior predictive density of each row: log (1/S) sum_s p(x | draw s), per unit of the features.

    Of a tree with one draw it is the plug-in density. Where values are missing it is that of the others.

    :param x: rows (n, d) with the features of the fit, in its units; by default the rows that were fitted.
    :returns: dims (observation,).
    :raises ValueError: when the columns of ``x`` are not those of the fit.
    """
    return xr.DataArray(mean_log_density(evaluation(tree, x)), dims="observation", name="log_density")


@in_float64
def sample(tree: xr.DataTree, n: int, *, seed: int = 0) -> xr.DataArray:
    """New observations from the posterior predictive: each from the mixture of a draw chosen at random.

    :param n: how many.
    :returns: dims (observation, feature), in the units of the data.
    :raises ValueError: when ``n`` is not at least one.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    mixture, scaling = parameters(tree)
    key_draw, key_row = jax.random.split(jax.random.key(seed))
    chosen = np.asarray(jax.random.randint(key_draw, (n,), 0, len(mixture.means)))
    rows = _sample(jax.tree.map(lambda a: jnp.asarray(a[chosen]), mixture), key_row)
    values = np.asarray(rows) * np.asarray(scaling.scale) + np.asarray(scaling.centre)
    return xr.DataArray(values, dims=("observation", "feature"), coords={"feature": list(features_of(tree))}, name="sample")


@jax.jit
def _sample(mixture, key):
    return GaussianMixture(jnp.exp(mixture.log_weights), mixture.means, mixture.scale_tril, validate_args=False).sample(key)
