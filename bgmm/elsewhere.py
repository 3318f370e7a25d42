"""A tree from arrays of draws that another program made: Stan, PyMC, R."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bgmm.core.checks import random_key
from bgmm.core.gaussian import Parameters
from bgmm.core.precision import in_float64
from bgmm.data.table import Table, as_table
from bgmm.posterior.assignments import small_labels
from bgmm.posterior.evaluate import evaluation, occupied
from bgmm.tree import CLUSTER_DIMS, canonical, dataset

_MISSED = 1e-4  # of one by a sum of weights, and of symmetry: single precision, or printed numbers
_DRAWS = ("chain", "draw")


@in_float64
def from_draws(
    weights=None,
    means=None,
    covariances=None,
    x=None,
    features: Sequence[str] | None = None,
    *,
    assignments=None,
    seed: int | jax.Array = 0,
) -> xr.DataTree:
    """A tree of draws of a mixture, of assignments, or of both: all questions of bgmm can then be asked of it.

    Where the number of components varies, arrays are as long as the largest, and what a draw lacks has weight zero (its means
    and covariances are not looked at). The mixtures then stand in the group ``components``, the posterior holds their number
    ``n_components``, and ``relabel`` adds the clusters.

    :param weights: (chain, draw, K), each draw summing to one.
    :param means: (chain, draw, K, D), or (chain, draw, K) of one feature.
    :param covariances: (chain, draw, K, D, D), or (chain, draw, K), the variances of one feature.
    :param x: the rows (n, D) that were fitted, in the units of the draws. With them it is drawn which components hold a row,
        and memberships, partitions and predictions need not be given rows.
    :param features: names, by default those of ``x``.
    :param assignments: (chain, draw, n), whole numbers that say which rows are together; alone they are enough for
        ``partition``, ``co_clustering``, ``relabel``, and the ``membership`` of the fitted rows.
    :param seed: of the draws of what is occupied, an integer or a JAX key.
    :raises ValueError: one sentence that names the array, the draw and the component with a mistake.
    """
    given = {"weights": weights, "means": means, "covariances": covariances}
    given = {name: _numbers(name, array) for name, array in given.items() if array is not None}
    if 0 < len(given) < 3 or (not given and assignments is None):
        alone = f", not only {' and '.join(given)}" if given else ""
        raise ValueError(f"give weights, means and covariances, or assignments{alone}")
    z = None if assignments is None else _whole_numbers(assignments)
    table = None if x is None else as_table(x, fitting=False)
    mixture = _mixture(**given) if given else None
    names = _features(features, table, None if mixture is None else mixture.means.shape[3])
    if mixture is not None and z is not None and z.shape[:2] != mixture.means.shape[:2]:
        raise ValueError(f"weights have {mixture.means.shape[:2]} chains and draws, and assignments {z.shape[:2]}")
    if table is not None and z is not None and z.shape[2] != len(table.values):
        raise ValueError(f"assignments are of {z.shape[2]} rows, and x has {len(table.values)}")

    groups: dict[str, xr.Dataset] = {}
    if table is not None:
        columns = zip(names, table.values.T, strict=True)
        groups["observed_data"] = xr.Dataset({name: ("observation", column) for name, column in columns})
    stats: dict[str, Any] = {}
    if z is not None:
        stats = {"assignments": ((*_DRAWS, "observation"), z), "n_occupied": (_DRAWS, _n_labels(z))}
    if mixture is None:
        groups["posterior"] = xr.Dataset({"n_occupied": stats["n_occupied"]})
        return xr.DataTree.from_dict(groups | {"sample_stats": xr.Dataset(stats)})

    variables = canonical(mixture)
    draws = dataset(variables, {name: CLUSTER_DIMS[name] for name in variables}, names)
    held = exists = variables["weights"] > 0
    if table is not None:
        at = evaluation(xr.DataTree.from_dict(groups | {"posterior": draws}))
        held = occupied(at, key=random_key(seed)).reshape(exists.shape) & exists
        stats = {"n_occupied": (_DRAWS, held.sum(2))} | stats
    if exists.all():
        groups["posterior"] = draws
    else:
        stats["occupied"] = ((*_DRAWS, "cluster"), held)
        counts = {"n_components": exists.sum(2)} | {name: stats[name][1] for name in ("n_occupied",) if name in stats}
        groups |= {"posterior": dataset(counts, {}, names), "components": draws}
    return xr.DataTree.from_dict(groups | ({"sample_stats": xr.Dataset(stats)} if stats else {}))


def _numbers(name: str, array) -> Float[np.ndarray, "..."]:
    try:
        return np.asarray(array, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, with equal lengths for all draws") from None


def _mixture(
    weights: Float[np.ndarray, "..."], means: Float[np.ndarray, "..."], covariances: Float[np.ndarray, "..."]
) -> Parameters:
    """The mixtures, checked, with parameters where a draw lacks a component as well."""
    w, mu, sigma = weights, means, covariances
    mu, sigma = mu[..., None] if mu.ndim == 3 else mu, sigma[..., None, None] if sigma.ndim == 3 else sigma
    if w.ndim != 3 or 0 in w.shape or mu.shape[:-1] != w.shape or mu.ndim != 4 or sigma.shape != (*mu.shape, mu.shape[-1]):
        raise ValueError(
            "from_draws needs weights (chain, draw, K), means (chain, draw, K, D) and covariances (chain, draw, K, D, D), "
            f"not shapes {weights.shape}, {means.shape} and {covariances.shape}"
        )
    exists = w != 0
    _check("weights of {where} must be finite and not negative", np.isfinite(w) & (w >= 0))
    _check("weights of {where} must sum to one", np.abs(w.sum(2) - 1) <= _MISSED)
    _check("means of {where} must be finite", np.isfinite(mu).all(3) | ~exists)
    _check("covariances of {where} must be finite", np.isfinite(sigma).all((3, 4)) | ~exists)
    sigma = np.where(exists[..., None, None], sigma, np.eye(mu.shape[3]) * np.diagonal(sigma[exists].mean(0)))
    mu = np.where(exists[..., None], mu, mu[exists].mean(0))
    flipped = np.swapaxes(sigma, 3, 4)
    skew = np.abs(sigma - flipped) <= _MISSED * np.abs(np.diagonal(sigma, axis1=3, axis2=4)).max(3)[..., None, None]
    _check("covariances of {where} must be symmetric", skew.all((3, 4)))
    sigma = (sigma + flipped) / 2
    _check("covariances of {where} must be positive definite", np.linalg.eigvalsh(sigma).min(3) > 0)
    with np.errstate(divide="ignore"):
        return Parameters(np.log(w / w.sum(2, keepdims=True)), mu, np.linalg.cholesky(sigma))


def _check(sentence: str, holds: np.ndarray) -> None:
    """Insist that ``holds`` is true everywhere, naming the first place where it is not."""
    if not holds.all():
        place = zip(("chain", "draw", "component"), np.argwhere(~holds)[0].tolist(), strict=False)
        raise ValueError(sentence.format(where=", ".join(f"{name} {number}" for name, number in place)))


def _whole_numbers(assignments) -> Int[np.ndarray, "c s n"]:
    z = _numbers("assignments", assignments)
    if z.ndim != 3 or 0 in z.shape:
        raise ValueError(f"assignments must be of shape (chain, draw, n), not {z.shape}")
    return small_labels(z)


def _n_labels(z: Int[np.ndarray, "c s n"]) -> Int[np.ndarray, "c s"]:
    """Different labels in each draw."""
    return (np.diff(np.sort(z, axis=2), axis=2) > 0).sum(2) + 1


def _features(features: Sequence[str] | None, table: Table | None, d: int | None) -> tuple[str, ...]:
    """Names of the features: given, those of the table, or x1, x2, ..."""
    if table is not None and d is not None and len(table.features) != d:
        raise ValueError(f"means have {d} features, and x has the columns {', '.join(table.features)}")
    own = table.features if table is not None else tuple(f"x{j + 1}" for j in range(d or 0))
    if features is None:
        return own
    names = tuple(str(name) for name in features)
    if isinstance(features, str) or len(names) != len(own) or len(set(names)) != len(names):
        raise ValueError(f"features must be {len(own)} different names, not {features!r}")
    return names
