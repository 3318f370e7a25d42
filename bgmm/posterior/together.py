"""Co-clustering: the posterior probability that two rows are together.

Given the parameters of draw s the assignments of different rows are independent, so that they need not be drawn:

    P(z_i = z_j | x) = (1/S) sum_s sum_k r_sik r_sjk,    i != j.

Of a tree that holds drawn assignments it is the share of draws in which both rows have one label. Only the rows or pairs asked
for are computed; the N x N matrix of all rows never is, unless they are few.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from bgmm.core import one_pass
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import at_rows, mean_over_draws
from bgmm.tree import held_assignments, observed, parameters

_MOST = 2000  # rows of a block: 32 MB
_PAIRS = 2**16  # at once


@in_float64
def co_clustering(tree: xr.DataTree, *, rows=None, pairs=None) -> xr.DataArray:
    """P(z_i = z_j | x) of the fitted rows, over all draws, exact given them: for a block of rows, or for pairs.

    :param rows: numbers of rows, from 0; by default all of them. At most 2000.
    :param pairs: instead of ``rows``, an array (m, 2) of pairs of rows, as many as wanted.
    :returns: dims (observation, observation_bis), labelled with the numbers of the rows, one on the diagonal; or, of pairs,
        dims (pair,) with the coordinates ``first`` and ``second``.
    :raises ValueError: for rows that the tree does not have, for both ``rows`` and ``pairs``, and for more than 2000 rows.
    """
    given = held_assignments(tree)
    x = observed(tree) if given is None else None
    n = len(x) if x is not None else given.sizes["observation"]  # type: ignore[union-attr]
    if rows is not None and pairs is not None:
        raise ValueError("give rows or pairs, not both")
    if pairs is not None:
        ij = _numbers("pairs", pairs, n)
        if ij.ndim != 2 or ij.shape[1] != 2:
            raise ValueError(f"pairs must be an array (m, 2) of numbers of rows, not of shape {ij.shape}")
        coords = {"first": ("pair", ij[:, 0]), "second": ("pair", ij[:, 1])}
        parts = [_of_pairs(tree, given, x, ij[low : low + _PAIRS]) for low in range(0, len(ij), _PAIRS)]
        return xr.DataArray(np.concatenate([*parts, []]), coords=coords, dims="pair", name="co_clustering")
    chosen = np.arange(n) if rows is None else _numbers("rows", rows, n)
    if chosen.ndim != 1 or not len(chosen):
        raise ValueError(f"rows must be a list of numbers of rows, not of shape {chosen.shape}")
    if len(chosen) > _MOST:
        asked = f"all {n} rows are" if rows is None else f"{len(chosen)} rows are"
        raise ValueError(f"{asked} more than the {_MOST} of one block; give fewer as rows, or the pairs wanted as pairs")
    values = np.where(chosen[:, None] == chosen, 1.0, _of_rows(tree, given, x, chosen))
    return xr.DataArray(
        values,
        coords=[("observation", chosen), ("observation_bis", chosen)],
        name="co_clustering",
    )


def _numbers(name: str, values, n: int) -> Int[np.ndarray, "..."]:
    """Numbers of rows as an array, or one sentence."""
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iu" and numbers.size:
        raise ValueError(f"{name} must hold whole numbers, the numbers of rows from 0, not {numbers.dtype.name} values")
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < n):
        wrong = numbers[(numbers < 0) | (numbers >= n)].reshape(-1)[0]
        raise ValueError(f"{name} holds {wrong}, and the tree has the rows 0 to {n - 1}")
    return numbers.astype(np.int64)


def _of_rows(tree: xr.DataTree, given, x, chosen: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m m"]:
    if given is None:
        mixture, scaling = parameters(tree)
        at = at_rows(mixture, scaling, x[chosen])
        return mean_over_draws(_block, at, (len(chosen), len(chosen)), at.position)
    total = np.zeros((len(chosen), len(chosen)))
    z = given.isel(observation=chosen).to_numpy().reshape(-1, len(chosen))
    for own in z:
        total += own[:, None] == own
    return total / len(z)


def _of_pairs(tree: xr.DataTree, given, x, ij: Int[np.ndarray, "m 2"]) -> Float[np.ndarray, " m"]:
    same = ij[:, 0] == ij[:, 1]
    if given is None:
        mixture, scaling = parameters(tree)
        at = at_rows(mixture, scaling, x[ij.T.reshape(-1)])
        together = mean_over_draws(_paired, at, (len(ij),), at.position)
    else:
        z = given.to_numpy().reshape(-1, given.sizes["observation"])
        together = np.mean([own[ij[:, 0]] == own[ij[:, 1]] for own in z], axis=0)
    return np.where(same, 1.0, together)


def _block(eta, blocks, centres, position) -> Float[Array, "m m"]:
    r = one_pass.responsibilities(eta, blocks, centres)[position]
    return r @ r.T


def _paired(eta, blocks, centres, position) -> Float[Array, " m"]:
    first, second = jnp.split(one_pass.responsibilities(eta, blocks, centres)[position], 2)
    return (first * second).sum(1)
