"""Which sites follow the order of the components: permuting them permutes the mixture, and leaves the prior density as it is.

A declared mixture says so itself. Of another program, sites whose unconstrained values have an axis of K, or of K - 1 on a
simplex, may follow the order; of all sets of them, the largest counts whose permutation is seen to be a symmetry at some point.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpyro.distributions import biject_to, constraints

from bgmm.core.factor import AnyArray
from bgmm.core.one_off import one_off
from bgmm.program.target import Target
from bgmm.program.trace import unpack

_MOST_SITES = 6  # of which every set is tried


def exchangeable_sites(target: Target) -> tuple[str, ...]:
    """Names of the sites that follow the order of the components; none where another order changes the posterior."""
    k = target.n_components
    if k == 1 or target.discrete:
        return ()
    if target.model is not None:
        alike = not target.not_alike and target.weights_prior.exchangeable
        return (*(name for name, _ in target.component_sites), "weights") if alike else ()
    names = _candidates(target)
    if not names or len(names) > _MOST_SITES:
        return ()
    sets = np.array(sorted(product((True, False), repeat=len(names)), key=sum, reverse=True)[:-1])
    chosen = sets[np.asarray(_are_symmetries(target, sets))]
    return tuple(name for name, one in zip(names, chosen[0], strict=True) if one) if len(chosen) else ()


def _candidates(target: Target) -> list[str]:
    """Sites of another program that may follow the order, by their shapes."""
    k = target.n_components
    return [name for name, shape in target.layout if shape[:1] == (k,) or shape == (k - 1,)]


def permuted(
    target: Target, z: Float[AnyArray, " z"], order: Int[AnyArray, " k"], names: Sequence[str] | None = None
) -> Float[Array, " z"]:
    """The point with its components permuted: component k of it is component ``order[k]`` of ``z``.

    :param names: the sites that follow the order, by default those of the target.
    """
    names = target.exchangeable if names is None else names
    parts = []
    for name, part in unpack(target.layout, jnp.asarray(z)).items():
        parts.append((_reordered(part, order) if name in names else part).reshape(-1))
    return jnp.concatenate(parts)


def by_component(part: Float[Array, "..."], k: int) -> Float[Array, "k f"]:
    """The unconstrained value of a site that follows the order, component by component: log weights for a simplex."""
    if part.shape == (k - 1,):
        return jnp.log(biject_to(constraints.simplex)(part))[:, None]
    return part.reshape(k, -1)


def _reordered(part: Float[Array, "..."], order: Int[AnyArray, " k"]) -> Float[Array, "..."]:
    simplex = biject_to(constraints.simplex)
    return simplex.inv(simplex(part)[order]) if part.shape == (len(order) - 1,) else part[order]


@one_off
def _are_symmetries(target: Target, sets: Bool[Array, "s sites"]) -> Bool[Array, " s"]:
    """Of each set of sites, whether a swap and a cycle of components, which generate all orders, are symmetries."""
    k, rng = target.n_components, np.random.default_rng(0)
    z = jnp.asarray(0.3 * rng.normal(size=target.n_dim))
    grid = jnp.asarray(rng.normal(size=(target.rows.n_features, 5)))
    orders = jnp.asarray(np.stack([np.roll(np.arange(k), 1), np.concatenate([[1, 0], np.arange(2, k)])]))
    names = _candidates(target)

    def at(z):
        traced = target.trace(z)
        mixture = target.in_rows_units(traced.mixture)
        return traced.log_prior + traced.log_jacobian, mixture.natural().log_joint(grid)

    log_p, joint = at(z)

    def is_symmetry(chosen):
        def of_order(order):
            moved = z
            for one, name in zip(chosen, names, strict=True):
                moved = jnp.where(one, permuted(target, moved, order, [name]), moved)
            moved_log_p, moved_joint = at(moved)
            return jnp.isclose(moved_log_p, log_p) & jnp.allclose(moved_joint, joint[order])

        return jax.vmap(of_order)(orders).all()

    return jax.lax.map(is_symmetry, sets)
