"""Priors over the mixing weights, and with them over the number of components (``WeightsPrior``)."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, Num

from bgmm.core import partitions
from bgmm.core.checks import check_count
from bgmm.core.options import named_options
from bgmm.models.counts import BetaNegativeBinomial, CountPrior
from bgmm.models.hyperpriors import Concentration, F, check_concentration, declare_concentration
from bgmm.program.weights import Count, PaddedDirichlet, Sticks, SymmetricDirichlet, fixed_number
from bgmm.program.weights_prior import k_is_random


@named_options()
@dataclass(frozen=True)
class Dirichlet(SymmetricDirichlet):
    r"""A fixed number of components, their weights symmetric Dirichlet.

    .. math:: w \sim \mathrm{Dirichlet}(\alpha, \ldots, \alpha)

    :param n_components: K, the number of terms of the mixture.
    :param concentration: alpha, a number or a prior (``F``, ``Gamma``, any ``Hyperprior``). The default 1 is uniform on the
        simplex: it says nothing of the clusters' sizes, and lets the data empty a component. Well above 1 pulls the weights
        towards 1 / K; well below 1 favours few occupied components.
    """

    n_components: int
    concentration: Concentration = 1.0

    def __post_init__(self) -> None:
        check_count("n_components", self.n_components)
        check_concentration(self.concentration)

    @property
    def size(self) -> int:
        """The number of components."""
        return self.n_components

    @property
    def size_is_bound(self) -> bool:
        """All components exist."""
        return False

    def dirichlet_parameter(self, concentration: Float[Array, ""], k: Num[Array, ""]) -> Float[Array, ""]:
        """Alpha."""
        return concentration

    def log_prior_k(self) -> Float[Array, " m"]:
        """Log prior probability of each number of components, 1 .. size."""
        return fixed_number(self.size)

    def declare(self) -> Float[Array, " m"]:
        """Sample the weights: inside a NumPyro program only."""
        if self.n_components == 1:
            return jnp.ones(1)
        concentration = declare_concentration(self.concentration)
        return numpyro.sample("weights", dist.Dirichlet(jnp.broadcast_to(concentration, (self.n_components,))))


@named_options()
@dataclass(frozen=True)
class RandomK(SymmetricDirichlet):
    r"""An unknown number of components, their weights symmetric Dirichlet given that number.

    .. math::
        K &\sim \text{count}, \text{ up to } \mathtt{max\_components} \\
        w \mid K &\sim \mathrm{Dirichlet}(\gamma_K, \ldots, \gamma_K), \qquad
        \gamma_K = \alpha / K \text{ (dynamic) or } \alpha \text{ (static)}

    :param count: prior on K, shifted to start at 1: ``Uniform``, ``Geometric``, ``Poisson``, ``NegativeBinomial``, the
        default ``BetaNegativeBinomial(1, 4, 3)``, under which few components are likely and many possible, or any
        ``CountPrior``.
    :param concentration: alpha, a number or a prior (``F``, ``Gamma``, any ``Hyperprior``).
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
            raise ValueError(
                f"count must be a prior with a method log_prob(above) such as models.Poisson(1.0), not {self.count!r}"
            )
        check_concentration(self.concentration)
        check_count("max_components", self.max_components, least=2)
        if not isinstance(self.dynamic, bool):
            raise ValueError(f"dynamic must be True or False, not {self.dynamic!r}")

    @property
    def size(self) -> int:
        """The largest number of components."""
        return self.max_components

    @property
    def size_is_bound(self) -> bool:
        """More components than rows are only possible."""
        return True

    def dirichlet_parameter(self, concentration: Float[Array, ""], k: Num[Array, ""]) -> Float[Array, ""]:
        """Alpha / K or alpha."""
        return concentration / k if self.dynamic else concentration

    def log_prior_k(self) -> Float[Array, " m"]:
        """Log prior probability of each number of components, 1 .. size, up to a constant."""
        with jax.ensure_compile_time_eval():  # a constant of compiled programs, whatever library the prior is written in
            return jnp.asarray(self.count.log_prob(jnp.arange(self.size, dtype=float)))

    def declare(self) -> Float[Array, " m"]:
        """Sample K and the weights, zero for components beyond K: inside a NumPyro program only."""
        if not k_is_random(self):
            raise ValueError("count leaves only one number of components possible; write models.finite with that number")
        concentration = declare_concentration(self.concentration)
        k = numpyro.sample("n_components", Count(self.log_prior_k()))
        return numpyro.sample("weights", PaddedDirichlet(self.dirichlet_parameter(concentration, k), k, self.size))


@named_options()
@dataclass(frozen=True)
class StickBreaking:
    r"""The Dirichlet process, cut off after a number of components (Ishwaran and James 2001).

    .. math:: w_k = v_k \prod_{l < k} (1 - v_l), \qquad v_k \sim \mathrm{Beta}(1, \alpha), \quad v_{K} = 1

    The more rows, the more components are occupied: alpha log(1 + N / alpha) of N, about, whatever K. So as a prior of the
    number of clusters it insists on more of them in more data, and is at its best where that is believed.

    Gibbs works with the partitions of the whole process, and so does the prior of K+ that trees hold; the program itself cuts
    the sticks off, which differs by N exp(-(K - 1) / alpha), about: give K well above alpha log N. Where draws occupy all
    components, a warning says so.

    :param n_components: K, the number of components after which the process is cut off.
    :param concentration: alpha, a number or a prior (``F``, ``Gamma``, any ``Hyperprior``).
    """

    n_components: int = 20
    concentration: Concentration = 1.0

    def __post_init__(self) -> None:
        check_count("n_components", self.n_components, least=2)
        check_concentration(self.concentration)

    @property
    def size(self) -> int:
        """The largest number of components."""
        return self.n_components

    @property
    def size_is_bound(self) -> bool:
        """More components than rows are only possible."""
        return True

    @property
    def exchangeable(self) -> bool:
        """The first sticks tend to be the longest."""
        return False

    def log_prior_k(self) -> Float[Array, " m"]:
        """Log prior probability of each number of components, 1 .. size."""
        return fixed_number(self.size)

    def declare(self) -> Float[Array, " m"]:
        """Sample the weights: inside a NumPyro program only."""
        return numpyro.sample("weights", Sticks(declare_concentration(self.concentration), self.size))

    def log_density(self, log_w: Float[Array, " m"], concentration: Float[Array, ""], k: Int[Array, ""]) -> Float[Array, ""]:
        """Log density of all weights but the last."""
        return Sticks(concentration, self.size).log_density(log_w)

    def log_partition(self, counts: Float[Array, " m"], concentration: Float[Array, ""], k: Num[Array, ""]) -> Float[Array, ""]:
        """Log probability of a partition with these counts under the whole process (``core.partitions``)."""
        log_p = partitions.process_log_partition(counts, concentration)
        return jnp.where(k >= (counts > 0).sum(), log_p, -jnp.inf)

    def new_component(
        self, n: Num[Array, ""], occupied: Num[Array, ""], concentration: Float[Array, ""], k: Num[Array, ""]
    ) -> Float[Array, ""]:
        """Probability that row n + 1 opens a new component: alpha / (n + alpha) while K+ < K."""
        return concentration * (occupied < k) / (n + concentration)

    def draw_log_weights(
        self, counts: Float[Array, " m"], concentration: Float[Array, ""], k: Int[Array, ""], *, key: Array
    ) -> Float[Array, " m"]:
        """Logarithms of w ~ Dirichlet(n_1, ..., n_K+, alpha), whose last weight the empty components break up as sticks."""
        return partitions.process_log_weights(counts, concentration, key=key)
