"""Priors that a user declares."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import bgmm


@dataclass(frozen=True)
class RichardsonGreen:
    """mean ~ Normal(midrange, range^2), precision ~ Gamma(2, beta), beta ~ Gamma(0.2, 10 / range^2)."""

    midrange: float
    range: float

    def declare(self, k, about):
        """Sample means and standard deviations of k components."""
        beta = numpyro.sample("beta", dist.Gamma(0.2, 10 / self.range**2))
        means = numpyro.sample("means", dist.Normal(self.midrange, self.range).expand([k, 1]).to_event(2))
        precisions = numpyro.sample("precisions", dist.Gamma(2.0, beta).expand([k, 1]).to_event(2))
        return bgmm.Gaussians.dense(means, 1 / jnp.sqrt(precisions)[:, :, None])
