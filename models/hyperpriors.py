"""Priors over the concentration of the weights.

Any frozen dataclass with a method ``distribution()`` serves (``Hyperprior``).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bgmm.core.checks import check_positive, is_number
from bgmm.core.options import named_options
from bgmm.program.weights_prior import Hyperprior


@named_options()
@dataclass(frozen=True)
class F:
    r"""Fisher's F, whose long tail reaches concentrations from far below to far above one.

    Fruehwirth-Schnatter, Malsiner-Walli and Gruen (2021) take F(6, 3) for the alpha of dynamic weights.

    :param first: degrees of freedom above.
    :param second: degrees of freedom below.
    """

    first: float = 6.0
    second: float = 3.0

    def __post_init__(self) -> None:
        check_positive("first", self.first)
        check_positive("second", self.second)

    def distribution(self) -> dist.Distribution:
        """X = (second / first) B / (1 - B) with B ~ Beta(first / 2, second / 2)."""
        odds = dist.transforms.SigmoidTransform().inv
        shift = dist.transforms.AffineTransform(jnp.log(self.second / self.first), 1.0)
        beta = dist.Beta(self.first / 2, self.second / 2)
        return dist.TransformedDistribution(beta, [odds, shift, dist.transforms.ExpTransform()])


@named_options()
@dataclass(frozen=True)
class Gamma:
    """The gamma distribution.

    :param shape: its shape.
    :param rate: its rate: the mean is shape / rate.
    """

    shape: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        check_positive("shape", self.shape)
        check_positive("rate", self.rate)

    def distribution(self) -> dist.Distribution:
        """Gamma(shape, rate)."""
        return dist.Gamma(self.shape, self.rate)


Concentration = float | Hyperprior


def check_concentration(value: object) -> None:
    """Insist on a number above zero or a prior over such numbers."""
    if not isinstance(value, Hyperprior) and not (is_number(value) and value > 0):
        raise ValueError(
            "concentration must be above 0, or a prior with a method distribution() such as models.Gamma(1.0, 1.0), "
            f"not {value!r}"
        )


def declare_concentration(value: Concentration) -> Float[Array, ""]:
    """The number itself, or a draw of the site ``concentration``: inside a NumPyro program only."""
    if isinstance(value, Hyperprior):
        return numpyro.sample("concentration", value.distribution())
    return jnp.asarray(float(value))
