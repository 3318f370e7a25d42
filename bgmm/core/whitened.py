"""Coordinates in which the complete-data information, what the rows would say were their assignments known, is the identity.

In them a posterior is about round, and a step along the gradient is about a step of EM (Xu and Jordan 1996; Lange 1995): what
is left for an optimiser to learn is the overlap of the components. About a mixture with n_k expected rows in component k they
are sqrt(n_k) (log w_k - log w0_k) and sqrt(n_k) times the component's own (``Components.whitened``).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bgmm.core.components import Mixture
from bgmm.core.dense import inverse_root
from bgmm.core.gaussians import Gaussians

_DENSE = 2048  # parameters up to which the information is taken with its cross terms


def coordinates(mixture: Mixture, origin: Mixture, counts: Float[Array, " k"]) -> Float[Array, " c"]:
    """The coordinates of ``mixture`` about ``origin``, whose components expect ``counts`` rows."""
    root = jnp.sqrt(jnp.maximum(counts, 1.0))[:, None]
    log_w = (mixture.log_weights - jax.lax.stop_gradient(origin.log_weights))[:, None]
    return (root * jnp.concatenate([log_w, mixture.components.whitened(origin.components)], axis=1)).reshape(-1)


def displaced(origin: Mixture, counts: Float[Array, " k"]) -> tuple[int, Callable[[Float[Array, " c"]], Mixture]]:
    """How many coordinates Gaussians about ``origin`` have, and the mixture at some: inverse of ``coordinates`` near zero.

    A shared factor has one set of coordinates, which all rows inform.
    """
    g = origin.components
    assert isinstance(g, Gaussians)
    (k, d), n_factors = g.means.shape, 1 if g.tied else g.means.shape[0]
    r = g.factor.n_relative(d)
    root = jnp.sqrt(jnp.maximum(counts, 1.0))
    root_factor = jnp.sqrt(jnp.maximum(counts.sum(keepdims=True), 1.0)) if g.tied else root

    def mixture_at(u: Float[Array, " c"]) -> Mixture:
        of_component = u[: k * (1 + d)].reshape(k, 1 + d) / root[:, None]
        of_factor = u[k * (1 + d) :].reshape(n_factors, r) / root_factor[:, None]
        means = g.means + jax.vmap(lambda factor, m: factor.colour(m))(g.factors, of_component[:, 1:])
        factor = jax.vmap(lambda factor, u: factor.displaced(u, d))(g.factor, of_factor)
        return Mixture(jax.nn.log_softmax(origin.log_weights + of_component[:, 0]), Gaussians(means, factor, g.tied))

    return k * (1 + d) + n_factors * r, mixture_at


def whitening(
    mixture_at: Callable[[Float[Array, " z"]], Mixture], z: Float[Array, " z"], n: Float[Array, ""]
) -> Float[Array, "z *z"]:
    """A with A A' = (J'J + I)^-1: J the derivative of the coordinates of the mixture at z of n rows, I for the priors.

    Where z is long, of the diagonal of J'J alone.
    """
    origin = mixture_at(z)
    counts = n * jnp.exp(origin.log_weights)

    def of_mixture(z):
        return coordinates(mixture_at(z), origin, counts)

    if z.size > _DENSE:

        def information(i):
            return jnp.square(jax.jvp(of_mixture, (z,), (jnp.zeros_like(z).at[i].set(1.0),))[1]).sum()

        return 1 / jnp.sqrt(1 + jax.lax.map(information, jnp.arange(z.size), batch_size=64))
    J = jax.jacfwd(of_mixture)(z)
    return inverse_root(J.T @ J + jnp.eye(z.size))
