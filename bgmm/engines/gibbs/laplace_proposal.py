"""Proposals for a component from the statistics of its rows alone: a normal about the mode of p(z | S, h).

Its precision is the Fisher information of the rows, n J'J in whitened coordinates, and the prior's 1 / sd^2. It is a function
of S and h alone, so that its density can be computed for any z. The search begins where the family places the rows' moments, or
at the prior's median.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float

from bgmm.core import hmc
from bgmm.core.factor import LOG_2PI
from bgmm.engines.gibbs.reference import Conditions, component, jacobian, log_density, one, shrunk


@dataclass(frozen=True)
class Constants:
    """Constants of the search for the mode."""

    moment_steps: int = 12  # at most, towards the rows' mean and covariance, where the first place is far from them
    near: float = 3.0  # squared length of the step that is the last of these, in standard deviations of the normal
    scoring_steps: int = 3  # of Fisher scoring towards the mode, with the information where the others ended
    shorter: float = 0.4  # the next step, where one led downwards
    longest: float = 3.0  # step, in the prior's standard deviations


CONSTANTS = Constants()


class Normal(NamedTuple):
    """z = centre + M'^-1 noise: precision M M'."""

    centre: Float[Array, " q"]
    M: Float[Array, "q q"]

    def draw(self, *, key: Array) -> Float[Array, " q"]:
        """One draw."""
        noise = jax.random.normal(key, self.centre.shape, self.centre.dtype)
        return self.centre + self.whitening().onto(noise)

    def whitening(self) -> hmc.Whitening:
        """M'^-1."""
        return hmc.Whitening(partial(solve_triangular, self.M.T, lower=False), partial(solve_triangular, self.M, lower=True))

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

    def precision_root(J: Float[Array, "p q"]) -> Float[Array, "q q"]:
        return jnp.linalg.cholesky(n * J.T @ J + jnp.diag(precision))

    def bounded(dz):
        longest = jnp.max(jnp.abs(dz) / prior.sd)
        return dz * (CONSTANTS.longest / jnp.maximum(longest, CONSTANTS.longest))

    def step_at(z, J):
        """M, the step of scoring from z, and its squared length in standard deviations of the normal."""
        M = precision_root(J)
        slope = n * J.T @ of_rows.whitened(component(target, z, h))[0] - precision * (z - prior.centre)
        dz = cho_solve((M, True), slope)
        return M, dz, slope @ dz

    def to_moments(carry):
        i, z, _, dz, _ = carry
        z = jnp.where(jnp.isfinite(dz).all(), z + bounded(dz), z)
        return i + 1, z, *step_at(z, jacobian(target, z, h))

    def is_far(carry):
        i, *_, squared_length = carry
        return (i < CONSTANTS.moment_steps) & (squared_length > CONSTANTS.near)

    near = target.component_near(of_rows.means[0], one(of_rows).covariance(), h)
    if near is None:
        first, J = prior.centre, fixed.reference.jacobian
    else:
        first = jnp.where(jnp.isfinite(near).all(), near, prior.centre)
        J = jacobian(target, first, h)
    _, z, M, _, _ = jax.lax.while_loop(is_far, to_moments, (0, first, *step_at(first, J)))
    value_and_slope = jax.value_and_grad(lambda z: log_density(fixed, z, statistics))

    def to_mode(_, now):
        z, value, slope, size = now
        moved = z + size * bounded(cho_solve((M, True), slope))
        new = (moved, *value_and_slope(moved), jnp.ones(()))
        return jax.tree.map(partial(jnp.where, new[1] > value), new, (z, value, slope, CONSTANTS.shorter * size))

    start = (z, jnp.array(-jnp.inf), jnp.zeros_like(z), jnp.ones(()))  # the first step goes nowhere, and finds the slope
    z = jax.lax.fori_loop(0, 1 + CONSTANTS.scoring_steps, to_mode, start)[0]
    good = jnp.isfinite(M).all() & jnp.isfinite(z).all()
    return Normal(jnp.where(good, z, prior.centre), jnp.where(good, M, jnp.diag(jnp.sqrt(precision))))
