"""Proposals for a component from the statistics of its rows alone: a normal about the mode of p(z | S, h).

Its precision is the Fisher information of the rows, n J'J in whitened coordinates, and the prior's 1 / sd^2. It is a function
of S and h alone, of a fixed number of steps, so that its density can be computed for any z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float

from bgmm.core.factor import LOG_2PI
from bgmm.engines.gibbs.reference import Conditions, component, coordinates, log_density, shrunk


@dataclass(frozen=True)
class Constants:
    """Constants of the search for the mode."""

    moment_steps: int = 4  # towards the rows' mean and covariance, which are far from the prior's median
    scoring_steps: int = 2  # of Fisher scoring towards the mode, with the information of the first
    longest: float = 3.0  # step, in the prior's standard deviations


_CONSTANTS = Constants()


class Normal(NamedTuple):
    """z = centre + M'^-1 noise: precision M M'."""

    centre: Float[Array, " q"]
    M: Float[Array, "q q"]

    def draw(self, *, key: Array) -> Float[Array, " q"]:
        """One draw."""
        noise = jax.random.normal(key, self.centre.shape, self.centre.dtype)
        return self.centre + solve_triangular(self.M.T, noise, lower=False)

    def log_density(self, z: Float[Array, " q"]) -> Float[Array, ""]:
        """log N(z | centre, (M M')^-1)."""
        noise = self.M.T @ (z - self.centre)
        return jnp.log(jnp.diagonal(self.M)).sum() - 0.5 * (noise @ noise + z.size * LOG_2PI)


def laplace_proposal(fixed: Conditions, statistics: Float[Array, " p"]) -> Normal:
    """The normal for a component whose rows have these statistics."""
    target, prior, h = fixed.target, fixed.prior, fixed.h
    n = fixed.inverse_temperature * statistics[0]
    precision = 1 / jnp.square(prior.sd)
    of_rows = shrunk(fixed.reference, statistics)

    def information(z: Float[Array, " q"]) -> tuple[Float[Array, "p q"], Float[Array, "q q"]]:
        """J, and the Cholesky factor of the precision."""
        J = jax.jacfwd(lambda x: coordinates(target, x, h, z))(z)
        return J, jnp.linalg.cholesky(n * J.T @ J + jnp.diag(precision))

    def moved(z, M, slope):
        dz = cho_solve((M, True), slope)
        longest = jnp.max(jnp.abs(dz) / prior.sd)
        dz = dz * jnp.minimum(1.0, _CONSTANTS.longest / jnp.maximum(longest, _CONSTANTS.longest))
        return jnp.where(jnp.isfinite(dz).all(), z + dz, z)

    def to_moments(_, z):
        J, M = information(z)
        return moved(z, M, n * J.T @ of_rows.whitened(component(target, z, h))[0] - precision * (z - prior.centre))

    z = jax.lax.fori_loop(0, _CONSTANTS.moment_steps, to_moments, prior.centre)
    M = information(z)[1]
    score = jax.grad(lambda z: log_density(fixed, z, statistics))
    z = jax.lax.fori_loop(0, _CONSTANTS.scoring_steps, lambda _, z: moved(z, M, score(z)), z)
    M = information(z)[1]
    good = jnp.isfinite(M).all()
    return Normal(jnp.where(good, z, prior.centre), jnp.where(good, M, jnp.diag(jnp.sqrt(precision))))
