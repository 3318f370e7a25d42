r"""The protocol of a prior over the mixing weights, and with them over the number of components.

A mixture has K components, at most M = ``size``; :math:`\alpha` is the concentration of its weights. Rows that share a
component form a block of a partition C, with counts :math:`n_1, \ldots, n_{K_+}`. The prior says

.. math::
    p(K), \qquad p(\alpha), \qquad p(w \mid \alpha, K), \qquad
    p(C \mid \alpha, K) = \frac{K!}{(K - K_+)!} \int p(w \mid \alpha, K) \prod_{k \le K_+} w_k^{n_k} \, dw,

the last for exchangeable components. Counts and weights are arrays with M places: the occupied components first, then the empty
ones, then zeros for the components beyond K.

A class of this protocol is a frozen dataclass, because compiled programs are kept by its value. ``models.SymmetricDirichlet``
implements it from one function, the Dirichlet parameter.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Num
from numpyro.distributions import Distribution


@runtime_checkable
class Hyperprior(Protocol):
    """A prior over the concentration: a frozen dataclass with one method."""

    def distribution(self) -> Distribution:
        """The NumPyro distribution, of a positive number."""


@runtime_checkable
class WeightsPrior(Protocol):
    """A prior over the weights of at most ``size`` components."""

    @property
    def size(self) -> int:
        """M, the largest number of components."""

    @property
    def size_is_bound(self) -> bool:
        """Whether ``size`` only bounds the number of components, as for a random K or a truncated process.

        Then it may exceed the number of rows, and a warning is due where draws occupy all components.
        """

    @property
    def exchangeable(self) -> bool:
        """Whether p(w | alpha, K) is the same for every order of the components.

        Where it is not, engines sort the components by decreasing weight before they evaluate the density.
        """

    @property
    def concentration(self) -> float | Hyperprior:
        """alpha, a number or its prior."""

    def log_prior_k(self) -> Float[Array, " m"]:
        """log p(K) of K = 1 .. size, up to a constant."""

    def declare(self) -> Float[Array, " m"]:
        """Sample the weights, zero for components beyond K: inside a NumPyro program only.

        Its sites are called ``weights``, ``concentration`` and ``n_components``; the last two exist only where they are random.
        """

    def log_density(self, log_w: Float[Array, " m"], concentration: Float[Array, ""], k: Int[Array, ""]) -> Float[Array, ""]:
        """log p(w | alpha, K), a density of the first K - 1 weights.

        It takes logarithms, because a small concentration makes weights that underflow.
        """

    def log_partition(self, counts: Float[Array, " m"], concentration: Float[Array, ""], k: Num[Array, ""]) -> Float[Array, ""]:
        """log p(C | alpha, K) of a partition with these counts, minus infinity where K < K+.

        Over all partitions of the rows the probabilities sum to one.
        """

    def new_component(
        self, n: Num[Array, ""], occupied: Num[Array, ""], concentration: Float[Array, ""], k: Num[Array, ""]
    ) -> Float[Array, ""]:
        """The probability that row n + 1 opens a new component, where the first n rows occupy ``occupied`` of K.

        It is the ratio of two partition probabilities, and may depend on the counts only through n and ``occupied``
        (Gibbs-type priors: Gnedin and Pitman 2006).
        """

    def draw_log_weights(
        self, counts: Float[Array, " m"], concentration: Float[Array, ""], k: Int[Array, ""], *, key: Array
    ) -> Float[Array, " m"]:
        """A draw of log w given the counts, alpha and K; with all counts zero, a draw from p(w | alpha, K)."""


def concentration_prior(weights: WeightsPrior) -> Distribution | None:
    """The distribution of the concentration, None where it is a number."""
    value = weights.concentration
    return value.distribution() if isinstance(value, Hyperprior) else None


def median_concentration(weights: WeightsPrior) -> float:
    """The concentration, or about its prior median."""
    prior = concentration_prior(weights)
    return float(weights.concentration if prior is None else np.median(prior.sample(jax.random.key(0), (1000,))))  # type: ignore[arg-type]


def k_is_random(weights: WeightsPrior) -> bool:
    """Whether more than one number of components has positive prior probability."""
    return bool(np.isfinite(np.asarray(weights.log_prior_k())).sum() > 1)
