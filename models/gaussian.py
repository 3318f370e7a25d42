"""Gaussian components with dense covariances: Normal means, LogNormal scales, LKJ correlations, a floor at the resolution."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bgmm.core.checks import check_positive
from bgmm.core.components import Components
from bgmm.core.dense import Dense
from bgmm.core.options import named_options
from bgmm.models.normal import ScaledFamily, sample_correlation_tril
from bgmm.program.family import About


@named_options()
@dataclass(frozen=True)
class Gaussian(ScaledFamily):
    r"""K Gaussians with a dense covariance each, or one for all, stated on standardised data.

    .. math::
        \mu_{kj} &\sim \mathcal N(0, m^2) \\
        S_{kj} &\sim \mathrm{LogNormal}(a, b), \qquad C_k \sim \mathrm{LKJ}(\eta) \\
        \Sigma_k &= \mathrm{diag}(r^2) + S_k C_k S_k, \qquad r_j = \max(0.4 \, \text{recording step}_j, \text{floor})

    Recorded values are rounded, and a component that collapses onto tied values would have a density without bound. r is
    the standard deviation that keeps every density under one over the recording step, which makes the posterior proper.

    :param mean_scale: m. The default 2 reaches a far cluster at 4 of the data's standard deviations.
    :param log_scale_mean: a, the mean of log S. The default -1 puts the median of S at 0.37: narrower than the data.
    :param log_scale_sd: b. The default 1 puts 95 % of S between 0.05 and 2.6.
    :param recording_step: step to which values were recorded, in the units of the data: one number, or a tuple with one for
        each feature. None reads it off the data (the smallest gap between distinct values, where values repeat, and at most two
        standard deviations); 0 says that the data are exact.
    :param floor: least r, in standardised units. 0 leaves exact data without protection.
    :param tied: whether all components share S and C.
    :param lkj: eta, concentration of the correlation prior. The default 2 is flat in the middle and avoids the edges +-1;
        1 is uniform over correlation matrices; larger favours none.
    """

    lkj: float = 2.0

    factor = Dense

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("lkj", self.lkj)

    def declare(self, k: int, about: About) -> Components:
        """Sample means, scales and correlations: inside a NumPyro program only."""
        means, scales = self.sample_means(k, about), self.sample_scales(k, about.n_features)
        n, d = scales.shape
        R = sample_correlation_tril("correlation_tril", d, self.lkj, *(() if self.tied else (k,)))
        SR = scales[:, :, None] * R.reshape(n, d, d)
        return self.components(means, jax.vmap(lambda SR: SR @ SR.T)(SR), about)

    def _sites_of_covariance(self, covariance):
        scales, L = jnp.sqrt(jnp.diagonal(covariance)), jnp.linalg.cholesky(covariance)
        return {"scales": scales} | ({"correlation_tril": L / scales[:, None]} if scales.size > 1 else {})

    def _floor(self, about):
        return jnp.diag(jnp.square(self.resolution(about)))
