r"""Deterministic variational inference: the normals nearest to the posterior, and weighted draws that correct them.

For each mode with mass, the normal q that maximises the evidence lower bound (``variational.elbo``); then

    q(z) = sum_m pi_m N(z | c_m, A_m S_m S_m' A_m'),    pi_m proportional to exp(ELBO_m).

Draws come from t distributions about these normals, adapted to the posterior where it is far from normal, and are resampled by
Pareto-smoothed importance weights, with the whole mixture in the denominator (``variational.draws``): unweighted, the intervals
of a q that minimises KL(q, p) are too short.

With a ``guide``, NumPyro's stochastic variational inference fits that guide instead (``variational.guide``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from jaxtyping import Array

from bgmm.core.checks import check_count, check_flag, check_positive
from bgmm.core.components import Mixture
from bgmm.core.importance import LEAST_DRAWS
from bgmm.core.options import named_options
from bgmm.engines.base import Draws, Enough
from bgmm.engines.variational.approximate import MORE_MODES, approximate, refusal
from bgmm.engines.variational.draws import Weighted, weighted_draws
from bgmm.engines.variational.elbo import best_normal
from bgmm.engines.variational.guide import guide_draws
from bgmm.program.target import Target


@named_options()
@dataclass(frozen=True)
class VI:
    """Settings of variational inference.

    :param n_draws: draws in the tree, resampled from at least as many weighted ones.
    :param n_starts: restarts among which the modes are sought.
    :param mean_field: whether the parameters are independent under q in whitened coordinates: fewer numbers to optimise, for
        hundreds of parameters.
    :param guide: a class of ``numpyro.infer.autoguide``, any function of the model that returns such a guide, or a guide of
        your own: a program of the rows that samples every site of the model by its name. Fitted by NumPyro's SVI.
    :param guide_steps: steps of Adam for a guide.
    :param learning_rate: of these steps, at the beginning; it falls to a hundredth.
    """

    n_draws: int = 4000
    n_starts: int = 16
    mean_field: bool = False
    guide: Callable | None = None
    guide_steps: int = 3000
    learning_rate: float = 0.02

    def __post_init__(self) -> None:
        check_count("n_draws", self.n_draws, least=LEAST_DRAWS)
        check_count("n_starts", self.n_starts)
        check_flag("mean_field", self.mean_field)
        check_count("guide_steps", self.guide_steps)
        check_positive("learning_rate", self.learning_rate)
        if self.guide is not None and not callable(self.guide):
            raise ValueError(f"guide must be a class of numpyro.infer.autoguide or a program of the rows, not {self.guide!r}")
        if self.guide is not None and self.mean_field:
            raise ValueError("mean_field=True is for the normal q, and a guide says itself what it is; leave one of them out")

    def refuses(self, target: Target, start: object = None) -> str | None:
        """Too many parameters; and where the prior leaves components empty, what partitions of the rows do not allow."""
        if self.guide is not None and target.leaves_empty:
            return "a guide is for a given number of components, all of them occupied, and this prior leaves some empty"
        return refusal("VI", target, start)

    @property
    def remedy(self) -> str:
        """What may improve the approximation."""
        return MORE_MODES if self.guide is None else "raise guide_steps"

    def weighted(self, target: Target, *, key: Array, start: Mixture | None = None) -> tuple[Target, Weighted]:
        """Weighted draws of the posterior."""
        if self.guide is not None:
            sizes = self.n_draws, self.n_starts, self.guide_steps
            return guide_draws(target, self.guide, *sizes, self.learning_rate, key=key, start=start)
        normal = partial(best_normal, mean_field=self.mean_field)
        return weighted_draws(target, normal, self.n_draws, self.n_starts, key=key, start=start)

    def run(self, target: Target, *, key: Array, start: Mixture | None = None, enough: Enough | None = None) -> Draws:
        """``n_draws`` draws."""
        return approximate(self, target, key=key, start=start)
