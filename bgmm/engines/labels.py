"""One labelling of each mixture: of the K! points that differ by the names of their components, the one most like a pivot.

Components have features f_k, their own unconstrained coordinates and log w_k. With f0_j and P_j those of the pivot and their
precision there, a point stands in the domain D when among all permutations s the identity has the least

    sum_k (f_k - f0_s(k))' P_s(k) (f_k - f0_s(k)),

so that D holds each mixture once, and an integral over all points is K! times that over D (the Hungarian algorithm finds s;
Papastamoulis 2016 reviews such relabellings). Permuting changes no volume: the Jacobian of stick-breaking is the product of
all weights, alike for each order.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpyro.distributions import biject_to, constraints
from scipy.optimize import linear_sum_assignment

from bgmm.core.gaussian import AnyArray
from bgmm.core.target import Target

_LEAST = 1e-8  # share of the largest variance of a feature that is believed
_FAR = 1e200  # in place of a distance that is no number


class Domain(NamedTuple):
    """The pivot's components: their features, and W_j with W_j W_j' = P_j."""

    alike: tuple[str, ...]  # sites with an axis of components first
    features: Float[np.ndarray, "k f"]
    whiten: Float[np.ndarray, "k f f"]


def domain_about(
    target: Target, alike: tuple[str, ...], z: Float[np.ndarray, " z"], factor: Float[np.ndarray, "z z"]
) -> Domain:
    """The domain whose pivot is the mode z, where the posterior has about the covariance A A' with A the factor."""
    centre, J = (np.asarray(a) for a in _features_and_slopes(target, alike, jnp.asarray(z)))
    JA = J @ factor
    values, vectors = np.linalg.eigh(JA @ np.swapaxes(JA, -1, -2))
    values = np.maximum(values, _LEAST * values.max(-1, keepdims=True))
    return Domain(alike, centre, vectors / np.sqrt(values)[:, None, :])


def relabelling(target: Target, domain: Domain, z: Float[AnyArray, "s z"]) -> Int[np.ndarray, "s k"]:
    """Of each point, which of its components takes the place of each of the pivot's; the identity inside the domain."""
    f = np.asarray(_features(target, domain.alike, jnp.asarray(z)))
    away = np.einsum("skjf,jfg->skjg", f[:, :, None] - domain.features[None, None], domain.whiten)
    cost = np.nan_to_num(np.square(away).sum(-1), nan=_FAR, posinf=_FAR)
    places = np.broadcast_to(np.arange(cost.shape[1]), cost.shape[:2]).copy()
    for s in np.flatnonzero((cost.argmin(2) != places).any(1)):  # the others are where they belong
        places[s] = linear_sum_assignment(cost[s].T)[1]
    return places


def inside(target: Target, domain: Domain, z: Float[AnyArray, "s z"]) -> Bool[np.ndarray, " s"]:
    """Which points lie in the domain."""
    order = relabelling(target, domain, z)
    return (order == np.arange(order.shape[1])).all(1)


def relabelled(
    target: Target, alike: tuple[str, ...], z: Float[AnyArray, " z"], order: Int[np.ndarray, " k"]
) -> Float[np.ndarray, " z"]:
    """The point with its components in another order."""
    return np.asarray(_relabelled(target, alike, jnp.asarray(z), jnp.asarray(order)))


@jax.jit(static_argnames="alike")
def _relabelled(target: Target, alike: tuple[str, ...], z: Float[Array, " z"], order: Int[Array, " k"]) -> Float[Array, " z"]:
    simplex = biject_to(constraints.simplex)
    parts = []
    for name, part in _parts(target, z).items():
        there = part
        if name in alike:
            there = part[order]
        elif name == "weights":
            there = simplex.inv(simplex(part)[order])
        parts.append(there.reshape(-1))
    return jnp.concatenate(parts)


def _parts(target: Target, z: Float[Array, " z"]) -> dict[str, Array]:
    parts, start = {}, 0
    for name, shape in target.layout:
        size = int(np.prod(shape))
        parts[name], start = z[start : start + size].reshape(shape), start + size
    return parts


def _of_point(target: Target, alike: tuple[str, ...], z: Float[Array, " z"]) -> Float[Array, "k f"]:
    k, parts = target.n_components, _parts(target, z)
    log_w = jnp.zeros(1) if k == 1 else jnp.log(biject_to(constraints.simplex)(parts["weights"]))
    return jnp.concatenate([log_w[:, None], *(parts[name].reshape(k, -1) for name in alike)], axis=1)


@jax.jit(static_argnames="alike")
def _features(target: Target, alike: tuple[str, ...], z: Float[Array, "s z"]) -> Float[Array, "s k f"]:
    return jax.vmap(lambda z: _of_point(target, alike, z))(z)


@jax.jit(static_argnames="alike")
def _features_and_slopes(target: Target, alike: tuple[str, ...], z: Float[Array, " z"]):
    def of_point(z):
        return _of_point(target, alike, z)

    return of_point(z), jax.jacfwd(of_point)(z)
