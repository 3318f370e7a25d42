"""Priors over the mixing weights; they own the number of components."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from bgmm.core.checks import check_count
from bgmm.core.weights import Count, Law, PaddedDirichlet, Sticks
from bgmm.models.counts import BetaNegativeBinomial, CountPrior
from bgmm.models.hyperpriors import Concentration, F, check_concentration, declare_concentration


@dataclass(frozen=True)
class Dirichlet:
    r"""A fixed number of components, their weights symmetric Dirichlet.

    .. math:: w \sim \mathrm{Dirichlet}(\alpha, \ldots, \alpha)

    :param n_components: K, the number of terms of the mixture.
    :param concentration: alpha, a number or a prior (``F``, ``Gamma``). The default 1 is uniform on the simplex: it says
        nothing of the clusters' sizes, and lets the data empty a component. Well above 1 pulls the weights towards 1 / K; well
        below 1 favours few occupied components.
    """

    n_components: int
    concentration: Concentration = 1.0

    def __post_init__(self) -> None:
        check_count("n_components", self.n_components)
        check_concentration(self.concentration)

    @property
    def size(self) -> int:
        """Places for components."""
        return self.n_components

    @property
    def law(self) -> Law:
        """How the weights follow from the concentration."""
        return "static"

    def log_prior_k(self) -> Float[Array, " k"]:
        """Log prior probability of each number of components, 1 .. size."""
        return _certain(self.size)

    def given(self, concentration: Float[Array, ""], k: Int[Array, ""]) -> PaddedDirichlet:
        """Of the weights, given the concentration."""
        return PaddedDirichlet(concentration, k, self.size)

    def declare(self) -> Float[Array, " k"]:
        """Sample the weights: inside a NumPyro program only."""
        if self.n_components == 1:
            return jnp.ones(1)
        concentration = declare_concentration(self.concentration)
        return numpyro.sample("weights", dist.Dirichlet(jnp.broadcast_to(concentration, (self.n_components,))))


@dataclass(frozen=True)
class StickBreaking:
    r"""The Dirichlet process, cut off after a number of components (Ishwaran and James 2001).

    .. math:: w_k = v_k \prod_{l < k} (1 - v_l), \qquad v_k \sim \mathrm{Beta}(1, \alpha), \quad v_{K} = 1

    The more rows, the more components are occupied: alpha log(1 + N / alpha) of N, about, whatever K. So as a prior of the
    number of clusters it insists on more of them in more data, and is at its best where that is believed.

    Gibbs works with the partitions of the whole process, and so does the prior of K+ that trees hold; the program itself cuts
    the sticks off, which differs by N exp(-(K - 1) / alpha), about: give K well above alpha log N. Where draws occupy all
    components, a warning says so.

    :param n_components: K, places for components.
    :param concentration: alpha, a number or a prior (``F``, ``Gamma``).
    """

    n_components: int = 20
    concentration: Concentration = 1.0

    def __post_init__(self) -> None:
        check_count("n_components", self.n_components, least=2)
        check_concentration(self.concentration)

    @property
    def size(self) -> int:
        """Places for components."""
        return self.n_components

    @property
    def law(self) -> Law:
        """How the weights follow from the concentration."""
        return "process"

    def log_prior_k(self) -> Float[Array, " k"]:
        """Log prior probability of each number of components, 1 .. size."""
        return _certain(self.size)

    def given(self, concentration: Float[Array, ""], k: Int[Array, ""]) -> Sticks:
        """Of the weights, given the concentration."""
        return Sticks(concentration, self.size)

    def declare(self) -> Float[Array, " k"]:
        """Sample the weights: inside a NumPyro program only."""
        return numpyro.sample("weights", Sticks(declare_concentration(self.concentration), self.size))


@dataclass(frozen=True)
class RandomK:
    r"""An unknown number of components, their weights symmetric Dirichlet given that number.

    .. math::
        K &\sim \text{count}, \text{ up to } \mathtt{max\_components} \\
        w \mid K &\sim \mathrm{Dirichlet}(\gamma_K, \ldots, \gamma_K), \qquad
        \gamma_K = \alpha / K \text{ (dynamic) or } \alpha \text{ (static)}

    :param count: prior on K, shifted to start at 1: ``Uniform``, ``Geometric``, ``Poisson``, ``NegativeBinomial`` or the
        default ``BetaNegativeBinomial(1, 4, 3)``, under which few components are likely and many possible.
    :param concentration: alpha, a number or a prior (``F``, ``Gamma``).
    :param dynamic: whether alpha is shared out among the components, so that more of them leave no more occupied
        (Fruehwirth-Schnatter, Malsiner-Walli and Gruen 2021); Richardson and Green (1997) have static weights.
    :param max_components: the largest K. Time and memory grow with it.
    """

    count: CountPrior = field(default_factory=BetaNegativeBinomial)
    concentration: Concentration = field(default_factory=F)
    dynamic: bool = True
    max_components: int = 20

    def __post_init__(self) -> None:
        if not isinstance(self.count, CountPrior):
            raise ValueError(f"count must be a prior such as models.Poisson(1.0), not {self.count!r}")
        check_concentration(self.concentration)
        check_count("max_components", self.max_components)
        if not isinstance(self.dynamic, bool):
            raise ValueError(f"dynamic must be True or False, not {self.dynamic!r}")

    @property
    def size(self) -> int:
        """Places for components."""
        return self.max_components

    @property
    def law(self) -> Law:
        """How the weights follow from the concentration."""
        return "dynamic" if self.dynamic else "static"

    def log_prior_k(self) -> Float[Array, " k"]:
        """Log prior probability of each number of components, 1 .. size, up to a constant."""
        return self.count.log_prob(jnp.arange(self.size, dtype=float))

    def given(self, concentration: Float[Array, ""], k: Int[Array, ""]) -> PaddedDirichlet:
        """Of the weights, given the concentration and K."""
        return PaddedDirichlet(concentration / k if self.dynamic else concentration, k, self.size)

    def declare(self) -> Float[Array, " k"]:
        """Sample K and the weights, zero for components beyond K: inside a NumPyro program only."""
        concentration = declare_concentration(self.concentration)
        k = numpyro.sample("n_components", Count(self.log_prior_k()))
        return numpyro.sample("weights", self.given(concentration, k))


def _certain(k: int) -> Float[Array, " k"]:
    """Log prior of 1, 2, ... components when there are k."""
    return jnp.where(jnp.arange(1, k + 1) == k, 0.0, -jnp.inf)
