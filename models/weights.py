"""Priors over the mixing weights; they own the number of components."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bgmm.core.checks import check_count, check_positive


@dataclass(frozen=True)
class Dirichlet:
    r"""A fixed number of components, their weights symmetric Dirichlet.

    .. math:: w \sim \mathrm{Dirichlet}(\alpha, \ldots, \alpha)

    :param n_components: K, the number of terms of the mixture.
    :param concentration: alpha. The default 1 is uniform on the simplex: it says nothing of the clusters' sizes, and lets the
        data empty a component. Well above 1 pulls the weights towards 1 / K; well below 1 favours few occupied components.
    """

    n_components: int
    concentration: float = 1.0

    def __post_init__(self) -> None:
        check_count("n_components", self.n_components)
        check_positive("concentration", self.concentration)

    @property
    def dynamic(self) -> bool:
        """Whether the concentration is shared out among the components."""
        return False

    def log_prior_k(self) -> Float[Array, " k"]:
        """Log prior probability of each number of components, 1 .. n_components."""
        return jnp.where(jnp.arange(1, self.n_components + 1) == self.n_components, 0.0, -jnp.inf)

    def declare(self) -> Float[Array, " k"]:
        """Sample the weights: inside a NumPyro program only."""
        if self.n_components == 1:
            return jnp.ones(1)
        return numpyro.sample("weights", dist.Dirichlet(jnp.full(self.n_components, float(self.concentration))))
