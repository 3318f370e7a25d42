"""What the prior says of a component's unconstrained coordinates, learnt once from draws of it before sampling.

It serves to choose coordinates and proposals, which decide how fast a sampler moves and never what it converges to.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from bgmm.core import gaussian
from bgmm.core.slots import Slots

_DRAWS = 512


class Frame(NamedTuple):
    """Where a component lies a priori, and how much a row of its own says of each coordinate."""

    centre: Float[Array, " q"]  # median of z under the prior
    sd: Float[Array, " q"]  # half of the distance between its 16 % and 84 % points
    information: Float[Array, " q"]  # of one row on each coordinate, at the centre
    mean: Float[Array, " d"]  # of the component at the centre, in the units of the blocks
    mean_covariance: Float[Array, "d d"]  # of that mean under the prior
    covariance: Float[Array, "d d"]  # of the rows of the component at the centre
    shared: Float[Array, " h"]  # median of the hyperparameters
    shared_sd: Float[Array, " h"]


@jax.jit
def make_frame(slots: Slots, *, key: Array) -> Frame:
    """The frame of a model, from draws of its prior."""
    z, h = jax.vmap(lambda key: slots.draw(None, key=key))(jax.random.split(key, _DRAWS))
    (centre, sd), (shared, shared_sd) = _spread(z), _spread(h)
    component = slots.component(centre, shared)
    mixture = slots.parameters(component.mean, component.scale_tril)
    mean, L = mixture.means[0], mixture.scale_tril[0]
    J = jax.jacfwd(lambda z: coordinates(slots, z, shared, centre))(centre)
    of_mean = L @ J[: mean.size] * sd  # the first coordinates are L^-1 mu
    return Frame(centre, sd, jnp.square(J).sum(0), mean, of_mean @ of_mean.T, L @ L.T, shared, shared_sd)


def _spread(draws: Float[Array, "s q"]) -> tuple[Float[Array, " q"], Float[Array, " q"]]:
    low, centre, high = jnp.quantile(draws, jnp.array([0.16, 0.5, 0.84]), axis=0)
    return centre, jnp.clip((high - low) / 2, 1e-3, 1e3)


def coordinates(slots: Slots, z: Float[Array, " q"], h: Float[Array, " h"], origin: Float[Array, " q"]) -> Float[Array, " p"]:
    """Coordinates of the component at z in which a row's Fisher information is the identity at z = ``origin``.

    With mu, L at z, L0 at the origin and B = L0^-1 L: L0^-1 mu, sqrt(2) log diag B and the entries of B below its diagonal
    (``chart`` has the same for whole mixtures).
    """
    here, there = slots.component(z, h), slots.component(origin, h)
    L0 = jax.lax.stop_gradient(there.scale_tril)
    whiten = partial(solve_triangular, L0, lower=True)
    B = whiten(here.scale_tril)
    i, j = np.tril_indices(L0.shape[0], -1)
    return jnp.concatenate([whiten(here.mean), jnp.sqrt(2.0) * jnp.log(jnp.diagonal(B)), B[i, j]])


def shrunk_covariance(frame: Frame, statistics: Float[Array, " p"]) -> Float[Array, "d d"]:
    """(D C0 + n C) / (D + n): the rows' covariance C and as many rows' worth of the prior's C0 as there are features."""
    n, _, covariance = (a[0] for a in gaussian.moments(statistics[None]))
    d = covariance.shape[0]
    n = jnp.maximum(n, 0.0)
    return (d * frame.covariance + jnp.where(n > 0, n * covariance, 0.0)) / (d + n)
