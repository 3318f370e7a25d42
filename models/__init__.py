"""What is believed: the catalogue of ready-made models, and the priors they are made of.

Import it as ``from bgmm import models``.
"""

from __future__ import annotations

from bgmm.models.counts import BetaNegativeBinomial, CountPrior, Geometric, NegativeBinomial, Poisson, Uniform
from bgmm.models.gaussian import Gaussian
from bgmm.models.hyperpriors import Concentration, F, Gamma
from bgmm.models.mixture import Mixture
from bgmm.models.weights import Dirichlet, RandomK, StickBreaking

__all__ = [
    "BetaNegativeBinomial",
    "Dirichlet",
    "F",
    "Gamma",
    "Gaussian",
    "Geometric",
    "Mixture",
    "NegativeBinomial",
    "Poisson",
    "RandomK",
    "StickBreaking",
    "Uniform",
    "dirichlet_process",
    "finite",
    "random_k",
    "sparse",
]


def finite(n_components: int, *, concentration: Concentration = 1.0, **components) -> Mixture:
    """A mixture of a given number of Gaussians: Dirichlet weights, Normal means, LogNormal scales, LKJ correlations.

    ``concentration`` is that of the weights (``Dirichlet``); other options are fields of ``Gaussian``.
    """
    return Mixture(Dirichlet(n_components, concentration), Gaussian(**components))


def random_k(
    count: CountPrior | None = None,
    *,
    concentration: Concentration | None = None,
    dynamic: bool = True,
    max_components: int = 20,
    **components,
) -> Mixture:
    """A mixture of an unknown number of Gaussians: a prior on K, and given K the same components as ``finite``.

    The first four are those of ``RandomK``; other options are fields of ``Gaussian``. By default K - 1 is
    BetaNegativeBinomial(1, 4, 3) and the weights are Dirichlet(alpha / K) with alpha ~ F(6, 3), as in Fruehwirth-Schnatter,
    Malsiner-Walli and Gruen (2021).
    """
    weights = RandomK(
        BetaNegativeBinomial() if count is None else count,
        F() if concentration is None else concentration,
        dynamic,
        max_components,
    )
    return Mixture(weights, Gaussian(**components))


def sparse(n_components: int = 10, *, concentration: Concentration = 0.01, **components) -> Mixture:
    """An overfitted mixture whose small concentration leaves components empty that the data do not need.

    Malsiner-Walli, Fruehwirth-Schnatter and Gruen (2016): the number of occupied components then tells the number of
    clusters. ``concentration=Gamma(10, 10 * n_components)`` is their prior for it. Other options are fields of ``Gaussian``.
    """
    return Mixture(Dirichlet(n_components, concentration), Gaussian(**components))


def dirichlet_process(n_components: int = 20, *, concentration: Concentration = 1.0, **components) -> Mixture:
    """A Dirichlet process mixture of Gaussians, its sticks cut off after ``n_components`` (``StickBreaking``).

    Other options are fields of ``Gaussian``.
    """
    return Mixture(StickBreaking(n_components, concentration), Gaussian(**components))
