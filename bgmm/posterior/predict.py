"""Predictions that average over the draws: membership, density, new observations."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bgmm.core.checks import check_count, random_key
from bgmm.core.components import Mixture
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import directions, evaluation, mean_log_density, mean_responsibilities, row_coords, rows_of
from bgmm.posterior.relabel import relabelled
from bgmm.tree.question import of_tree
from bgmm.tree.read import (
    features_of,
    has_mixtures,
    held_assignments,
    mixtures_of,
    observed,
    parameters,
    posterior_of,
    with_groups,
)
from bgmm.tree.schema import variable_of


@of_tree
@in_float64
def membership(tree: xr.DataTree, x=None) -> xr.DataArray:
    """Probability of each row belonging to each cluster, averaged over draws: p(z = k | x, data).

    Clusters are those of the relabelled tree (the draws are aligned first when they are not yet); where their number varies, it
    is the probability given that the row belongs to one that the draw has. A row without any value gets the mean weights. Of
    a tree with assignments alone it is the share of draws that put the row into the cluster. A warning names new rows far
    outside of all clusters, whose membership only says which cluster is widest in their direction.

    :param x: rows (n, d) with the features of the fit, in its units; by default the rows that were fitted.
    :returns: dims (observation, cluster); each row sums to one. The index of a DataFrame is the coordinate of ``observation``.
    :raises ValueError: when the columns of ``x`` are not those of the fit.
    """
    tree = relabelled(tree)
    if has_mixtures(tree):
        mixture, scaling = parameters(tree, posterior_of(tree))
        values = mean_responsibilities(directions(mixture, scaling, rows_of(tree, x)))
    else:
        values = _shares(tree, x)
    said = {"description": "probability that the row belongs to the cluster, averaged over the draws"}
    dims = ("observation", "cluster")
    return xr.DataArray(values, dims=dims, coords=row_coords(tree, x), name="membership", attrs=said)


@of_tree
@in_float64
def labels(tree: xr.DataTree, x=None) -> xr.DataArray:
    """The most probable cluster of each row: the one in which its ``membership`` is largest.

    Each row is judged alone, so new rows have labels too, and a cluster that is the most probable one of no row occurs in none.
    ``partition`` instead chooses the labels of all fitted rows together, as the clustering that is closest to those of the
    draws; it needs no matching of clusters between draws, and the numbers of its clusters are its own. How sure a label is,
    ``membership`` and ``uncertainty`` say.

    :param x: rows (n, d) with the features of the fit, in its units; by default the rows that were fitted.
    :returns: dims (observation,): the numbers that the clusters have in the relabelled tree, the largest cluster being 0.
    :raises ValueError: when the columns of ``x`` are not those of the fit.
    """
    said = "the cluster in which the row's membership is largest, each row judged alone"
    return membership(tree, x).argmax("cluster").rename("label").assign_attrs(description=said)


def _shares(tree: xr.DataTree, x) -> Float[np.ndarray, "n k"]:
    """Shares of the draws that put each fitted row into each cluster."""
    if x is not None:
        raise ValueError("this tree holds assignments and no mixtures, which say nothing of other rows; leave x out")
    z = held_assignments(tree).to_numpy()  # type: ignore[union-attr]
    return np.stack([(z == k).mean((0, 1)) for k in range(z.max() + 1)], axis=1)


@of_tree
@in_float64
def log_density(tree: xr.DataTree, x=None) -> xr.DataArray:
    """Log posterior predictive density of each row: log (1/S) sum_s p(x | draw s), per unit of the features.

    Of a tree with one draw it is the plug-in density. Where values are missing it is that of the others.

    :param x: rows (n, d) with the features of the fit, in its units; by default the rows that were fitted.
    :returns: dims (observation,).
    :raises ValueError: when the columns of ``x`` are not those of the fit.
    """
    values = mean_log_density(evaluation(tree, x))
    return xr.DataArray(values, dims="observation", coords=row_coords(tree, x), name="log_density")


@of_tree
@in_float64
def sample(tree: xr.DataTree, n: int, *, seed: int | jax.Array = 0) -> xr.DataArray:
    """New observations from the posterior predictive: each from the mixture of a draw of its own, chosen at random.

    For replicates of the whole data set, which share a draw each, see ``posterior_predictive``.

    :param n: how many.
    :returns: dims (observation, feature), in the units of the data.
    :raises ValueError: when ``n`` is not at least one.
    """
    check_count("n", n)
    n_draws = len(parameters(tree)[0].log_weights)
    key_draw, key_row = jax.random.split(random_key(seed))
    chosen = np.asarray(jax.random.randint(key_draw, (n,), 0, n_draws))
    values = _rows_of(tree, chosen, 1, key_row)[:, 0]
    return xr.DataArray(values, dims=("observation", "feature"), coords={"feature": list(features_of(tree))}, name="sample")


@of_tree
@in_float64
def posterior_predictive(tree: xr.DataTree, *, n_draws: int = 100, seed: int | jax.Array = 0) -> xr.DataTree:
    """The tree with replicates of its data set: as many rows from each of some draws, missing where the data are.

    ``az.plot_ppc_dist(tree)`` and other predictive checks of ArviZ then work on it.

    :param n_draws: draws of each chain, evenly chosen, that replicate the data; all of them when there are fewer.
    :returns: a tree that also has the group ``posterior_predictive``, one variable a feature, dims chain, draw, observation.
    :raises ValueError: when ``n_draws`` is not at least one, or the tree holds no observed data.
    """
    check_count("n_draws", n_draws)
    x, (chains, draws) = observed(tree), (mixtures_of(tree).sizes[name] for name in ("chain", "draw"))
    some = np.unique(np.linspace(0, draws - 1, min(n_draws, draws)).astype(int))
    chosen = (np.arange(chains)[:, None] * draws + some).reshape(-1)
    rows = _rows_of(tree, chosen, len(x), random_key(seed))
    rows = np.where(np.isnan(x), np.nan, rows).reshape(chains, len(some), *x.shape)
    variables = {variable_of(f): (("chain", "draw", "observation"), rows[..., j]) for j, f in enumerate(features_of(tree))}
    replicates = xr.Dataset(variables, coords={"chain": np.arange(chains), "draw": some} | row_coords(tree))
    return with_groups(tree, {"posterior_predictive": replicates})


def _rows_of(tree: xr.DataTree, chosen: np.ndarray, n: int, key: Array) -> Float[np.ndarray, "s n d"]:
    """``n`` rows from the mixture of each chosen draw, in the units of the data."""
    mixture, scaling = parameters(tree)
    rows = _sample(jax.tree.map(lambda a: jnp.asarray(a[chosen]), mixture), n, jax.random.split(key, len(chosen)))
    return np.asarray(scaling.restore(np.asarray(rows)))


@partial(jax.jit, static_argnames="n")
def _sample(mixtures: Mixture, n: int, keys: Array) -> Float[Array, "s n d"]:
    return jax.vmap(lambda mixture, key: mixture.sample(n, key=key))(mixtures, keys)
