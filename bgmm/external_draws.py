"""Convert posterior draws of another program (Stan, PyMC, R) to a tree: the function ``from_draws``.

The module has another name than the function, because a module ``bgmm.from_draws`` would hide the function ``bgmm.from_draws``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bgmm.core.checks import random_key
from bgmm.core.components import Mixture
from bgmm.core.dense import Dense
from bgmm.core.gaussians import Gaussians
from bgmm.core.options import named_options
from bgmm.core.precision import in_float64
from bgmm.data.source import check_name
from bgmm.data.table import Table, as_table
from bgmm.posterior.assignments import small_labels
from bgmm.posterior.evaluate import evaluation, occupied
from bgmm.tree.build import dataset, observed_group, variables_of, with_labels

_TOLERANCE = 1e-4  # of the sum of weights and of symmetry: draws may be in single precision, or printed numbers
_DRAWS = ("chain", "draw")


@named_options()
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
    """A tree from draws of mixtures, of assignments, or of both, which the functions of bgmm accept like the tree of a fit.

    Where the number of components varies between draws, K is the largest number, and a component that a draw lacks has weight
    zero (its mean and covariance are ignored). The mixtures are then in the group ``components``, the posterior holds
    ``n_components``, and ``relabel`` adds the clusters.

    :param weights: mixing weights (chain, draw, K), which sum to one in each draw.
    :param means: (chain, draw, K, D), or (chain, draw, K) for one feature.
    :param covariances: (chain, draw, K, D, D), or the variances (chain, draw, K) for one feature.
    :param x: the rows (n, D) that were fitted, in the units of the draws. The tree then holds the number of occupied
        components, from assignments drawn with ``seed``, and ``membership``, ``partition`` and ``log_density`` use these rows
        by default.
    :param features: names of the features; by default those of ``x``.
    :param assignments: labels (chain, draw, n), whole numbers. Without the mixtures they suffice for ``partition``,
        ``co_clustering``, ``relabel``, and the ``membership`` of the fitted rows.
    :param seed: an integer or a JAX key.
    :raises ValueError: when an array is invalid; the sentence names the array, the chain, the draw and the component.
    """
    arrays = {"weights": weights, "means": means, "covariances": covariances}
    arrays = {name: _numbers(name, array) for name, array in arrays.items() if array is not None}
    if 0 < len(arrays) < 3 or (not arrays and assignments is None):
        received = f", not only {' and '.join(arrays)}" if arrays else ""
        raise ValueError(f"give weights, means and covariances, or assignments{received}")
    z = None if assignments is None else _whole_numbers(assignments)
    table = None if x is None else as_table(x, fitting=False)
    mixture = _mixture(**arrays) if arrays else None
    names = _features(features, table, None if mixture is None else mixture.components.n_features)
    if mixture is not None and z is not None and z.shape[:2] != mixture.log_weights.shape[:2]:
        raise ValueError(f"weights have {mixture.log_weights.shape[:2]} chains and draws, and assignments {z.shape[:2]}")
    if table is not None and z is not None and z.shape[2] != len(table.values):
        raise ValueError(f"assignments are of {z.shape[2]} rows, and x has {len(table.values)}")

    groups: dict[str, xr.Dataset] = {}
    if table is not None:
        groups["observed_data"] = observed_group(names, table.values, table.labels)
    labels = None if table is None or z is None else table.labels  # of the rows that are assigned
    stats: dict[str, Any] = {}
    if z is not None:
        stats = {"assignments": ((*_DRAWS, "observation"), z), "n_occupied": (_DRAWS, _n_labels(z))}
    if mixture is None:
        groups["posterior"] = xr.Dataset({"n_occupied": stats["n_occupied"]})
        return xr.DataTree.from_dict(groups | {"sample_stats": with_labels(xr.Dataset(stats), labels)})

    variables, dims = variables_of(mixture)
    draws = dataset(variables, dims, names)
    occupied_in_draw = exists = variables["weights"] > 0
    if table is not None:
        inputs = evaluation(xr.DataTree.from_dict(groups | {"posterior": draws}))
        occupied_in_draw = occupied(inputs, key=random_key(seed)).reshape(exists.shape) & exists
        stats = {"n_occupied": (_DRAWS, occupied_in_draw.sum(2))} | stats
    if exists.all():
        groups["posterior"] = draws
    else:
        stats["occupied"] = ((*_DRAWS, "cluster"), occupied_in_draw)
        counts = {"n_components": exists.sum(2)} | {name: stats[name][1] for name in ("n_occupied",) if name in stats}
        groups |= {"posterior": dataset(counts, {}, names), "components": draws}
    return xr.DataTree.from_dict(groups | ({"sample_stats": with_labels(xr.Dataset(stats), labels)} if stats else {}))


def _numbers(name: str, array) -> Float[np.ndarray, "..."]:
    """An array in float64, or an error that names it."""
    try:
        return np.asarray(array, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, with equal lengths for all draws") from None


def _mixture(
    weights: Float[np.ndarray, "..."], means: Float[np.ndarray, "..."], covariances: Float[np.ndarray, "..."]
) -> Mixture:
    """The checked mixtures; components that a draw lacks get an average mean and covariance."""
    w, mu, sigma = weights, means, covariances
    mu, sigma = mu[..., None] if mu.ndim == 3 else mu, sigma[..., None, None] if sigma.ndim == 3 else sigma
    if w.ndim != 3 or 0 in w.shape or mu.shape[:-1] != w.shape or mu.ndim != 4 or sigma.shape != (*mu.shape, mu.shape[-1]):
        raise ValueError(
            "from_draws needs weights (chain, draw, K), means (chain, draw, K, D) and covariances (chain, draw, K, D, D), "
            f"not shapes {weights.shape}, {means.shape} and {covariances.shape}"
        )
    exists = w != 0
    _check("weights of {where} must be finite and not negative", np.isfinite(w) & (w >= 0))
    _check("weights of {where} must sum to one", np.abs(w.sum(2) - 1) <= _TOLERANCE)
    _check("means of {where} must be finite", np.isfinite(mu).all(3) | ~exists)
    _check("covariances of {where} must be finite", np.isfinite(sigma).all((3, 4)) | ~exists)
    sigma = np.where(exists[..., None, None], sigma, np.eye(mu.shape[3]) * np.diagonal(sigma[exists].mean(0)))
    mu = np.where(exists[..., None], mu, mu[exists].mean(0))
    flipped = np.swapaxes(sigma, 3, 4)
    skew = np.abs(sigma - flipped) <= _TOLERANCE * np.abs(np.diagonal(sigma, axis1=3, axis2=4)).max(3)[..., None, None]
    _check("covariances of {where} must be symmetric", skew.all((3, 4)))
    sigma = (sigma + flipped) / 2
    _check("covariances of {where} must be positive definite", np.linalg.eigvalsh(sigma).min(3) > 0)
    with np.errstate(divide="ignore"):
        return Mixture(np.log(w / w.sum(2, keepdims=True)), Gaussians(mu, Dense(np.linalg.cholesky(sigma))))


def _check(sentence: str, valid: np.ndarray) -> None:
    """Raise an error with the first chain, draw and component that is not valid."""
    if not valid.all():
        indices = zip(("chain", "draw", "component"), np.argwhere(~valid)[0].tolist(), strict=False)
        raise ValueError(sentence.format(where=", ".join(f"{name} {index}" for name, index in indices)))


def _whole_numbers(assignments) -> Int[np.ndarray, "c s n"]:
    """The checked assignments as small whole numbers from 0."""
    z = _numbers("assignments", assignments)
    if z.ndim != 3 or 0 in z.shape:
        raise ValueError(f"assignments must be of shape (chain, draw, n), not {z.shape}")
    return small_labels(z)


def _n_labels(z: Int[np.ndarray, "c s n"]) -> Int[np.ndarray, "c s"]:
    """The number of different labels in each draw."""
    return (np.diff(np.sort(z, axis=2), axis=2) > 0).sum(2) + 1


def _features(features: Sequence[str] | None, table: Table | None, d: int | None) -> tuple[str, ...]:
    """Names of the features: ``features``, or those of the table, or x1, x2, ..."""
    if table is not None and d is not None and len(table.features) != d:
        raise ValueError(f"means have {d} features, and x has the columns {', '.join(table.features)}")
    default = table.features if table is not None else tuple(f"x{j + 1}" for j in range(d or 0))
    if features is None:
        return default
    names = tuple(str(name) for name in features)
    if isinstance(features, str) or len(names) != len(default) or len(set(names)) != len(names):
        raise ValueError(f"features must be {len(default)} different names, not {features!r}")
    for name in names:
        check_name(f"feature {name!r}", name)
    return names
