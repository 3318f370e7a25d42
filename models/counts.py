"""Priors on the number of components K, each a distribution of K - 1 = 0, 1, 2, ...

Any frozen dataclass with a method ``log_prob`` serves (``CountPrior``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from bgmm.core.checks import check_between, check_positive
from bgmm.core.options import named_options


@runtime_checkable
class CountPrior(Protocol):
    """A prior on the number of components."""

    def log_prob(self, above: Float[Array, " k"]) -> Float[Array, " k"]:
        """log p(K) up to a constant, of each number of components above one, K - 1."""


@named_options()
@dataclass(frozen=True)
class Uniform:
    """All numbers alike (Richardson and Green 1997)."""

    def log_prob(self, above: Float[Array, " k"]) -> Float[Array, " k"]:
        """Log probability of so many above one, up to a constant."""
        return jnp.zeros_like(above)


@named_options()
@dataclass(frozen=True)
class Geometric:
    r"""Each number less likely than the one before it by the same factor: :math:`p(K) = p (1 - p)^{K - 1}`.

    :param probability: p, that of K = 1.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_between("probability", self.probability, 0.0, 1.0)

    def log_prob(self, above: Float[Array, " k"]) -> Float[Array, " k"]:
        """Log probability of so many above one."""
        return jnp.log(self.probability) + above * jnp.log1p(-self.probability)


@named_options()
@dataclass(frozen=True)
class Poisson:
    r""":math:`K - 1 \sim \mathrm{Poisson}(\lambda)`.

    :param rate: lambda, the expected number above one.
    """

    rate: float = 1.0

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)

    def log_prob(self, above: Float[Array, " k"]) -> Float[Array, " k"]:
        """Log probability of so many above one."""
        return above * jnp.log(self.rate) - self.rate - gammaln(above + 1)


@named_options()
@dataclass(frozen=True)
class NegativeBinomial:
    r""":math:`K - 1 \sim \mathrm{Poisson}(\lambda), \lambda \sim \mathrm{Gamma}(a, b)`.

    :param shape: a.
    :param rate: b; the expected number above one is a / b.
    """

    shape: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        check_positive("shape", self.shape)
        check_positive("rate", self.rate)

    def log_prob(self, above: Float[Array, " k"]) -> Float[Array, " k"]:
        """Log probability of so many above one."""
        a, b = self.shape, self.rate
        ways = gammaln(a + above) - gammaln(a) - gammaln(above + 1)
        return ways + a * jnp.log(b / (1 + b)) - above * jnp.log1p(b)


@named_options()
@dataclass(frozen=True)
class BetaNegativeBinomial:
    r"""Few components likely and many possible (Fruehwirth-Schnatter, Malsiner-Walli and Gruen 2021).

    .. math:: p(K) = \frac{\Gamma(\alpha + K - 1) B(\alpha + a, K - 1 + b)}{\Gamma(\alpha) \Gamma(K) B(a, b)}

    :param alpha: alpha. With the defaults (1, 4, 3) the mean of K is 2.
    :param a: a, which governs the tail.
    :param b: b.
    """

    alpha: float = 1.0
    a: float = 4.0
    b: float = 3.0

    def __post_init__(self) -> None:
        for name in ("alpha", "a", "b"):
            check_positive(name, getattr(self, name))

    def log_prob(self, above: Float[Array, " k"]) -> Float[Array, " k"]:
        """Log probability of so many above one."""
        ways = gammaln(self.alpha + above) - gammaln(self.alpha) - gammaln(above + 1)
        return ways + _log_beta(self.alpha + self.a, above + self.b) - _log_beta(self.a, self.b)


def _log_beta(a, b):
    """log B(a, b); JAX's own is right to six digits only."""
    return gammaln(a) + gammaln(b) - gammaln(a + b)
