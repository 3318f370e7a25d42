"""Co-clustering: the posterior probability that two rows belong to the same cluster.

Given the parameters of draw s the assignments of different rows are independent, so the probability is a mean over the draws
of products of responsibilities, without drawing assignments:

    P(z_i = z_j | x) = (1/S) sum_s sum_k r_sik r_sjk,    i != j.

For a tree that holds draws of the assignments it is the share of draws in which both rows have the same label. Only the
requested rows or pairs are computed, never the N x N matrix of many rows.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from bgmm.core import kernel
from bgmm.core.components import Mixture
from bgmm.core.precision import in_float64
from bgmm.core.scaling import Scaling
from bgmm.posterior.evaluate import at_rows, mean_over_draws, row_coords
from bgmm.tree.question import of_tree
from bgmm.tree.read import held_assignments, observed, parameters

_MAX_ROWS = 2000  # of a matrix: 32 MB
_PAIRS_PER_BATCH = 2**16


@of_tree
@in_float64
def co_clustering(tree: xr.DataTree, *, rows=None, pairs=None) -> xr.DataArray:
    """Posterior probabilities P(z_i = z_j | x) that two fitted rows belong to the same cluster, averaged over all draws.

    :param rows: indices of rows, from 0, at most 2000; by default all rows. The result is the matrix for these rows.
    :param pairs: instead of ``rows``, an array (m, 2) of pairs of row indices, of any length m.
    :returns: for rows, dims (observation, observation_bis) with ones on the diagonal; for pairs, dims (pair,) with the
        coordinates ``first`` and ``second``. Coordinates are the labels of the rows (the index of the DataFrame that was
        fitted), or the row indices where the rows have none.
    :raises ValueError: for rows that the tree does not have, for both ``rows`` and ``pairs``, and for more than 2000 rows.
    """
    assignments = held_assignments(tree)
    x = observed(tree) if assignments is None else None
    n = len(x) if x is not None else assignments.sizes["observation"]  # type: ignore[union-attr]
    names = row_coords(tree).get("observation", np.arange(n))
    if rows is not None and pairs is not None:
        raise ValueError("give rows or pairs, not both")
    if pairs is not None:
        ij = _row_indices("pairs", pairs, n)
        if ij.ndim != 2 or ij.shape[1] != 2:
            raise ValueError(f"pairs must be an array (m, 2) of row indices, not of shape {ij.shape}")
        coords = {"first": ("pair", names[ij[:, 0]]), "second": ("pair", names[ij[:, 1]])}
        batches = (ij[low : low + _PAIRS_PER_BATCH] for low in range(0, len(ij), _PAIRS_PER_BATCH))
        parts = [_of_pairs(tree, assignments, x, batch) for batch in batches]
        return xr.DataArray(np.concatenate([*parts, []]), coords=coords, dims="pair", name="co_clustering")
    chosen = np.arange(n) if rows is None else _row_indices("rows", rows, n)
    if chosen.ndim != 1 or not len(chosen):
        raise ValueError(f"rows must be a list of row indices, not of shape {chosen.shape}")
    if len(chosen) > _MAX_ROWS:
        requested = f"all {n} rows are" if rows is None else f"{len(chosen)} rows are"
        raise ValueError(f"{requested} more than the {_MAX_ROWS} of one matrix; give fewer rows, or give pairs")
    values = np.where(chosen[:, None] == chosen, 1.0, _of_rows(tree, assignments, x, chosen))
    return xr.DataArray(
        values,
        coords=[("observation", names[chosen]), ("observation_bis", names[chosen])],
        name="co_clustering",
    )


def _row_indices(name: str, values, n: int) -> Int[np.ndarray, "..."]:
    """Row indices as an array, checked to be whole numbers from 0 to n - 1."""
    indices = np.asarray(values)
    if indices.dtype.kind not in "iu" and indices.size:
        raise ValueError(f"{name} must hold whole numbers, row indices from 0, not {indices.dtype.name} values")
    if indices.size and not (indices.min() >= 0 and indices.max() < n):
        wrong = indices[(indices < 0) | (indices >= n)].reshape(-1)[0]
        raise ValueError(f"{name} holds {wrong}, and the tree has the rows 0 to {n - 1}")
    return indices.astype(np.int64)


def _of_rows(tree: xr.DataTree, assignments, x, chosen: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m m"]:
    """Co-clustering of all pairs of the chosen rows; of no use on the diagonal."""
    if assignments is None:
        return same_cluster(*parameters(tree), x[chosen])
    total = np.zeros((len(chosen), len(chosen)))
    z = assignments.isel(observation=chosen).to_numpy().reshape(-1, len(chosen))
    for labels in z:
        total += labels[:, None] == labels
    return total / len(z)


def same_cluster(mixture: Mixture, scaling: Scaling, x: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m m"]:
    """Co-clustering of all pairs of these rows, under draws of mixtures; of no use on the diagonal."""
    inputs = at_rows(mixture, scaling, x)
    return mean_over_draws(_same_cluster_matrix, inputs, (len(x), len(x)), inputs.position)


def _of_pairs(tree: xr.DataTree, assignments, x, ij: Int[np.ndarray, "m 2"]) -> Float[np.ndarray, " m"]:
    """Co-clustering of each pair of rows; one for a row with itself."""
    if assignments is None:
        mixture, scaling = parameters(tree)
        inputs = at_rows(mixture, scaling, x[ij.T.reshape(-1)])
        probability = mean_over_draws(_same_cluster_pairs, inputs, (len(ij),), inputs.position)
    else:
        z = assignments.to_numpy().reshape(-1, assignments.sizes["observation"])
        probability = np.mean([labels[ij[:, 0]] == labels[ij[:, 1]] for labels in z], axis=0)
    return np.where(ij[:, 0] == ij[:, 1], 1.0, probability)


def _same_cluster_matrix(natural, rows, position) -> Float[Array, "m m"]:
    """sum_k r_ik r_jk of all pairs of rows, under one draw."""
    r = kernel.responsibilities(natural, rows)[position]
    return r @ r.T


def _same_cluster_pairs(natural, rows, position) -> Float[Array, " m"]:
    """sum_k r_ik r_jk of the rows i of the first half and the rows j of the second half, under one draw."""
    first, second = jnp.split(kernel.responsibilities(natural, rows)[position], 2)
    return (first * second).sum(1)
