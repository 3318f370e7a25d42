"""What the Gaussian families share: means, scales, the floor at the resolution of the data, maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bgmm.core.checks import check_flag, check_not_negative, check_number, check_positive
from bgmm.core.components import Components
from bgmm.core.factor import Factor
from bgmm.core.gaussians import Gaussians, moments
from bgmm.core.scaling import RECORDING_SHARE
from bgmm.program.family import About
from bgmm.program.lkj import LKJ


def sample_correlation_tril(name: str, d: int, concentration: float, *k: int) -> Float[Array, "*k d d"]:
    """A site of Cholesky factors of LKJ correlations, one or k; of one feature there is nothing to sample."""
    if d == 1:
        return jnp.ones((*k, 1, 1))
    prior = LKJ(d, concentration)
    return numpyro.sample(name, prior.expand(k).to_event(1) if k else prior)


@dataclass(frozen=True)
class NormalFamily:
    """Fields and sites of all Gaussian families, which document them."""

    mean_scale: float = 2.0
    log_scale_mean: float = -1.0
    log_scale_sd: float = 1.0
    recording_step: float | tuple[float, ...] | None = None
    floor: float = 0.01

    factor: ClassVar[type[Factor]]  # the structure of the covariances

    def __post_init__(self) -> None:
        check_positive("mean_scale", self.mean_scale)
        check_number("log_scale_mean", self.log_scale_mean)
        check_positive("log_scale_sd", self.log_scale_sd)
        check_not_negative("floor", self.floor)
        steps = self.recording_step if isinstance(self.recording_step, tuple) else (self.recording_step,)
        for step in steps if self.recording_step is not None else ():
            check_not_negative("recording_step (one number, or a tuple with one a feature)", step)

    @property
    def is_tied(self) -> bool:
        """Whether all components share one covariance."""
        return False

    def resolution(self, about: About) -> Float[Array, " d"]:
        """Standard deviation r of the recording, in the units of the rows."""
        return self._resolution(about, self.floor)

    def _resolution(self, about: About, floor: float) -> Float[Array, " d"]:
        return jnp.maximum(RECORDING_SHARE * jnp.asarray(about.recording_step), floor)

    def sample_means(self, k: int, about: About) -> Float[Array, "k d"]:
        """The site ``means``."""
        return numpyro.sample("means", dist.Normal(0.0, self.mean_scale).expand([k, about.n_features]).to_event(2))

    def scale_prior(self, *shape: int) -> dist.Distribution:
        """LogNormal(a, b) of scales without the floor."""
        return dist.LogNormal(self.log_scale_mean, self.log_scale_sd).expand(shape).to_event(len(shape))

    def components(self, means: Float[Array, "k d"], covariances: Float[Array, "n *c"], about: About) -> Components:
        """Components whose covariances, in the shape of their structure, are raised by the floor."""
        raised = covariances + self._floor(about)[None]
        return Gaussians(means, jax.vmap(self.factor.of_covariance)(raised), self.is_tied)

    def _floor(self, about: About) -> Float[Array, "*c"]:
        """diag(r^2) in the shape of the structure."""
        raise NotImplementedError

    def maximum_likelihood(self, statistics: Float[Array, "k p"], about: About) -> Components:
        """Components that maximise <S, eta> over the declared covariances, priors ignored.

        The covariances are those of the components' rows, unless they fall under those of the recording steps or a tenth of
        ``floor``, which stands against collapse alone; tied ones are pooled. Without either, r is 1e-8 of the data's scale,
        where float64 ends.
        """
        means, covariances = moments(self.factor, statistics, tied=self.is_tied)
        r = self._resolution(about, max(0.1 * self.floor, 1e-8))
        return Gaussians(means, jax.vmap(self.factor.at_least, in_axes=(0, None))(covariances, r), self.is_tied)


@dataclass(frozen=True)
class ScaledFamily(NormalFamily):
    """Fields and sites of ``Gaussian``, ``Diagonal`` and ``Spherical``: scales for each component, or for all."""

    tied: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("tied", self.tied)

    @property
    def is_tied(self) -> bool:
        """Whether all components share one covariance."""
        return self.tied

    def sample_scales(self, k: int, *shape: int) -> Float[Array, "k ..."]:
        """The site ``scales``, S without the floor; a first axis of length one where they are tied."""
        scales = numpyro.sample("scales", self.scale_prior(*(() if self.tied else (k,)), *shape))
        return scales[None] if self.tied else scales

    def sites_near(
        self, mean: Float[Array, " d"], covariance: Float[Array, "*c"], shared: dict[str, Array]
    ) -> dict[str, Array]:
        """The sites of a component of this mean and covariance, without the floor."""
        return {"means": mean} | ({} if self.tied else self._sites_of_covariance(covariance))

    def _sites_of_covariance(self, covariance: Float[Array, "*c"]) -> dict[str, Array]:
        return {"scales": jnp.sqrt(covariance)}
