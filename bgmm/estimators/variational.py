"""Mean-field variational inference of a Gaussian mixture under conjugate priors, as scikit-learn's.

The posterior is approximated by q(z) q(weights) prod_k q(mu_k, Lambda_k), with Dirichlet weights or Beta sticks, and

    q(mu_k | Lambda_k) = N(m_k, (beta_k Lambda_k)^-1),    q(Lambda_k) = Wishart(nu_k, (nu_k C_k)^-1)

(Bishop 2006, section 10.2; Blei and Jordan 2006), C_k being ``covariances``. Rows are weighed by exp E[log p(x, z = k)], which
is a mixture of Gaussians whose weights do not sum to one, so its pass is that of any mixture, missing values included. Diagonal
and spherical covariances take nu_k in the same formulas, and a tied one shares the rows evenly among the components: both are
scikit-learn's, and no coordinate ascent of one stated model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma, gammaln
from jaxtyping import Array, Float

from bgmm.core.components import Mixture
from bgmm.core.factor import Factor
from bgmm.core.gaussians import Gaussians
from bgmm.estimators import ascent


class State(NamedTuple):
    """Parameters of the approximate posterior."""

    concentration: Float[Array, " k"]  # of the Dirichlet, or the first of each Beta
    second: Float[Array, " k"]  # of each Beta
    mean_precision: Float[Array, " k"]  # beta
    means: Float[Array, "k d"]
    degrees_of_freedom: Float[Array, " l"]  # nu
    covariances: Float[Array, "l *c"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Variational:
    """Priors, and the steps under them."""

    regularisation: Float[Array, "*c"]
    concentration: Float[Array, ""]
    mean_precision: Float[Array, ""]
    mean: Float[Array, " d"]
    degrees_of_freedom: Float[Array, ""]
    covariance: Float[Array, "*c"]  # nu_0 times the prior guess of a covariance
    factor: type[Factor] = field(metadata={"static": True})
    tied: bool = field(metadata={"static": True})
    sticks: bool = field(metadata={"static": True})  # a Dirichlet process instead of a Dirichlet distribution

    def mixture(self, state: State) -> Mixture:
        """exp E[log p(x, z = k)] of a row (Bishop 2006, equations 10.46 and 10.64 to 10.66)."""
        d, nu, beta = self.mean.size, state.degrees_of_freedom, state.mean_precision
        log_precision = d * jnp.log(2.0) + self._over_features(digamma, nu) - d * jnp.log(nu)  # E log|Lambda| less log|C^-1|
        log_w = self._expected_log_weights(state) + 0.5 * (log_precision - d / beta)
        L = jax.vmap(self.factor.of_covariance)(state.covariances)
        return Mixture(log_w, Gaussians(state.means, L, self.tied))

    def update(self, m: ascent.Moments) -> State:
        """Posterior parameters from the moments of the responsibilities (Bishop 2006, equations 10.57 to 10.63)."""
        n, xbar, S = (jnp.asarray(a) for a in m)
        k = n.size
        after = jnp.cumsum(n[::-1])[::-1] - n  # rows of the components that follow
        concentration, second = (1.0 + n, self.concentration + after) if self.sticks else (self.concentration + n, jnp.zeros(k))
        beta = self.mean_precision + n
        means = (self.mean_precision * self.mean + n[:, None] * xbar) / beta[:, None]
        spread = jax.vmap(self._product)(xbar - self.mean)
        spread = self._per_component(n * self.mean_precision / beta, spread) * spread
        if self.tied:
            n, spread = n.sum(keepdims=True) / k, spread.sum(0, keepdims=True) / k
        nu = self.degrees_of_freedom + n
        covariances = self.covariance + self._per_component(n, spread) * S + spread
        return State(concentration, second, beta, means, nu, covariances / self._per_component(nu, spread))

    def bound(self, state: State, of: ascent.Pass) -> Float[Array, ""]:
        """The evidence lower bound of all rows after the step, without the constants of the priors: scikit-learn's."""
        k, d, nu = state.means.shape[0], self.mean.size, state.degrees_of_freedom
        L = jax.vmap(self.factor.of_covariance)(state.covariances)
        log_det = -jax.vmap(lambda factor: factor.log_det(d))(L) - 0.5 * d * jnp.log(nu)
        log_wishart = -(nu * log_det + 0.5 * nu * d * jnp.log(2.0) + self._over_features(gammaln, nu))
        if self.sticks:
            log_norm = -betaln(state.concentration, state.second).sum()
        else:
            log_norm = gammaln(state.concentration.sum()) - gammaln(state.concentration).sum()
        of_precisions = (k if self.tied else 1) * log_wishart.sum() + 0.5 * d * jnp.log(state.mean_precision).sum()
        return of.entropy - of_precisions - log_norm

    def _expected_log_weights(self, state: State) -> Float[Array, " k"]:
        """E[log w_k]."""
        a, b = state.concentration, state.second
        if not self.sticks:
            return digamma(a) - digamma(a.sum())
        total = digamma(a + b)
        before = jnp.cumsum(digamma(b) - total)
        return digamma(a) - total + jnp.concatenate([jnp.zeros(1), before[:-1]])

    def _over_features(self, function, nu: Float[Array, " l"]) -> Float[Array, " l"]:
        """sum_i function((nu - i) / 2)."""
        return function(0.5 * (nu[None] - jnp.arange(self.mean.size)[:, None])).sum(0)

    def _product(self, y: Float[Array, " d"]) -> Float[Array, "*c"]:
        """y y' in the structure of the covariances: the covariance of one row whose mean counts as zero."""
        T = self.factor.statistics(y[:, None])[:, 0].at[1 : y.size + 1].set(0.0)
        return self.factor.moments(T)[2]

    def _per_component(self, a: Float[Array, " l"], like: Float[Array, "l *c"]) -> Float[Array, "l ..."]:
        return a.reshape(-1, *[1] * (like.ndim - 1))
