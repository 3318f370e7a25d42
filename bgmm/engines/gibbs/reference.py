"""Prior medians and spreads of the unconstrained coordinates of a component, estimated from prior draws before sampling.

It serves to choose coordinates and proposals, which decide how fast a sampler moves and never what it converges to.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bgmm.core.components import Components
from bgmm.core.factor import Factor
from bgmm.core.gaussians import Gaussians, Linear
from bgmm.core.in_memory import InMemory
from bgmm.core.one_off import one_off
from bgmm.program.target import Target

_DRAWS = 512


class Reference(NamedTuple):
    """A component at the prior's median, given what the components share, in the units of the rows."""

    origin: Gaussians  # one component
    jacobian: Float[Array, "p q"]  # of its coordinates
    information: Float[Array, " q"]  # of one row on each coordinate of z
    mean_variances: Float[Array, " d"]  # of the component's mean under the prior


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PriorSummary:
    """Medians and spreads of the prior, in the unconstrained coordinates of a component and of what all share."""

    centre: Float[Array, " q"]
    sd: Float[Array, " q"]  # half of the distance between the 16 % and 84 % points
    shared: Float[Array, " h"]
    shared_sd: Float[Array, " h"]
    reference: Reference  # at ``shared``
    mean_at: int | None = field(metadata={"static": True})  # first of the coordinates of z that are the mean itself, if any


class Conditions(NamedTuple):
    """What is held fixed while components are moved and partitions changed."""

    target: Target
    prior: PriorSummary
    reference: Reference  # given h
    h: Float[Array, " h"]  # what all components share
    inverse_temperature: Float[Array, ""]  # exponent of the likelihood

    @property
    def rows(self) -> InMemory:
        """The rows, which Gibbs needs in memory."""
        assert isinstance(self.target.rows, InMemory)
        return self.target.rows


def summarise_prior(target: Target, *, key: Array) -> PriorSummary:
    """The summary of a target's prior, from draws of it."""
    summary, is_mean = _summarise(target, key)
    is_mean = np.asarray(is_mean)
    return replace(summary, mean_at=int(is_mean.argmax()) if is_mean.any() else None)


@one_off
def _summarise(target: Target, key: Array) -> tuple[PriorSummary, Bool[Array, " places"]]:
    z, h = jax.vmap(lambda key: target.draw_component(None, key=key))(jax.random.split(key, _DRAWS))
    (centre, sd), (shared, shared_sd) = _spread(z), _spread(h)
    reference = _reference_at(target, centre, sd, shared)
    return PriorSummary(centre, sd, shared, shared_sd, reference, None), _is_mean(target)


def _spread(draws: Float[Array, "s q"]) -> tuple[Float[Array, " q"], Float[Array, " q"]]:
    low, centre, high = jnp.quantile(draws, jnp.array([0.16, 0.5, 0.84]), axis=0)
    return centre, jnp.clip((high - low) / 2, 1e-3, 1e3)


def _is_mean(target: Target) -> Bool[Array, " places"]:
    """From which place on d coordinates of z are the mean in the program's units, by two arbitrary points."""
    rng = np.random.default_rng(0)
    z = jnp.asarray(0.3 * rng.normal(size=(2, target.n_dim_component)))
    h = jnp.asarray(0.3 * rng.normal(size=target.n_dim_shared))
    d = target.rows.n_features
    means = target.in_program_units(jnp.concatenate([component(target, one, h).means for one in z]))
    places = [jnp.allclose(z[:, at : at + d], means) for at in range(max(target.n_dim_component - d, 0) + 1)]
    return jnp.stack(places)


def reference_at(target: Target, prior: PriorSummary, h: Float[Array, " h"]) -> Reference:
    """The reference given h."""
    return _reference_at(target, prior.centre, prior.sd, h) if target.n_dim_shared else prior.reference


def conditions_at(
    target: Target, prior: PriorSummary, h: Float[Array, " h"], inverse_temperature: Float[Array, ""]
) -> Conditions:
    """The conditions given h."""
    return Conditions(target, prior, reference_at(target, prior, h), h, inverse_temperature)


def _reference_at(target: Target, centre: Float[Array, " q"], sd: Float[Array, " q"], h: Float[Array, " h"]) -> Reference:
    origin = component(target, centre, h)
    J = jacobian(target, centre, h)
    factor, d = one(origin), origin.n_features
    of_mean = jax.vmap(factor.colour, in_axes=1, out_axes=1)(J[:d] * sd[None])  # the first coordinates are L^-1 mu
    return Reference(origin, J, jnp.square(J).sum(0), jnp.square(of_mean).sum(1))


def component(target: Target, z: Float[Array, " q"], h: Float[Array, " h"]) -> Gaussians:
    """The component at (z, h), which Gibbs needs to be Gaussian."""
    components = target.component(z, h).components
    assert isinstance(components, Gaussians)
    return components


def one(components: Gaussians) -> Factor:
    """The factor of one component."""
    return jax.tree.map(lambda a: a[0], components.factor)


def joined(each: Components) -> Gaussians:
    """Components along a first axis, one in each place, as Gaussians of that axis; a shared factor is that of the first."""
    assert isinstance(each, Gaussians)
    factor = jax.tree.map(lambda a: a[:1, 0] if each.tied else a[:, 0], each.factor)
    return Gaussians(each.means[:, 0], factor, each.tied)


def jacobian(target: Target, z: Float[Array, " q"], h: Float[Array, " h"]) -> Float[Array, "p q"]:
    """Of the coordinates of the component at z in which the Fisher information of a row is J'J."""
    origin = component(target, z, h)
    return jax.jacfwd(lambda z: component(target, z, h).whitened(origin)[0])(z)


def log_density(fixed: Conditions, z: Float[Array, " q"], statistics: Float[Array, " p"]) -> Float[Array, ""]:
    """log p(z | h) + inverse temperature * <S, eta(z, h)>: of one component, given its rows."""
    found = fixed.target.component(z, fixed.h)
    natural = found.components.natural(jnp.zeros(1))
    assert isinstance(natural, Linear)
    return found.log_density + fixed.inverse_temperature * jnp.vdot(statistics, natural.eta[0])


def shrunk(reference: Reference, statistics: Float[Array, " p"]) -> Gaussians:
    """The component of rows with these statistics: their mean, and (m C0 + n C) / (m + n) for their covariance C.

    C0 is the prior's covariance, with the weight of as many rows as a covariance takes to be determined. A covariance that all
    components share is the prior's.
    """
    origin, factor = reference.origin, one(reference.origin)
    n, mean, covariance = factor.moments(statistics)
    n = jnp.maximum(n, 0.0)
    means = jnp.where(n > 0, mean, origin.means[0])[None]
    if origin.tied:
        return replace(origin, means=means)
    m = factor.least_rows(origin.n_features)
    mixed = (m * factor.covariance() + jnp.where(n > 0, n * covariance, 0.0)) / (m + n)
    return Gaussians(means, jax.tree.map(lambda a: a[None], factor.of_covariance(mixed)))
