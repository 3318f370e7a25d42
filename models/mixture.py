"""The mixture: a NumPyro program put together from a prior over weights and a family of components."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float

from bgmm.core import gaussian
from bgmm.core.distributions import GaussianMixture
from bgmm.core.gaussian import AnyArray, Parameters
from bgmm.core.slots import Family, Weights
from bgmm.models.gaussian import Gaussian
from bgmm.models.weights import Dirichlet, RandomK, StickBreaking


@dataclass(frozen=True)
class Mixture:
    r"""The generative story of a mixture, for standardised rows.

    .. math::
        w &\sim \text{weights} \\
        \mu_k, \Sigma_k &\sim \text{components} \\
        z_n &\sim \mathrm{Categorical}(w), \qquad x_n \sim \mathcal N(\mu_{z_n}, \Sigma_{z_n})

    in which the assignments z are summed out: x_n is observed from sum_k w_k N(mu_k, Sigma_k). An instance is a NumPyro
    program of one argument, the rows (n, d).

    :param weights: prior over the weights, and with it the number of components.
    :param components: prior over means and covariances: ``Gaussian``, or a family of your own (``Family``).
    """

    weights: Dirichlet | RandomK | StickBreaking
    components: Family = field(default_factory=Gaussian)

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Weights):
            raise ValueError(f"weights must be a prior such as models.Dirichlet(3), not {self.weights!r}")
        if not isinstance(self.components, Family):
            raise ValueError(f"components must be a family such as models.Gaussian(), not {self.components!r}")

    def __call__(self, rows: Float[AnyArray, "n d"], recording_step: Float[AnyArray, " d"] | None = None) -> None:
        """Declare the model of ``rows``; ``recording_step`` is in their units, none unless given."""
        n, d = rows.shape
        step = jnp.zeros(d) if recording_step is None else jnp.asarray(recording_step)
        w = self.weights.declare()
        means, scale_tril = self.components.declare(self.weights.size, step)
        with numpyro.plate("observation", n):
            numpyro.sample("x", GaussianMixture(w, means, scale_tril), obs=rows)

    def maximum_likelihood(self, statistics: Float[Array, "k p"], recording_step: Float[Array, " d"]) -> Parameters:
        """The mixture that maximises <statistics, eta> with the priors ignored: EM's closed M-step."""
        counts = gaussian.moments(statistics)[0]
        w = jnp.maximum(counts / counts.sum(), jnp.finfo(counts.dtype).tiny)
        assert isinstance(self.components, Gaussian)  # fit asks no other family
        return Parameters(jnp.log(w), *self.components.maximum_likelihood(statistics, recording_step))
