"""Gaussian components: Normal means, LogNormal scales, LKJ correlations, and a floor at the data's resolution."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bgmm.core import gaussian
from bgmm.core.checks import check_not_negative, check_number, check_positive
from bgmm.core.gaussian import AnyArray
from bgmm.core.lkj import LKJ
from bgmm.core.scaling import RECORDING_SHARE


@dataclass(frozen=True)
class Gaussian:
    r"""K Gaussians with a covariance each, stated on standardised data.

    .. math::
        \mu_{kj} &\sim \mathcal N(0, m^2) \\
        S_{kj} &\sim \mathrm{LogNormal}(a, b), \qquad C_k \sim \mathrm{LKJ}(\eta) \\
        \Sigma_k &= \mathrm{diag}(r^2) + S_k C_k S_k, \qquad r_j = \max(0.4 \, \text{recording step}_j, \text{floor})

    Recorded values are rounded, and a component that collapses onto tied values would have a density without bound. r is
    the standard deviation that keeps every density under one over the recording step, which makes the posterior proper.

    :param mean_scale: m. The default 2 reaches a far cluster at 4 of the data's standard deviations.
    :param log_scale_mean: a, the mean of log S. The default -1 puts the median of S at 0.37: narrower than the data.
    :param log_scale_sd: b. The default 1 puts 95 % of S between 0.05 and 2.6.
    :param lkj: eta, concentration of the correlation prior. The default 2 is flat in the middle and shies from the edges
        +-1; 1 is uniform over correlation matrices; larger favours none.
    :param recording_step: step to which the values were rounded, in the units of the data: one number, or one a feature,
        zero for continuous data. By default the smallest gap between distinct values of a feature whose values repeat.
    :param floor: least value of r, standardised. The default 0.01 guards data that are continuous; with 0 and
        ``recording_step=0`` there is no floor, and collapsed components have no bound.
    """

    mean_scale: float = 2.0
    log_scale_mean: float = -1.0
    log_scale_sd: float = 1.0
    lkj: float = 2.0
    recording_step: float | tuple[float, ...] | None = None
    floor: float = 0.01

    def __post_init__(self) -> None:
        check_positive("mean_scale", self.mean_scale)
        check_number("log_scale_mean", self.log_scale_mean)
        check_positive("log_scale_sd", self.log_scale_sd)
        check_positive("lkj", self.lkj)
        check_not_negative("floor", self.floor)
        steps = self.recording_step if isinstance(self.recording_step, tuple) else (self.recording_step,)
        for step in steps if self.recording_step is not None else ():
            check_not_negative("recording_step (one number, or a tuple with one a feature)", step)

    def resolution(self, recording_step: Float[AnyArray, " d"]) -> Float[Array, " d"]:
        """Standard deviation r of the recording, in the units of ``recording_step``'s rows."""
        return jnp.maximum(RECORDING_SHARE * jnp.asarray(recording_step), self.floor)

    def declare(self, k: int, recording_step: Float[Array, " d"]) -> tuple[Float[Array, "k d"], Float[Array, "k d d"]]:
        """Sample means and lower Cholesky factors: inside a NumPyro program only."""
        d = recording_step.shape[0]
        means = numpyro.sample("means", dist.Normal(0.0, self.mean_scale).expand([k, d]).to_event(2))
        scales = numpyro.sample("scales", dist.LogNormal(self.log_scale_mean, self.log_scale_sd).expand([k, d]).to_event(2))
        r = self.resolution(recording_step)
        if d == 1:
            return means, jnp.sqrt(jnp.square(scales) + jnp.square(r)[None])[:, :, None]
        R = numpyro.sample("correlation_tril", LKJ(d, self.lkj).expand([k]).to_event(1))
        SR = scales[:, :, None] * R
        covariances = jnp.einsum("kij,klj->kil", SR, SR) + jnp.diag(jnp.square(r))[None]
        return means, jnp.linalg.cholesky(covariances)

    def maximum_likelihood(
        self, statistics: Float[Array, "k p"], recording_step: Float[Array, " d"]
    ) -> tuple[Float[Array, "k d"], Float[Array, "k d d"]]:
        """Means and Cholesky factors that maximise <S, eta> over the declared covariances, priors ignored.

        The covariance is that of the component's rows, unless it would fall under diag(r^2). In units of r the objective
        splits over the eigenvalues, -(log l + s / l) / 2 for each eigenvalue s of the rows' covariance, and falls from l = s
        to either side: so l = max(s, 1). Without a floor, r is 1e-8 of the data's scale, where float64 ends.
        """
        _, means, covariances = gaussian.moments(statistics)
        r = jnp.maximum(self.resolution(recording_step), 1e-8)
        values, vectors = jnp.linalg.eigh(covariances / (r[:, None] * r)[None])
        lifted = jnp.einsum("kij,kj,klj->kil", vectors, jnp.maximum(values, 1.0), vectors)
        return means, r[None, :, None] * jnp.linalg.cholesky(lifted)
