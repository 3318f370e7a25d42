"""Random mixtures, and their densities by scipy: the oracle of the kernel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bgmm.core.components import Mixture
from bgmm.core.gaussians import Gaussians


class Parameters(NamedTuple):
    """A mixture of K Gaussians in D dimensions as plain arrays; leading axes are draws."""

    log_weights: np.ndarray
    means: np.ndarray
    scale_tril: np.ndarray

    @property
    def mixture(self) -> Mixture:
        """For the library."""
        return Mixture(self.log_weights, Gaussians.dense(self.means, self.scale_tril))


def random_mixture(rng: np.random.Generator, k: int, d: int, spread: float = 2.0, scale: float = 1.0) -> Parameters:
    """K Gaussians with means ``spread`` apart and correlated covariances of about ``scale``."""
    log_w = np.log(rng.dirichlet(np.full(k, 3.0)))
    noise = rng.normal(size=(k, d, d + 3))
    covariances = scale**2 * (noise @ noise.transpose(0, 2, 1)) / (d + 3)
    return Parameters(log_w, spread * rng.normal(size=(k, d)), np.linalg.cholesky(covariances))


def log_joint(mixture: Parameters, x: np.ndarray) -> np.ndarray:
    """log w_k + log N(x_n | mu_k, Sigma_k), shape (n, k); NaN coordinates are left out."""
    rows = np.empty((len(x), len(mixture.means)))
    for n, row in enumerate(x):
        o = ~np.isnan(row)
        for k, (log_w, mu, L) in enumerate(zip(*mixture, strict=True)):
            density = multivariate_normal(mu[o], (L @ L.T)[np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0.0
            rows[n, k] = log_w + density
    return rows


def log_density(mixture: Parameters, x: np.ndarray) -> np.ndarray:
    """log p(x_n)."""
    return logsumexp(log_joint(mixture, x), axis=1)


def sample(rng: np.random.Generator, mixture: Parameters, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and the components that they came from."""
    z = rng.choice(len(mixture.means), size=n, p=np.exp(mixture.log_weights))
    noise = rng.normal(size=(n, mixture.means.shape[1]))
    return mixture.means[z] + np.einsum("nij,nj->ni", mixture.scale_tril[z], noise), z
