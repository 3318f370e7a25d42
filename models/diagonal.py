"""Gaussian components without correlations: Normal means, LogNormal scales, a floor at the resolution of the data."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from bgmm.core import uncorrelated
from bgmm.core.components import Components
from bgmm.core.options import named_options
from bgmm.models.normal import ScaledFamily
from bgmm.program.family import About


@named_options()
@dataclass(frozen=True)
class Diagonal(ScaledFamily):
    r"""K Gaussians with a standard deviation for each feature, or one such set for all, stated on standardised data.

    .. math::
        \mu_{kj} &\sim \mathcal N(0, m^2), \qquad S_{kj} \sim \mathrm{LogNormal}(a, b) \\
        \Sigma_k &= \mathrm{diag}(r^2 + S_k^2), \qquad r_j = \max(0.4 \, \text{recording step}_j, \text{floor})

    It is ``Gaussian`` with all correlations zero, and costs D numbers a component where that has D^2 / 2.

    :param mean_scale: m.
    :param log_scale_mean: a, the mean of log S.
    :param log_scale_sd: b, its standard deviation.
    :param recording_step: as in ``Gaussian``.
    :param floor: least r, in standardised units.
    :param tied: whether all components share S.
    """

    factor = uncorrelated.Diagonal

    def declare(self, k: int, about: About) -> Components:
        """Sample means and scales: inside a NumPyro program only."""
        means, scales = self.sample_means(k, about), self.sample_scales(k, about.n_features)
        return self.components(means, jnp.square(scales), about)

    def _floor(self, about):
        return jnp.square(self.resolution(about))
