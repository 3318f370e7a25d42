"""LKJ correlation matrices, by their Cholesky factors or by unconstrained deviations from the identity.

They are sampled without gamma variates, which take seconds to compile. A partial correlation on the C-vine is distributed as
2 Beta(b, b) - 1, independently of the others, with b = eta + (d - 1 - j) / 2 in column j = 1 .. d - 1 (Lewandowski, Kurowicka
and Joe 2009, section 2.4). That is the distribution of T / sqrt(2 b + T^2), where T has Student's t distribution with 2 b
degrees of freedom.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.transforms import CorrCholeskyTransform
from scipy.special import betaln

from bgmm.core.factor import AnyArray

_LARGE = 32.0  # b, beyond which four terms of an expansion have all digits
_TRUSTED: dict[str, Any] = {"mode": "promise_in_bounds", "wrap_negative_indices": False, "indices_are_sorted": True}


class CorrelationFactor(CorrCholeskyTransform):
    r"""NumPyro's ``CorrCholeskyTransform`` in a program of a seventh of the operations, and with all digits far from zero.

    .. math::
        L_{ij} = \tanh(x_{ij}) \prod_{l < j} \mathrm{sech}(x_{il}) \quad (i > j), \qquad
        L_{ii} = \prod_{l < i} \mathrm{sech}(x_{il}), \qquad
        |dL / dx| = \prod_{i > j} \mathrm{sech}^{i - j + 1}(x_{ij})
    """

    def __call__(self, x: Float[AnyArray, "... r"]) -> Float[Array, "... d d"]:
        """The Cholesky factor L whose partial correlations on the C-vine are tanh(x)."""
        d = self.forward_shape(x.shape)[-1]
        entries = (..., *np.tril_indices(d, -1))  # on the host: the program would compute JAX's own at each call
        lower = jnp.zeros((*x.shape[:-1], d, d), x.dtype).at[entries].set(x, unique_indices=True, **_TRUSTED)
        log_shares = -_log_cosh(lower) @ np.triu(np.ones((d, d), x.dtype), 1)
        return (jnp.tanh(lower) + np.eye(d, dtype=x.dtype)) * jnp.exp(log_shares)

    def _inverse(self, y: Float[AnyArray, "... d d"]) -> Float[Array, "... r"]:
        """x, where no square on the diagonal of L is under the least number."""
        y, d = jnp.asarray(y), y.shape[-1]
        entries = (..., *np.tril_indices(d, -1))
        tails = jnp.square(y) @ np.tril(np.ones((d, d), y.dtype), -1)  # sums over the columns after each
        return jnp.arcsinh(y.at[entries].get(**_TRUSTED) / jnp.sqrt(tails.at[entries].get(**_TRUSTED)))

    def log_abs_det_jacobian(self, x, y, intermediates=None) -> Float[Array, "..."]:
        """log |dL / dx|, L by its entries below the diagonal."""
        i, j = np.tril_indices(y.shape[-1], -1)
        return -(_log_cosh(x) * (i - j + 1)).sum(-1)


def _log_cosh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log cosh x with all digits, also near zero; from |x| = 20 its slope is one to the last of them."""
    near = jnp.clip(x, -20.0, 20.0)
    return jnp.log1p(2 * jnp.square(jnp.sinh(0.5 * near))) + jnp.abs(x - near)


class LKJ(Distribution):
    r"""Cholesky factors L of correlation matrices, with a density over their entries below the diagonal.

    .. math::
        p(L) = \prod_{i = 2}^d L_{ii}^{d - i + 2 (\eta - 1)} \Big/
               \prod_{j = 1}^{d - 1} \left[2^{2 b_j - 1} B(b_j, b_j)\right]^{d - j}

    :param concentration: eta, a number and no array.
    """

    support = constraints.corr_cholesky
    pytree_aux_fields = ("dimension", "concentration")

    def __init__(self, dimension: int, concentration: float, *, validate_args: bool | None = None):
        self.dimension, self.concentration = dimension, concentration
        super().__init__((), (dimension, dimension), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of the Cholesky factor."""
        return CorrelationFactor()(LKJDeviations(self.dimension, self.concentration, 1.0).sample(key, sample_shape))

    def log_prob(self, value: Float[AnyArray, "... d d"], intermediates=None) -> Float[Array, "..."]:
        """Log density of L."""
        d, eta = self.dimension, self.concentration
        b = eta + (d - np.arange(2, d + 1)) / 2
        log_constant = (np.arange(d - 1, 0, -1) * ((2 * b - 1) * np.log(2) + betaln(b, b))).sum()
        diagonal = jnp.asarray(value).at[(..., *np.diag_indices(d))].get(**_TRUSTED)
        log_diagonal = jnp.log(diagonal[..., 1:])
        return (log_diagonal * (d - np.arange(2, d + 1) + 2 * (eta - 1))).sum(-1) - log_constant


def _student_t(nu: Float[Array, "..."], *, key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """T / sqrt(nu) = sqrt(U^(-2 / nu) - 1) cos(2 pi V) for independent uniforms U and V (Bailey 1994)."""
    key_radius, key_angle = jax.random.split(key)
    radius = jnp.expm1(-2 / nu * jnp.log(jax.random.uniform(key_radius, shape, minval=1e-300)))
    return jnp.sqrt(radius) * jnp.cos(2 * jnp.pi * jax.random.uniform(key_angle, shape))


class LKJDeviations(Distribution):
    r"""The unconstrained u (d (d - 1) / 2,) for which ``correlation_tril(u, scale)`` is the Cholesky factor of an LKJ matrix.

    .. math:: p(u) = \prod_{i > j} \frac{s \, \mathrm{sech}^{2 b_j}(s u_{ij})}{2^{2 b_j - 1} B(b_j, b_j)}

    because scale * u are Fisher-transformed partial correlations, artanh of 2 Beta(b, b) - 1.

    :param concentration: eta.
    :param scale: s.
    """

    arg_constraints = {"concentration": constraints.positive, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real_vector
    pytree_data_fields = ("concentration", "scale")
    pytree_aux_fields = ("dimension",)

    def __init__(self, dimension: int, concentration, scale, *, validate_args: bool | None = None):
        self.dimension, self.concentration, self.scale = dimension, jnp.asarray(concentration), jnp.asarray(scale)
        super().__init__((), (dimension * (dimension - 1) // 2,), validate_args=validate_args)

    @property
    def _b(self) -> Float[Array, " r"]:
        """b of each entry below the diagonal, row by row."""
        j = 1 + np.tril_indices(self.dimension, -1)[1]
        return self.concentration + (self.dimension - 1 - j) / 2

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of u: artanh(t / sqrt(1 + t^2)) = arsinh(t)."""
        b = self._b
        return jnp.arcsinh(_student_t(2 * b, key=key, shape=(*sample_shape, b.size))) / self.scale

    def log_prob(self, value: Float[Array, "... r"], intermediates=None) -> Float[Array, "..."]:
        """Log density of u."""
        b = self._b
        log_constant = 0.5 * math.log(math.pi) - _log_gamma_step(b)  # by Legendre's duplication formula
        return (-2 * b * _log_cosh(self.scale * value) - log_constant + jnp.log(self.scale)).sum(-1)


def _log_gamma_step(b: Float[Array, "..."]) -> Float[Array, "..."]:
    """log [Gamma(b + 1/2) / Gamma(b)]; where b is large by its expansion, since the logs grow like b and nearly cancel."""
    large = jnp.maximum(b, _LARGE)
    expansion = 0.5 * jnp.log(large) - 1 / (8 * large) + 1 / (192 * large**3) - 1 / (640 * large**5)
    small = jnp.minimum(b, _LARGE)
    return jnp.where(b > _LARGE, expansion, gammaln(small + 0.5) - gammaln(small))


def correlation_tril(u: Float[Array, "*k r"], scale: Float[Array, ""]) -> Float[Array, "*k d d"]:
    """The Cholesky factors whose partial correlations on the C-vine are tanh(scale u)."""
    return CorrelationFactor()(scale * u)


def correlation_deviations(R: Float[Array, "d d"], scale: Float[Array, ""]) -> tuple[Float[Array, " r"], Float[Array, ""]]:
    """The u of a Cholesky factor R, and log |du / dR|, R by its entries below the diagonal."""
    transform = CorrelationFactor()
    x = transform.inv(R)
    return x / scale, -transform.log_abs_det_jacobian(x, R) - x.size * jnp.log(scale)
