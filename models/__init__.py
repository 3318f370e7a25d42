"""What is believed: the catalogue of ready-made models, and the priors they are made of.

Import it as ``from bgmm import models``.
"""

from __future__ import annotations

from bgmm.models.gaussian import Gaussian
from bgmm.models.mixture import Mixture
from bgmm.models.weights import Dirichlet

__all__ = ["Dirichlet", "Gaussian", "Mixture", "finite"]


def finite(n_components: int, *, concentration: float = 1.0, **components) -> Mixture:
    """A mixture of a given number of Gaussians: Dirichlet weights, Normal means, LogNormal scales, LKJ correlations.

    ``concentration`` is that of the weights (``Dirichlet``); other options are fields of ``Gaussian``.
    """
    return Mixture(Dirichlet(n_components, concentration), Gaussian(**components))
