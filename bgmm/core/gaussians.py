"""Gaussian components: means, and factors of covariances that each component has or that all share (tied)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import DTypeLike

from bgmm.core.components import Components, Mixture, Natural
from bgmm.core.dense import Dense
from bgmm.core.factor import AnyArray, Factor
from bgmm.core.uncorrelated import Diagonal

_LOST = {np.dtype(np.float64): 5e-11, np.dtype(np.float32): 1e-5}  # relative error that shared statistics may cost


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Linear(Natural):
    """A mixture of an exponential family: log w_k + log p(x | k) = <eta_k, T(x)>.

    Products lose about eps * (distance / sd)^2 when tight components lie far from the origin. With ``centres`` the statistics
    of component k are those of x - centre_k, and eta is stated about these centres: slower, and exact.
    """

    eta: Float[Array, "k p"]
    centres: Float[Array, "k d"] | None
    observed: Float[Array, " d"] | None  # coordinates that rows hold; needed about centres only, None where all are
    factor: type[Factor] = field(metadata={"static": True})

    def log_joint(self, x):
        """<eta_k, T(x_n)>."""
        if self.centres is None:
            return self.eta @ self.factor.statistics(x)
        y = x[None] - jax.lax.stop_gradient(self.centres)[:, :, None]
        if self.observed is not None:
            y = y * jax.lax.stop_gradient(self.observed)[None, :, None]
        return jax.vmap(self.factor.inner)(self.eta, y)

    def marginal(self, observed):
        """eta of the observed coordinates of each component."""
        eta = jax.vmap(self.factor.marginal, in_axes=(0, None))(self.eta, observed)
        return Linear(eta, self.centres, None if self.centres is None else observed, self.factor)

    def tempered(self, inverse_temperature: Float[Array, ""], log_weights: Float[Array, " k"]) -> Linear:
        """Densities raised to a power, and log weights added."""
        eta = (inverse_temperature * self.eta).at[:, 0].add(log_weights)
        return Linear(eta, self.centres, self.observed, self.factor)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Gaussians(Components):
    """N(mu_k, L_k L_k'); where the factor is tied, its arrays have a first axis of length one."""

    means: Float[AnyArray, "*s k d"]
    factor: Factor
    tied: bool = field(default=False, metadata={"static": True})

    @classmethod
    def dense(
        cls, means: Float[AnyArray, "*s k d"], scale_tril: Float[AnyArray, "*s l d d"], *, tied: bool = False
    ) -> Gaussians:
        """N(mu_k, L_k L_k'); where ``tied``, one L, along an axis of length one, serves all components."""
        k, d = means.shape[-2:]
        if scale_tril.shape[-3:] != ((1 if tied else k), d, d):
            raise ValueError(
                f"Gaussians.dense needs means (k, d) and scale_tril ({1 if tied else 'k'}, d, d), "
                f"not shapes {means.shape} and {scale_tril.shape}"
            )
        return cls(means, Dense(scale_tril), tied)

    @classmethod
    def diagonal(cls, means: Float[AnyArray, "*s k d"], scales: Float[AnyArray, "*s l d"], *, tied: bool = False) -> Gaussians:
        """N(mu_k, diag(s_k^2)); where ``tied``, one s, along an axis of length one, serves all components."""
        k, d = means.shape[-2:]
        if scales.shape[-2:] != ((1 if tied else k), d):
            raise ValueError(
                f"Gaussians.diagonal needs means (k, d) and scales ({1 if tied else 'k'}, d), "
                f"not shapes {means.shape} and {scales.shape}"
            )
        return cls(means, Diagonal(scales), tied)

    @property
    def n_features(self) -> int:
        """D."""
        return self.means.shape[-1]

    @property
    def factors(self) -> Factor:
        """A factor for each component, the shared one repeated."""
        if not self.tied:
            return self.factor
        k = self.means.shape[0]
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (k, *a.shape[1:])), self.factor)

    def natural(self, log_weights: Float[Array, " k"], *, centred: bool = False) -> Linear:
        """eta_k, about the means where ``centred``."""
        if centred:
            centres = jax.lax.stop_gradient(jnp.asarray(self.means))
            return replace(self.moved(-centres).natural(log_weights), centres=centres)
        means = jnp.asarray(self.means)
        eta = jax.vmap(lambda factor, log_w, mu: factor.natural(log_w, mu))(self.factors, log_weights, means)
        return Linear(eta, None, None, type(self.factor))

    def moved(self, shift: Float[Array, "k d"]) -> Gaussians:
        """The same shapes about means that are moved."""
        return replace(self, means=self.means + shift)

    def log_density(self, x):
        """log N(x_n | mu_k, L_k L_k')."""
        return self.natural(jnp.zeros(self.means.shape[0]), centred=True).log_joint(x)

    def rescale(self, centre, scale):
        """Means (mu - centre) / scale, and factors of x / scale."""
        return Gaussians((self.means - centre) / scale, self.factor.rescale(scale), self.tied)

    def sample(self, assignments: Int[Array, " n"], *, key: Array) -> Float[Array, "n d"]:
        """mu_z + L_z noise."""
        noise = jax.random.normal(key, (assignments.size, self.n_features), self.means.dtype)

        def row(z, noise):
            return self.means[z] + jax.tree.map(lambda a: a[0 if self.tied else z], self.factor).colour(noise)

        return jax.vmap(row)(assignments, noise)

    def whitened(self, origin):
        """L0^-1 (mu - mu0) and the coordinates of L about L0."""

        def of_component(mean, factor, mean_0, factor_0):
            return jnp.concatenate([factor_0.whiten(mean - mean_0), factor.relative(factor_0, self.n_features)])

        return jax.vmap(of_component)(self.means, self.factors, *jax.lax.stop_gradient((origin.means, origin.factors)))

    def variables(self):
        """``means``, ``scales``, and of dense factors ``covariances`` and ``correlations``, each pair of features once."""
        of_factor = () if self.tied else ("cluster",)
        mu, d = np.asarray(self.means), self.n_features
        L = jax.tree.map(lambda a: np.asarray(a).squeeze(mu.ndim - 2) if self.tied else np.asarray(a), self.factor)
        scales = np.sqrt(np.asarray(L.variances(d)))
        found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
            "means": (("cluster", "feature"), mu),
            "scales": ((*of_factor, "feature"), scales),
        }
        if not isinstance(L, Dense):
            return found
        covariances = np.asarray(L.L @ np.swapaxes(L.L, -1, -2))
        found["covariances"] = ((*of_factor, "feature", "feature_bis"), covariances)
        i, j = np.triu_indices(d, 1)
        if i.size:  # each pair once: ArviZ's plots and diagnostics fail on a diagonal of constants
            found["correlations"] = ((*of_factor, "pair"), covariances[..., i, j] / (scales[..., i] * scales[..., j]))
        return found

    @classmethod
    def from_variables(cls, variables: Mapping[str, np.ndarray]) -> Gaussians:
        """From ``means`` and ``covariances``, or else ``scales``; tied where these lack the axis of clusters."""
        means = variables["means"]
        factor: Factor
        if "covariances" in variables:
            L = np.linalg.cholesky(variables["covariances"])
            tied = L.ndim == means.ndim
            factor = Dense(L[..., None, :, :] if tied else L)
        else:
            s = np.asarray(variables["scales"])
            tied = s.ndim < means.ndim
            factor = Diagonal(s[..., None, :] if tied else s)
        return cls(means, factor, tied)

    def needs_centres(self, dtype: DTypeLike = np.float64, *, lost: float | None = None) -> bool:
        """Whether shared statistics of type ``dtype`` lose too many digits: they lose about eps * (distance / sd)^2."""
        distance = np.linalg.norm(np.asarray(self.means), axis=-1)
        error = np.finfo(dtype).eps * np.square(distance / self.factor.narrowest())
        return bool(np.any(error > (_LOST[np.dtype(dtype)] if lost is None else lost)))


def moments(
    factor: type[Factor], statistics: Float[Array, "k p"], *, tied: bool
) -> tuple[Float[Array, "k d"], Float[Array, "l *c"]]:
    """Means and covariances of the rows of each component; where ``tied``, one covariance of all rows about these means."""
    counts, means, covariances = jax.vmap(factor.moments)(statistics)
    if tied:
        pooled = jnp.tensordot(counts, covariances, 1) / jnp.maximum(counts.sum(), jnp.finfo(counts.dtype).tiny)
        covariances = pooled[None]
    return means, covariances


def converted(mixture: Mixture, factor: type[Factor], tied: bool) -> Mixture:
    """Gaussians with the nearest factors of another structure; a shared one is the first."""
    g = mixture.components
    assert isinstance(g, Gaussians)
    L = factor.of(g.factor, g.n_features)
    if tied and not g.tied:
        L = jax.tree.map(lambda a: jnp.take(a, jnp.array([0]), axis=g.means.ndim - 2), L)
    elif g.tied and not tied:
        L = jax.tree.map(lambda a: jnp.repeat(a, g.means.shape[-2], axis=g.means.ndim - 2), L)
    return mixture._replace(components=Gaussians(g.means, L, tied))
