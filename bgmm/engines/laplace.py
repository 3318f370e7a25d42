"""Laplace's approximation: a normal distribution at each mode, and weighted draws that correct it.

The modes are those of the unconstrained log posterior, its Jacobian included; with H the Hessian of its negative at mode m,

    q(z) = sum_m pi_m N(z | z_m, H_m^-1),    pi_m proportional to exp(ELBO_m).

Draws come from t distributions about these normals, adapted to the posterior where it is far from normal, and are resampled by
Pareto-smoothed importance weights (``variational.draws``).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Array

from bgmm.core.checks import check_count
from bgmm.core.components import Mixture
from bgmm.core.importance import LEAST_DRAWS
from bgmm.core.options import named_options
from bgmm.engines.base import Draws, Enough
from bgmm.engines.variational.approximate import MORE_MODES, approximate, refusal
from bgmm.engines.variational.draws import Weighted, weighted_draws
from bgmm.engines.variational.elbo import laplace_normal
from bgmm.program.target import Target


@named_options()
@dataclass(frozen=True)
class Laplace:
    """Settings of Laplace's approximation.

    :param n_draws: draws in the tree, resampled from at least as many weighted ones.
    :param n_starts: restarts among which the modes are sought.
    """

    n_draws: int = 4000
    n_starts: int = 16

    def __post_init__(self) -> None:
        check_count("n_draws", self.n_draws, least=LEAST_DRAWS)
        check_count("n_starts", self.n_starts)

    def refuses(self, target: Target, start: object = None) -> str | None:
        """Too many parameters; and where the prior leaves components empty, what partitions of the rows do not allow."""
        return refusal("Laplace", target, start)

    @property
    def remedy(self) -> str:
        """What may improve the approximation."""
        return MORE_MODES

    def weighted(self, target: Target, *, key: Array, start: Mixture | None = None) -> tuple[Target, Weighted]:
        """Weighted draws of the posterior."""
        return weighted_draws(target, laplace_normal, self.n_draws, self.n_starts, key=key, start=start)

    def run(self, target: Target, *, key: Array, start: Mixture | None = None, enough: Enough | None = None) -> Draws:
        """``n_draws`` draws."""
        return approximate(self, target, key=key, start=start)
