"""LKJ correlation matrices, by their Cholesky factors or by unconstrained deviations from the identity.

They are sampled without gamma variates, which take seconds to compile. A partial correlation on the C-vine is distributed as
2 Beta(b, b) - 1, independently of the others, with b = eta + (d - 1 - j) / 2 in column j = 1 .. d - 1 (Lewandowski, Kurowicka
and Joe 2009, section 2.4). That is the distribution of T / sqrt(2 b + T^2), where T has Student's t distribution with 2 b
degrees of freedom.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, LKJCholesky, constraints
from numpyro.distributions.transforms import CorrCholeskyTransform
from numpyro.distributions.util import signed_stick_breaking_tril

_LARGE = 32.0  # b, beyond which four terms of an expansion have all digits


def _student_t(nu: Float[Array, "..."], *, key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """T / sqrt(nu) = sqrt(U^(-2 / nu) - 1) cos(2 pi V) for independent uniforms U and V (Bailey 1994)."""
    key_radius, key_angle = jax.random.split(key)
    radius = jnp.expm1(-2 / nu * jnp.log(jax.random.uniform(key_radius, shape, minval=1e-300)))
    return jnp.sqrt(radius) * jnp.cos(2 * jnp.pi * jax.random.uniform(key_angle, shape))


class LKJ(LKJCholesky):
    """NumPyro's LKJCholesky with another sampling method."""

    def __init__(self, dimension: int, concentration=1.0, *, validate_args: bool | None = None):
        super().__init__(dimension, concentration, sample_method="cvine", validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of the Cholesky factor."""
        nu = 2 * self._beta.concentration1
        t = _student_t(nu, key=key, shape=(*sample_shape, *self.batch_shape, nu.shape[-1]))
        return signed_stick_breaking_tril(t / jnp.sqrt(1 + jnp.square(t)))


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
        log_constant = 0.5 * jnp.log(jnp.pi) - _log_gamma_step(b)  # by Legendre's duplication formula
        return (-2 * b * _log_cosh(self.scale * value) - log_constant + jnp.log(self.scale)).sum(-1)


def _log_cosh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log cosh x, with all digits near zero, where log 2 - |x| and the rest nearly cancel."""
    near = jnp.log1p(2 * jnp.square(jnp.sinh(jnp.clip(x, -1.0, 1.0) / 2)))
    return jnp.where(jnp.abs(x) < 1, near, jnp.abs(x) + jnp.log1p(jnp.exp(-2 * jnp.abs(x))) - jnp.log(2.0))


def _log_gamma_step(b: Float[Array, "..."]) -> Float[Array, "..."]:
    """log [Gamma(b + 1/2) / Gamma(b)]; where b is large by its expansion, since the logs grow like b and nearly cancel."""
    large = jnp.maximum(b, _LARGE)
    expansion = 0.5 * jnp.log(large) - 1 / (8 * large) + 1 / (192 * large**3) - 1 / (640 * large**5)
    small = jnp.minimum(b, _LARGE)
    return jnp.where(b > _LARGE, expansion, gammaln(small + 0.5) - gammaln(small))


def correlation_tril(u: Float[Array, "*k r"], scale: Float[Array, ""]) -> Float[Array, "*k d d"]:
    """The Cholesky factors whose partial correlations on the C-vine are tanh(scale u)."""
    return CorrCholeskyTransform()(scale * u)


def correlation_deviations(R: Float[Array, "d d"], scale: Float[Array, ""]) -> tuple[Float[Array, " r"], Float[Array, ""]]:
    """The u of a Cholesky factor R, and log |du / dR|, R by its entries below the diagonal."""
    transform = CorrCholeskyTransform()
    x = transform.inv(R)
    return x / scale, -transform.log_abs_det_jacobian(x, R) - x.size * jnp.log(scale)
