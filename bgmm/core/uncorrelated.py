"""Factors of covariances without correlations: diagonal and spherical. Neither forms a D x D matrix."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from bgmm.core.factor import LOG_2PI, AnyArray, Conditional, Factor


def _precisions(eta: Float[Array, " p"], d: int) -> Float[Array, " d"]:
    return jnp.broadcast_to(-2.0 * eta[d + 1 :], (d,))


def _integrated(eta: Float[Array, " p"], observed: Float[Array, " d"]) -> Float[Array, " 1"]:
    """The constant a of the observed coordinates."""
    precisions, h = _precisions(eta, observed.size), eta[1 : observed.size + 1]
    return eta[:1] + 0.5 * ((1 - observed) @ (LOG_2PI - jnp.log(precisions) + h * h / precisions))[None]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class UncorrelatedConditional(Conditional):
    """x_m = (a + c noise)_m of each component."""

    a: Float[Array, "k d"]
    c: Float[Array, "k d"]

    @classmethod
    def of(cls, eta: Float[Array, "k p"], observed: Float[Array, " d"]) -> UncorrelatedConditional:
        """Mean h / lambda and standard deviation 1 / sqrt(lambda) of the missing coordinates."""
        d, missing = observed.size, (1 - observed)[None]
        precisions = jax.vmap(_precisions, in_axes=(0, None))(eta, d)
        return cls(missing * eta[:, 1 : d + 1] / precisions, missing / jnp.sqrt(precisions))

    def fill(self, x, assigned, noise):
        return x + self.a.T @ assigned + (self.c.T @ assigned) * noise


@dataclass(frozen=True)
class Uncorrelated(Factor):
    """What diagonal and spherical factors share: L is a standard deviation for each coordinate, or one for all."""

    s: Float[AnyArray, "*s"]

    @staticmethod
    def conditional(eta, observed):
        return UncorrelatedConditional.of(eta, observed)

    @classmethod
    def of_covariance(cls, covariance):
        return cls(jnp.sqrt(covariance))

    def covariance(self):
        return jnp.square(self.s)

    def whiten(self, y):
        return y / self.s

    def colour(self, y):
        return y * self.s

    def plus_diagonal(self, variances):
        return Diagonal(jnp.sqrt(jnp.square(self.s) + variances))

    @staticmethod
    def least_rows(d):
        return 1

    def posterior_scale(self, n, prior_precision):
        return 1 / jnp.sqrt(n / jnp.square(self.s) + prior_precision)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Diagonal(Uncorrelated):
    """A standard deviation for each coordinate: P = 2 D + 1 statistics."""

    s: Float[AnyArray, "*s d"]

    @staticmethod
    def statistics(x):
        return jnp.concatenate([jnp.ones_like(x[:1]), x, x * x])

    def natural(self, log_w, mean):
        precisions = 1 / jnp.square(self.s)
        h = precisions * mean
        a = log_w - 0.5 * (mean.size * LOG_2PI + h @ mean) - jnp.log(self.s).sum()
        return jnp.concatenate([a[None], h, -0.5 * precisions])

    @staticmethod
    def marginal(eta, observed):
        d = observed.shape[0]
        return jnp.concatenate([_integrated(eta, observed), eta[1 : d + 1] * observed, eta[d + 1 :] * observed])

    @staticmethod
    def moments(statistics):
        d = (statistics.shape[0] - 1) // 2
        n = jnp.maximum(statistics[0], jnp.finfo(statistics.dtype).tiny)
        mean = statistics[1 : d + 1] / n
        return statistics[0], mean, statistics[d + 1 :] / n - jnp.square(mean)

    def variances(self, d):
        return self.s * self.s

    def dense(self, d):
        return self.s[..., None] * np.eye(d)

    @classmethod
    def of(cls, other, d):
        return cls(jnp.sqrt(other.variances(d)))

    def log_det(self, d):
        return jnp.log(self.s).sum()

    def rescale(self, scale):
        return Diagonal(self.s / scale)

    def relative(self, origin, d):
        return jnp.sqrt(2.0) * jnp.log(self.s / origin.s)

    def displaced(self, u, d):
        return Diagonal(self.s * jnp.exp(u / np.sqrt(2.0)))

    @staticmethod
    def n_relative(d):
        return d

    @classmethod
    def at_least(cls, covariance, r):
        return cls(jnp.sqrt(jnp.maximum(covariance, jnp.square(r))))

    def is_exceeded(self, covariance, times):
        return (covariance > times * jnp.square(self.s)).all()

    def narrowest(self):
        return np.asarray(self.s).min(-1)

    @classmethod
    def log_evidence(cls, n, covariance, prior, d):
        of_each = 0.5 * jnp.log(prior) - 0.5 * (1 + n) * jnp.log(prior + n * covariance)
        return (gammaln((1 + n) / 2) - gammaln(0.5) + of_each - 0.5 * n * jnp.log(jnp.pi)).sum()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Spherical(Uncorrelated):
    """One standard deviation for all coordinates: P = D + 2 statistics."""

    s: Float[AnyArray, "*s"]

    @staticmethod
    def statistics(x):
        return jnp.concatenate([jnp.ones_like(x[:1]), x, jnp.square(x).sum(0, keepdims=True)])

    def natural(self, log_w, mean):
        precision, d = 1 / jnp.square(self.s), mean.size
        h = precision * mean
        a = log_w - 0.5 * (d * LOG_2PI + h @ mean) - d * jnp.log(self.s)
        return jnp.concatenate([a[None], h, -0.5 * precision[None]])

    @staticmethod
    def marginal(eta, observed):
        d = observed.shape[0]
        return jnp.concatenate([_integrated(eta, observed), eta[1 : d + 1] * observed, eta[d + 1 :]])

    @staticmethod
    def moments(statistics):
        d = statistics.shape[0] - 2
        n = jnp.maximum(statistics[0], jnp.finfo(statistics.dtype).tiny)
        mean = statistics[1 : d + 1] / n
        return statistics[0], mean, (statistics[d + 1] / n - mean @ mean) / d

    def variances(self, d):
        return (self.s * self.s)[..., None] * np.ones(d)

    def dense(self, d):
        return self.s[..., None, None] * np.eye(d)

    @classmethod
    def of(cls, other, d):
        return cls(jnp.sqrt(other.variances(d).mean(-1)))

    def log_det(self, d):
        return d * jnp.log(self.s)

    def rescale(self, scale):
        return Diagonal(self.s[..., None] / scale)

    def relative(self, origin, d):
        return jnp.sqrt(2.0 * d) * jnp.log(self.s / origin.s)[None]

    def displaced(self, u, d):
        return Spherical(self.s * jnp.exp(u[0] / np.sqrt(2.0 * d)))

    @staticmethod
    def n_relative(d):
        return 1

    @classmethod
    def at_least(cls, covariance, r):
        return cls(jnp.sqrt(jnp.maximum(covariance, jnp.square(r).max())))

    def is_exceeded(self, covariance, times):
        return covariance > times * jnp.square(self.s)

    def narrowest(self):
        return np.asarray(self.s)

    @classmethod
    def log_evidence(cls, n, covariance, prior, d):
        of_all = 0.5 * jnp.log(prior) - 0.5 * (1 + n * d) * jnp.log(prior + n * d * covariance)
        return gammaln((1 + n * d) / 2) - gammaln(0.5) + of_all - 0.5 * n * d * jnp.log(jnp.pi)
