"""Proposals for a component from nothing but the statistics of its rows: a normal about the mode of p(z | S, h).

Its precision is the Fisher information of the rows, J'J in the ``coordinates`` of ``frame``, and the prior's 1 / sd^2. It is a
function of S and h alone, of a fixed number of steps, so that its density can be had for any z.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float

from bgmm.core import gaussian
from bgmm.core.gaussian import LOG_2PI
from bgmm.core.slots import Slots
from bgmm.engines.frame import Frame, coordinates, shrunk_covariance
from bgmm.engines.hmc import log_density

_MATCH = 4  # steps towards the rows' mean and covariance
_CLIMB = 4  # steps of Fisher scoring towards the mode
_LONGEST = 3.0  # of a step, in the prior's standard deviations


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


def independence(
    slots: Slots, frame: Frame, statistics: Float[Array, " p"], h: Float[Array, " h"], power: Float[Array, ""]
) -> Normal:
    """The normal for a component whose rows have these statistics."""
    n = power * statistics[0]
    d = frame.covariance.shape[0]
    prior = 1 / jnp.square(frame.sd)
    mean = jnp.where(n > 0, gaussian.moments(statistics[None])[1][0], 0.0)
    Lh = jnp.linalg.cholesky(shrunk_covariance(frame, statistics))
    i, j = np.tril_indices(d, -1)

    def towards_moments(z):
        """The rows' mean and covariance in the coordinates about z."""
        component = slots.component(z, h)
        mixture = slots.parameters(component.mean, component.scale_tril)
        whiten = partial(solve_triangular, mixture.scale_tril[0], lower=True)
        B = whiten(Lh)
        return jnp.concatenate([whiten(mean - mixture.means[0]), jnp.sqrt(2.0) * jnp.log(jnp.diagonal(B)), B[i, j]])

    def step(t, carry):
        """One step, and the precision at the point that it starts from."""
        z, _ = carry
        J = jax.jacfwd(lambda x: coordinates(slots, x, h, z))(z)
        M = jnp.linalg.cholesky(n * J.T @ J + jnp.diag(prior))
        to_match = n * J.T @ towards_moments(z) - prior * (z - frame.centre)
        to_climb = jax.grad(lambda z: log_density(slots, z, h, statistics, power))(z)
        dz = cho_solve((M, True), jnp.where(t < _MATCH, to_match, to_climb))
        longest = jnp.max(jnp.abs(dz) / frame.sd)
        dz = dz * jnp.minimum(1.0, _LONGEST / jnp.maximum(longest, _LONGEST))
        moving = jnp.isfinite(dz).all() & (t < _MATCH + _CLIMB)
        return jnp.where(moving, z + dz, z), M

    start = (frame.centre, jnp.diag(jnp.sqrt(prior)))
    z, M = jax.lax.fori_loop(0, _MATCH + _CLIMB + 1, step, start)
    good = jnp.isfinite(M).all()
    return Normal(jnp.where(good, z, frame.centre), jnp.where(good, M, start[1]))
