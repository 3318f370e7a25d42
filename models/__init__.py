"""What is believed: the catalogue of ready-made models, and the priors they are made of.

Import it as ``from bgmm import models``.
"""

from __future__ import annotations

from bgmm.core.options import named_options
from bgmm.models.counts import BetaNegativeBinomial, CountPrior, Geometric, NegativeBinomial, Poisson, Uniform
from bgmm.models.diagonal import Diagonal
from bgmm.models.gaussian import Gaussian
from bgmm.models.hierarchical import Hierarchical
from bgmm.models.hyperpriors import Concentration, F, Gamma, Hyperprior
from bgmm.models.mixture import Mixture
from bgmm.models.spherical import Spherical
from bgmm.models.weights import Dirichlet, RandomK, StickBreaking, SymmetricDirichlet
from bgmm.program.family import About, Family
from bgmm.program.weights_prior import WeightsPrior

__all__ = [
    "About",
    "BetaNegativeBinomial",
    "CountPrior",
    "Diagonal",
    "Dirichlet",
    "F",
    "Family",
    "Gamma",
    "Gaussian",
    "Geometric",
    "Hierarchical",
    "Hyperprior",
    "Mixture",
    "NegativeBinomial",
    "Poisson",
    "RandomK",
    "Spherical",
    "StickBreaking",
    "SymmetricDirichlet",
    "Uniform",
    "WeightsPrior",
    "dirichlet_process",
    "finite",
    "random_k",
    "sparse",
]


_SHARING = {name: f"write components=models.Hierarchical({name}=...)" for name in ("spread", "log_spread_sd")}


@named_options(also=Gaussian, places=_SHARING)
def finite(n_components: int, *, concentration: Concentration = 1.0, components: Family | None = None, **options) -> Mixture:
    """A mixture of a given number of components: Dirichlet weights, Normal means, LogNormal scales, LKJ correlations.

    :param n_components: K.
    :param concentration: that of the weights (``Dirichlet``).
    :param components: the family, such as ``models.Diagonal()`` or one of your own; by default ``models.Gaussian``.
    :param options: fields of ``Gaussian``, where no family is given.
    """
    return Mixture(Dirichlet(n_components, concentration), _family(Gaussian, components, options))


@named_options(also=Hierarchical, places={"tied": "write models.random_k(components=models.Gaussian(tied=True))"})
def random_k(
    count: CountPrior | None = None,
    *,
    concentration: Concentration | None = None,
    dynamic: bool = True,
    max_components: int = 20,
    components: Family | None = None,
    **options,
) -> Mixture:
    """A mixture of an unknown number of components: a prior on K, and components that share what the data say they share.

    The first four are those of ``RandomK``. By default K - 1 is BetaNegativeBinomial(1, 4, 3) and the weights are
    Dirichlet(alpha / K) with alpha ~ F(6, 3), as in Fruehwirth-Schnatter, Malsiner-Walli and Gruen (2021).

    ``log_prior`` of its trees is that of K, alpha and what components share, so ``az.psense_summary`` tells how much answers
    depend on these priors, and not on those of the components and weights, whose number varies.

    :param components: the family; by default ``models.Hierarchical``, because how many clusters there are depends on how alike
        their covariances may be. ``models.Gaussian()`` has covariances that are independent a priori, as in ``finite``.
    :param options: fields of ``Hierarchical``, where no family is given.
    """
    weights = RandomK(
        BetaNegativeBinomial() if count is None else count,
        F() if concentration is None else concentration,
        dynamic,
        max_components,
    )
    return Mixture(weights, _family(Hierarchical, components, options))


@named_options(also=Gaussian, places=_SHARING)
def sparse(
    n_components: int = 10, *, concentration: Concentration = 0.01, components: Family | None = None, **options
) -> Mixture:
    """An overfitted mixture whose small concentration leaves components empty that the data do not need.

    Malsiner-Walli, Fruehwirth-Schnatter and Gruen (2016): the number of occupied components then tells the number of
    clusters. ``concentration=Gamma(10, 10 * n_components)`` is their prior for it. The others are as in ``finite``.
    """
    return Mixture(Dirichlet(n_components, concentration), _family(Gaussian, components, options))


@named_options(also=Gaussian, places=_SHARING)
def dirichlet_process(
    n_components: int = 20, *, concentration: Concentration = 1.0, components: Family | None = None, **options
) -> Mixture:
    """A Dirichlet process mixture, its sticks cut off after ``n_components`` (``StickBreaking``).

    The others are as in ``finite``.
    """
    return Mixture(StickBreaking(n_components, concentration), _family(Gaussian, components, options))


def _family(default: type[Gaussian] | type[Hierarchical], components: Family | None, options: dict) -> Family:
    """The family, or the default with these options."""
    if components is None:
        return default(**options)
    if options:
        name = next(iter(options))
        raise ValueError(f"{name} cannot be given beside components=; give options of a family to the family itself")
    return components
