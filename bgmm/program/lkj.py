"""Cholesky factors of LKJ correlation matrices, sampled without gamma variates, which take seconds to compile."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import LKJCholesky
from numpyro.distributions.util import signed_stick_breaking_tril


class LKJ(LKJCholesky):
    """NumPyro's LKJCholesky with another sampling method.

    A partial correlation on the C-vine is distributed as 2 Beta(b, b) - 1 (Lewandowski, Kurowicka and Joe 2009, section 2.4).
    That is the distribution of T / sqrt(nu + T^2), where T has Student's t distribution with nu = 2 b degrees of freedom. T is
    sqrt(nu (U^(-2 / nu) - 1)) cos(2 pi V) for independent uniforms U and V (Bailey 1994).
    """

    def __init__(self, dimension: int, concentration=1.0, *, validate_args: bool | None = None):
        super().__init__(dimension, concentration, sample_method="cvine", validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of the Cholesky factor."""
        nu = 2 * self._beta.concentration1
        key_radius, key_angle = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape, nu.shape[-1])
        radius = jnp.expm1(-2 / nu * jnp.log(jax.random.uniform(key_radius, shape, minval=1e-300)))
        t = jnp.sqrt(radius) * jnp.cos(2 * jnp.pi * jax.random.uniform(key_angle, shape))
        return signed_stick_breaking_tril(t / jnp.sqrt(1 + jnp.square(t)))
