"""Gaussian components with one standard deviation for all features of standardised data."""

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
class Spherical(ScaledFamily):
    r"""K spheres, each with a radius of its own or all with one, stated on standardised data.

    .. math::
        \mu_{kj} &\sim \mathcal N(0, m^2), \qquad S_k \sim \mathrm{LogNormal}(a, b) \\
        \Sigma_k &= (r^2 + S_k^2) I, \qquad r = \max_j \max(0.4 \, \text{recording step}_j, \text{floor})

    The floor is that of the coarsest feature, because a sphere cannot be wider in one feature than in another. In the units of
    the data the components are ellipsoids with axes along the features: the tree's ``scales`` have an axis of features.

    :param mean_scale: m.
    :param log_scale_mean: a, the mean of log S.
    :param log_scale_sd: b, its standard deviation.
    :param recording_step: as in ``Gaussian``.
    :param floor: least r, in standardised units.
    :param tied: whether all components share S.
    """

    factor = uncorrelated.Spherical

    def declare(self, k: int, about: About) -> Components:
        """Sample means and scales: inside a NumPyro program only."""
        return self.components(self.sample_means(k, about), jnp.square(self.sample_scales(k)), about)

    def _floor(self, about):
        return jnp.square(self.resolution(about)).max()
