"""Mixture distributions for NumPyro programs, built on the one-pass kernel."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from bgmm.core import gaussian, one_pass
from bgmm.core.blocks import stack_rows
from bgmm.core.gaussian import AnyArray, Parameters


class GaussianMixture(Distribution):
    r"""A mixture of K Gaussians, the assignments summed out.

    .. math:: p(x) = \sum_k w_k \, \mathcal N(x \mid \mu_k, L_k L_k^\top)

    Observe it in a NumPyro program and every engine can fit that program.

    :param weights: w, on the simplex, shape (..., K).
    :param means: mu, shape (..., K, D), in the units of the data.
    :param scale_tril: L, lower triangular with positive diagonal, shape (..., K, D, D), in the units of the data.
        A diagonal of standard deviations in one dimension: shape (..., K, 1, 1).
    :raises ValueError: when the shapes do not fit each other.
    """

    arg_constraints = {  # noqa: RUF012 (NumPyro's own declaration)
        "weights": constraints.simplex,
        "means": constraints.independent(constraints.real, 2),
        "scale_tril": constraints.independent(constraints.lower_cholesky, 1),
    }
    support = constraints.real_vector
    reparametrized_params: list[str] = []  # noqa: RUF012

    def __init__(self, weights, means, scale_tril, *, validate_args: bool | None = None):
        weights, means, scale_tril = (jnp.asarray(a) for a in (weights, means, scale_tril))
        k, d = weights.shape[-1:], means.shape[-1:]
        if means.ndim < 2 or means.shape[-2:] != k + d or scale_tril.shape[-3:] != k + d + d:
            raise ValueError(
                "GaussianMixture needs weights (..., K), means (..., K, D) and scale_tril (..., K, D, D), "
                f"not shapes {weights.shape}, {means.shape} and {scale_tril.shape}"
            )
        batch = jnp.broadcast_shapes(weights.shape[:-1], means.shape[:-2], scale_tril.shape[:-3])
        self.weights = jnp.broadcast_to(weights, batch + k)
        self.means = jnp.broadcast_to(means, batch + k + d)
        self.scale_tril = jnp.broadcast_to(scale_tril, batch + k + d + d)
        super().__init__(batch_shape=batch, event_shape=d, validate_args=validate_args)

    @property
    def parameters(self) -> Parameters:
        """The mixture as plain arrays; a weight that underflowed to zero keeps a finite logarithm."""
        tiny = jnp.finfo(self.weights.dtype).tiny
        return Parameters(jnp.log(jnp.maximum(self.weights, tiny)), self.means, self.scale_tril)

    @validate_sample
    def log_prob(self, value: Float[AnyArray, "..."]) -> Float[Array, "..."]:
        """log p(x) of each row of ``value`` (..., D)."""
        shape = jnp.broadcast_shapes(jnp.shape(value)[:-1], self.batch_shape)
        n_sample, batch, d = len(shape) - len(self.batch_shape), self.batch_shape, self.event_shape
        rows = jnp.broadcast_to(jnp.asarray(value), shape + d).reshape(math.prod(shape[:n_sample]), math.prod(batch), *d)
        flat = Parameters(*(a.reshape(-1, *a.shape[len(batch) :]) for a in self.parameters))
        log_p = _log_density(flat, rows)
        return log_p.reshape(shape)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of x: a component by its weight, then a row from it."""
        key_component, key_noise = jax.random.split(key)
        shape = sample_shape + self.batch_shape
        log_w, means, scale_tril = self.parameters
        k = jax.random.categorical(key_component, log_w, shape=shape)
        chosen = jax.nn.one_hot(k, means.shape[-2], dtype=means.dtype)
        noise = jax.random.normal(key_noise, shape + self.event_shape, means.dtype)
        mu = jnp.einsum("...k,...kd->...d", chosen, means)
        return mu + jnp.einsum("...k,...kij,...j->...i", chosen, scale_tril, noise)

    @property
    def mean(self) -> Float[Array, "..."]:
        """E[x]."""
        return jnp.einsum("...k,...kd->...d", self.weights, self.means)

    @property
    def variance(self) -> Float[Array, "..."]:
        """Variance of each coordinate of x."""
        within = jnp.square(self.scale_tril).sum(-1)
        second = jnp.einsum("...k,...kd->...d", self.weights, within + jnp.square(self.means))
        return second - jnp.square(self.mean)


@jax.jit
@partial(jax.vmap, in_axes=(0, 1), out_axes=1)
def _log_density(mixture: Parameters, rows: Float[Array, "n d"]) -> Float[Array, " n"]:
    """log p of each row, about the mixture's own centre so that an offset of the data costs no digits."""
    centre = jax.lax.stop_gradient(mixture.means.mean(0))
    shifted = mixture._replace(means=mixture.means - centre[None])
    blocks = stack_rows(rows - centre[None])
    return one_pass.log_likelihood_places(gaussian.natural(shifted), blocks)[: rows.shape[0]]
