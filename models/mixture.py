"""The mixture: a NumPyro program put together from a prior over weights and a family of components."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpyro
from jaxtyping import Float

from bgmm.core.factor import AnyArray
from bgmm.core.options import named_options
from bgmm.models.gaussian import Gaussian
from bgmm.program.distributions import ComponentMixture
from bgmm.program.family import About, Family
from bgmm.program.weights_prior import WeightsPrior


@named_options()
@dataclass(frozen=True)
class Mixture:
    r"""The generative story of a mixture, for standardised rows.

    .. math::
        w &\sim \text{weights} \\
        \theta_k &\sim \text{components} \\
        z_n &\sim \mathrm{Categorical}(w), \qquad x_n \sim p(\cdot \mid \theta_{z_n})

    in which the assignments z are summed out: x_n is observed from sum_k w_k p(x | theta_k). An instance is a NumPyro
    program of one argument, the rows (n, d).

    :param weights: prior over the weights and the number of components: one of ``bgmm.models``, or your own (``WeightsPrior``).
    :param components: prior over the components: ``Gaussian``, ``Diagonal``, ``Spherical``, or your own (``Family``).
    """

    weights: WeightsPrior
    components: Family = field(default_factory=Gaussian)

    def __post_init__(self) -> None:
        if isinstance(self.weights, type) or not isinstance(self.weights, WeightsPrior):
            raise ValueError(f"weights must be a prior such as models.Dirichlet(3) (models.WeightsPrior), not {self.weights!r}")
        if isinstance(self.components, type) or not isinstance(self.components, Family):
            raise ValueError(f"components must be a family such as models.Gaussian(), not {self.components!r}")

    def __call__(self, rows: Float[AnyArray, "n d"], recording_step: Float[AnyArray, " d"] | None = None) -> None:
        """Declare the model of ``rows``; ``recording_step`` is in their units, none unless given."""
        n, d = rows.shape
        about = About(jnp.zeros(d) if recording_step is None else jnp.asarray(recording_step))
        w = self.weights.declare()
        components = self.components.declare(self.weights.size, about)
        with numpyro.plate("observation", n):
            numpyro.sample("x", ComponentMixture(w, components), obs=rows)
