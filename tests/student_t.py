"""Student-t components as a user would add them: from public names alone."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln

import bgmm


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StudentTs(bgmm.Components):
    """t_nu(mu_k, L_k L_k')."""

    means: jax.Array  # (k, d)
    scale_tril: jax.Array  # (k, d, d)
    nu: jax.Array  # (k,)

    @property
    def n_features(self):
        return self.means.shape[-1]

    def log_density(self, x):
        def of_component(mu, L, nu):
            d, white = len(mu), solve_triangular(L, x - mu[:, None], lower=True)
            c = gammaln((nu + d) / 2) - gammaln(nu / 2) - d / 2 * jnp.log(jnp.pi * nu) - jnp.log(jnp.diagonal(L)).sum()
            return c - (nu + d) / 2 * jnp.log1p((white * white).sum(0) / nu)

        return jax.vmap(of_component)(self.means, self.scale_tril, self.nu)

    def rescale(self, centre, scale):
        return StudentTs((self.means - centre) / scale, self.scale_tril / scale[:, None], self.nu)


@dataclass(frozen=True)
class StudentT:
    """Priors as those of ``models.Gaussian``, and nu ~ Gamma(2, 0.1) of each component (Juarez and Steel 2010)."""

    def declare(self, k, about):
        d = about.n_features
        mu = numpyro.sample("means", dist.Normal(0.0, 2.0).expand([k, d]).to_event(2))
        s = numpyro.sample("scales", dist.LogNormal(-1.0, 1.0).expand([k, d]).to_event(2))
        R = numpyro.sample("correlation_tril", dist.LKJCholesky(d, 2.0).expand([k]).to_event(1))
        nu = numpyro.sample("nu", dist.Gamma(2.0, 0.1).expand([k]).to_event(1))
        return StudentTs(mu, s[:, :, None] * R, nu)
