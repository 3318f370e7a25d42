"""One labelling of each mixture: of the K! points that differ in the order of their components, the one closest to a pivot.

Let f_k be the coordinates of component k: its unconstrained parameters and log w_k. The pivot has coordinates f0_j and
precisions P_j. A point is in the domain D if among all permutations s the identity minimises

    sum_k (f_k - f0_s(k))' P_s(k) (f_k - f0_s(k)).

D contains one of the K! orders of each mixture, so an integral over all points is K! times the integral over D. The Hungarian
algorithm finds s; Papastamoulis (2016) reviews such relabelling algorithms. A permutation preserves volume in unconstrained
coordinates: the Jacobian of stick-breaking is the product of all weights, which does not depend on their order.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from bgmm.core.factor import AnyArray
from bgmm.program.exchangeable import by_component, permuted
from bgmm.program.target import Target
from bgmm.program.trace import unpack

_MIN_VARIANCE = 1e-8  # variances of a component's coordinates are at least this share of the largest: P stays finite
_INFINITE = 1e200  # cost in the place of NaN or infinity, which the Hungarian algorithm does not accept


class Domain(NamedTuple):
    """The domain D: the coordinates of the pivot's components, and matrices W_j with W_j W_j' = P_j."""

    coordinates: Float[np.ndarray, "k f"]
    whitening: Float[np.ndarray, "k f f"]


def domain_around(target: Target, z: Float[np.ndarray, " z"], factor: Float[np.ndarray, "z z"]) -> Domain:
    """The domain whose pivot is the mode z; near z the posterior has about the covariance A A', with A the ``factor``."""
    centre, J = (np.asarray(a) for a in _coordinates_and_jacobian(target, jnp.asarray(z)))
    JA = J @ factor
    variances, vectors = np.linalg.eigh(JA @ np.swapaxes(JA, -1, -2))
    variances = np.maximum(variances, _MIN_VARIANCE * variances.max(-1, keepdims=True))
    return Domain(centre, vectors / np.sqrt(variances)[:, None, :])


def permutations_into(target: Target, domain: Domain, z: Float[AnyArray, "s z"]) -> Int[np.ndarray, "s k"]:
    """For each point the permutation of its components that takes it into the domain; the identity inside."""
    f = np.asarray(_coordinates(target, jnp.asarray(z)))
    whitened = np.einsum("skjf,jfg->skjg", f[:, :, None] - domain.coordinates[None, None], domain.whitening)
    cost = np.nan_to_num(np.square(whitened).sum(-1), nan=_INFINITE, posinf=_INFINITE)
    orders = np.broadcast_to(np.arange(cost.shape[1]), cost.shape[:2]).copy()
    for s in np.flatnonzero((cost.argmin(2) != orders).any(1)):  # otherwise the identity is the minimum
        orders[s] = linear_sum_assignment(cost[s].T)[1]
    return orders


def in_domain(target: Target, domain: Domain | None, z: Float[AnyArray, "s z"]) -> Bool[np.ndarray, " s"]:
    """Whether each point is in the domain; None is the whole space."""
    if domain is None:
        return np.ones(len(z), bool)
    orders = permutations_into(target, domain, z)
    return (orders == np.arange(orders.shape[1])).all(1)


def permute(
    target: Target, z: Float[AnyArray, " z"], order: Int[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, " z"], Float[np.ndarray, "z z"]]:
    """The point with its components permuted, component k of it being component ``order[k]`` of ``z``; and the Jacobian there.

    The Jacobian takes the covariance about a mode to that about the permuted mode.
    """
    moved, J = _permute_with_jacobian(target, jnp.asarray(z), jnp.asarray(order))
    return np.asarray(moved), np.asarray(J)


@jax.jit
def _permute_with_jacobian(target: Target, z: Float[Array, " z"], order: Int[Array, " k"]):
    return permuted(target, z, order), jax.jacfwd(lambda z: permuted(target, z, order))(z)


@jax.jit
def permute_each(target: Target, z: Float[Array, "s z"], order: Int[Array, "s k"]) -> Float[Array, "s z"]:
    """Each point with its components permuted by its own order."""
    return jax.vmap(lambda z, order: permuted(target, z, order))(z, order)


def _coordinates_of_point(target: Target, z: Float[Array, " z"]) -> Float[Array, "k f"]:
    """f_k of every component: its unconstrained parameters, and log w_k."""
    parts = unpack(target.layout, z)
    return jnp.concatenate([by_component(parts[name], target.n_components) for name in target.exchangeable], axis=1)


@jax.jit
def _coordinates(target: Target, z: Float[Array, "s z"]) -> Float[Array, "s k f"]:
    return jax.vmap(lambda z: _coordinates_of_point(target, z))(z)


@jax.jit
def _coordinates_and_jacobian(target: Target, z: Float[Array, " z"]):
    def of_point(z):
        return _coordinates_of_point(target, z)

    return of_point(z), jax.jacfwd(of_point)(z)
