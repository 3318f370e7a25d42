"""Mixture distributions that NumPyro programs observe, built on the one-pass kernel."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from bgmm.core import kernel
from bgmm.core.components import Components, Mixture
from bgmm.core.dense import Dense
from bgmm.core.factor import AnyArray
from bgmm.core.gaussians import Gaussians
from bgmm.core.in_memory import stacked


class ComponentMixture(Distribution):
    r"""A mixture of components of any family, the assignments summed out.

    .. math:: p(x) = \sum_k w_k \, p(x \mid \text{component } k)

    Observe it in a NumPyro program and the engines can fit that program.

    :param weights: w, on the simplex, shape (..., K).
    :param components: K components (``bgmm.Components``), whose arrays have the same leading axes, if any.
    """

    arg_constraints = {"weights": constraints.simplex}  # noqa: RUF012 (NumPyro's own declaration)
    support = constraints.real_vector
    reparametrized_params: list[str] = []  # noqa: RUF012
    pytree_data_fields = ("components",)

    def __init__(self, weights, components: Components, *, validate_args: bool | None = None):
        if not isinstance(components, Components):
            raise ValueError(
                "a mixture needs bgmm.Components, such as bgmm.Gaussians.dense(means, scale_tril), "
                f"not {type(components).__name__}; a family's declare must return them"
            )
        self.weights, self.components = jnp.asarray(weights), components
        super().__init__(self.weights.shape[:-1], (components.n_features,), validate_args=validate_args)

    @property
    def mixture(self) -> Mixture:
        """Log weights and components; a weight that underflowed to zero keeps a finite logarithm."""
        tiny = jnp.finfo(self.weights.dtype).tiny
        return Mixture(jnp.log(jnp.maximum(self.weights, tiny)), self.components)

    @property
    def _flat(self) -> Mixture:
        """The mixtures of the batch along one axis."""
        n_leading = len(self.batch_shape)
        return jax.tree.map(lambda a: jnp.asarray(a).reshape(-1, *a.shape[n_leading:]), self.mixture)

    @validate_sample
    def log_prob(self, value: Float[AnyArray, "..."]) -> Float[Array, "..."]:
        """log p(x) of each row of ``value`` (..., D)."""
        shape = jnp.broadcast_shapes(jnp.shape(value)[:-1], self.batch_shape)
        n_sample, batch, d = len(shape) - len(self.batch_shape), self.batch_shape, self.event_shape
        x = jnp.broadcast_to(jnp.asarray(value), shape + d).reshape(math.prod(shape[:n_sample]), math.prod(batch), *d)
        return _log_density(self._flat, x).reshape(shape)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of x: a component by its weight, then a row from it."""
        n, batch = math.prod(sample_shape), self.batch_shape
        x = jax.vmap(lambda mixture, key: mixture.sample(n, key=key))(self._flat, jax.random.split(key, math.prod(batch)))
        return jnp.moveaxis(x, 0, 1).reshape(*sample_shape, *batch, *self.event_shape)


class GaussianMixture(ComponentMixture):
    r"""A mixture of K Gaussians with dense covariances, the assignments summed out.

    .. math:: p(x) = \sum_k w_k \, \mathcal N(x \mid \mu_k, L_k L_k^\top)

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

    def __init__(self, weights, means, scale_tril, *, validate_args: bool | None = None):
        weights, means, scale_tril = (jnp.asarray(a) for a in (weights, means, scale_tril))
        k, d = weights.shape[-1:], means.shape[-1:]
        if means.ndim < 2 or means.shape[-2:] != k + d or scale_tril.shape[-3:] != k + d + d:
            raise ValueError(
                "GaussianMixture needs weights (..., K), means (..., K, D) and scale_tril (..., K, D, D), "
                f"not shapes {weights.shape}, {means.shape} and {scale_tril.shape}"
            )
        batch = jnp.broadcast_shapes(weights.shape[:-1], means.shape[:-2], scale_tril.shape[:-3])
        self.means = jnp.broadcast_to(means, batch + k + d)
        self.scale_tril = jnp.broadcast_to(scale_tril, batch + k + d + d)
        components = Gaussians(self.means, Dense(self.scale_tril))
        super().__init__(jnp.broadcast_to(weights, batch + k), components, validate_args=validate_args)

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
def _log_density(mixtures: Mixture, x: Float[Array, "n s d"]) -> Float[Array, "n s"]:
    """log p of each row under its mixture, about the mean of the rows so that an offset of the data costs no digits."""

    def of_mixture(mixture: Mixture, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        centre = jax.lax.stop_gradient(x.mean(0))
        natural = mixture.rescale(centre, jnp.ones_like(centre)).natural()
        return kernel.log_likelihood_of_rows(natural, stacked(x - centre[None]))[: x.shape[0]]

    return jax.vmap(of_mixture, in_axes=(0, 1), out_axes=1)(mixtures, x)
