"""EM of each library as one function: ``iterate(n)`` runs n iterations from the start that was given, and returns the mixture.

Each takes the rows, the start and the float width. scikit-learn's ridge on the covariances and gmmx's are switched off, so
that all compute the same thing; bgmm's floor at 0.01 standard deviations stays, and touches nothing here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.data import Mixture
from bgmm import models
from bgmm.core import components, kernel
from bgmm.core.gaussians import Gaussians
from bgmm.core.in_memory import in_memory

type Iterate = Callable[[int], Mixture]

US = "bgmm"
E_STEP = "bgmm, E-step alone"


def bgmm_em(x: np.ndarray, start: Mixture, bits: int) -> Iterate:
    """The pass over the data and the closed M-step, compiled in one loop."""
    family = models.Gaussian()

    @jax.jit
    def run(rows, mixture, n):
        about = models.About(jnp.zeros(x.shape[1], mixture.log_weights.dtype))

        def step(_, mixture):
            statistics = kernel.expected_statistics(mixture.natural(), rows)[1].eta
            counts = statistics[:, 0]
            return components.Mixture(jnp.log(counts / counts.sum()), family.maximum_likelihood(statistics, about))

        return jax.lax.fori_loop(0, n, step, mixture)

    double = bits == 64
    with jax.enable_x64(double):
        rows, begin = _prepared(x, start, bits)

    def iterate(n: int) -> Mixture:
        with jax.enable_x64(double):
            log_w, g = jax.tree.map(np.asarray, jax.block_until_ready(run(rows, begin, n)))
        return Mixture(np.exp(log_w), g.means, g.factor.L @ g.factor.L.transpose(0, 2, 1))

    return iterate


def bgmm_e_step(x: np.ndarray, start: Mixture, bits: int) -> Iterate:
    """Only the pass over the data, at parameters that hardly move: what the share of the machine's limit is about."""

    @jax.jit
    def run(rows, natural, n):
        def step(_, natural):
            statistics = kernel.expected_statistics(natural, rows)[1]
            return jax.tree.map(lambda a, s: a + 1e-30 * s, natural, statistics)

        return jax.lax.fori_loop(0, n, step, natural)

    double = bits == 64
    with jax.enable_x64(double):
        rows, begin = _prepared(x, start, bits)
        natural = begin.natural()

    def iterate(n: int) -> Mixture:
        with jax.enable_x64(double):
            jax.block_until_ready(run(rows, natural, n))
        return start

    return iterate


def _prepared(x: np.ndarray, start: Mixture, bits: int):
    """The rows in blocks, and the start as our mixture, in the current precision."""
    gaussians = Gaussians.dense(start.means, np.linalg.cholesky(start.covariances))
    begin = jax.tree.map(jnp.asarray, components.Mixture(np.log(start.weights), gaussians))
    return in_memory(x, dtype=f"float{bits}")[0], begin


def sklearn_em(x: np.ndarray, start: Mixture, bits: int) -> Iterate:
    """GaussianMixture with full covariances."""
    from sklearn.mixture import GaussianMixture

    dtype = np.dtype(f"float{bits}")
    rows = x.astype(dtype)
    precisions = np.linalg.inv(start.covariances).astype(dtype)

    def iterate(n: int) -> Mixture:
        fitted = GaussianMixture(
            len(start.weights),
            max_iter=n,
            tol=0.0,
            reg_covar=0.0,
            weights_init=start.weights.astype(dtype),
            means_init=start.means.astype(dtype),
            precisions_init=precisions,
        )
        with warnings.catch_warnings(action="ignore"):
            fitted.fit(rows)
        return Mixture(fitted.weights_, fitted.means_, fitted.covariances_)

    return iterate


def sklearn_bayes(x: np.ndarray, start: Mixture, bits: int) -> Iterate:
    """BayesianGaussianMixture, which takes no start: its own at random rows, and other numbers than EM's."""
    from sklearn.mixture import BayesianGaussianMixture

    rows = x.astype(f"float{bits}")

    def iterate(n: int) -> Mixture:
        fitted = BayesianGaussianMixture(
            n_components=len(start.weights), max_iter=n, tol=0.0, init_params="random_from_data", random_state=0
        )
        with warnings.catch_warnings(action="ignore"):
            fitted.fit(rows)
        return Mixture(fitted.weights_, fitted.means_, fitted.covariances_)

    return iterate


def gmmx_em(x: np.ndarray, start: Mixture, bits: int) -> Iterate:
    """EMFitter on a GaussianMixtureModelJax with full covariances."""
    if bits != 32:
        raise ValueError("gmmx computes in float32 only")
    from gmmx import EMFitter, GaussianMixtureModelJax
    from gmmx.gmm import FullCovariances

    with jax.enable_x64(False):
        rows, w, means = (jnp.asarray(a) for a in (x, start.weights, start.means))
        covariances = FullCovariances.from_squeezed(jnp.asarray(start.covariances))
        begin = GaussianMixtureModelJax.from_squeezed(means=means, covariances=covariances.values[0], weights=w)

    def iterate(n: int) -> Mixture:
        with jax.enable_x64(False):
            found = jax.block_until_ready(EMFitter(max_iter=n, tol=0.0, reg_covar=0.0).fit(rows, begin).gmm)
            return Mixture(found.weights_numpy, found.means_numpy, found.covariances.values_numpy)

    return iterate


def pomegranate_em(x: np.ndarray, start: Mixture, bits: int) -> Iterate:
    """GeneralMixtureModel of Normal distributions, on torch."""
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    dtype = torch.float64 if bits == 64 else torch.float32
    rows, w, means, covariances = (torch.as_tensor(a, dtype=dtype) for a in (x, *start))

    def iterate(n: int) -> Mixture:
        parts = [Normal(m.clone(), c.clone(), covariance_type="full") for m, c in zip(means, covariances, strict=True)]
        fitted = GeneralMixtureModel(parts, priors=w.clone(), max_iter=n, tol=-float("inf"))
        with torch.no_grad():
            fitted.fit(rows)
        found = fitted.distributions
        return Mixture(
            fitted.priors.numpy(), np.stack([p.means.numpy() for p in found]), np.stack([p.covs.numpy() for p in found])
        )

    return iterate


EM = {
    US: bgmm_em,
    E_STEP: bgmm_e_step,
    "scikit-learn": sklearn_em,
    "scikit-learn Bayesian": sklearn_bayes,
    "gmmx": gmmx_em,
    "pomegranate": pomegranate_em,
}
