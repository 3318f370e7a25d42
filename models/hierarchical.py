"""Gaussian components whose covariances share a factor, and how much they share is learned."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from bgmm.core.checks import check_positive
from bgmm.core.components import Components
from bgmm.core.dense import Dense
from bgmm.core.options import named_options
from bgmm.models.normal import NormalFamily, sample_correlation_tril
from bgmm.program.family import About
from bgmm.program.lkj import LKJDeviations, correlation_deviations, correlation_tril


@named_options()
@dataclass(frozen=True)
class Hierarchical(NormalFamily):
    r"""K Gaussians with dense covariances about a common one, from which they differ as much as the data say.

    .. math::
        W &= \mathrm{diag}(a) T, \qquad a_j \sim \mathrm{LogNormal}(m_a, s_a), \quad T \sim \mathrm{LKJCholesky}(\eta) \\
        b &\sim \mathrm{LogNormal}(\log b_0, s_b) \\
        S_{kj} &\sim \mathrm{LogNormal}(0, b), \qquad C_k \sim \mathrm{LKJ}(1 + 1 / (4 b^2)) \\
        \Sigma_k &= \mathrm{diag}(r^2) + W S_k C_k S_k W', \qquad \mu_{kj} \sim \mathcal N(0, m^2)

    with r as in ``Gaussian``, on standardised data. The spread b says how much the covariances share: they are nearly tied
    where it is small, since S_k C_k S_k is near the identity, and free where it is large, C_k then being about uniform over
    correlation matrices.

    The program samples deviations that are of order one whatever b, so that the density of the sites has a mode with b > 0:
    ``scale_deviations`` e with S = exp(b e), and ``correlation_deviations`` u, where s(b) u are Fisher-transformed partial
    correlations of C, with s(b) = sqrt(2) b / sqrt(1 + 4 b^2). Shared are ``shared_scales`` a, ``shared_correlation_tril`` T
    and ``shape_spread`` b; trees show a and b, a in standardised units.

    Gibbs draws W and b given the covariances (Papaspiliopoulos, Roberts and Skold 2007), without another pass over the rows.

    :param mean_scale: m.
    :param log_scale_mean: m_a, the mean of log a.
    :param log_scale_sd: s_a, its standard deviation.
    :param recording_step: as in ``Gaussian``.
    :param floor: least r, in standardised units.
    :param lkj: eta, concentration of the prior of T.
    :param spread: b_0, the prior median of b.
    :param log_spread_sd: s_b, the standard deviation of log b. The defaults put 95 % of b between 0.10 and 1.6.
    :raises ValueError: where a hyperparameter is out of its range.
    """

    lkj: float = 1.5
    spread: float = 0.4
    log_spread_sd: float = 0.7

    factor = Dense

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lkj", "spread", "log_spread_sd"):
            check_positive(name, getattr(self, name))

    def spread_prior(self) -> dist.Distribution:
        """LogNormal(log b_0, s_b)."""
        return dist.LogNormal(jnp.log(self.spread), self.log_spread_sd)

    def declare(self, k: int, about: About) -> Components:
        """Sample means, what the covariances share, and how each differs: inside a NumPyro program only."""
        d = about.n_features
        means = self.sample_means(k, about)
        shared = {
            "shared_scales": numpyro.sample("shared_scales", self.scale_prior(d)),
            "shared_correlation_tril": sample_correlation_tril("shared_correlation_tril", d, self.lkj),
            "shape_spread": numpyro.sample("shape_spread", self.spread_prior()),
        }
        b = shared["shape_spread"]
        deviations = {"scale_deviations": numpyro.sample("scale_deviations", dist.Normal(0, 1).expand([k, d]).to_event(2))}
        if d > 1:
            prior = LKJDeviations(d, 1 + 1 / (4 * b**2), _correlation_scale(b))
            deviations["correlation_deviations"] = numpyro.sample("correlation_deviations", prior.expand([k]).to_event(1))
        A = jax.vmap(lambda one: _factor(one, shared))(deviations)
        return self.components(means, jax.vmap(_covariance)(A), about)

    def centred_form(self, component: dict[str, Array], shared: dict[str, Array]) -> dict[str, Array]:
        """The mean and the lower Cholesky factor W S_k C_k^(1/2) of the covariance above the floor."""
        return {"means": component["means"], "factor": _factor(component, shared)}

    def from_centred_form(self, form: dict[str, Array], shared: dict[str, Array]) -> tuple[dict[str, Array], Float[Array, ""]]:
        r"""The sites of the component with this form, and the log Jacobian of the map from the form to the sites.

        With A the factor of the form, F = W^-1 A = S R, R the Cholesky factor of C and i = 1 .. d,

        .. math::
            |dF / dA| = \prod_i W_{ii}^{-i}, \quad |d(S, R) / dF| = \prod_i S_i^{1 - i} R_{ii}, \quad de_i / dS_i = 1 / (b S_i)
        """
        W, b = _shared_factor(shared), shared["shape_spread"]
        F = solve_triangular(W, form["factor"], lower=True)
        S = jnp.sqrt(jnp.square(F).sum(1))
        R = F / S[:, None]
        i = 1 + jnp.arange(S.size)
        log_jacobian = (jnp.log(jnp.diagonal(R)) - i * jnp.log(S) - i * jnp.log(jnp.diagonal(W)) - jnp.log(b)).sum()
        sites = {"means": form["means"], "scale_deviations": jnp.log(S) / b}
        if S.size > 1:
            sites["correlation_deviations"], of_correlations = correlation_deviations(R, _correlation_scale(b))
            log_jacobian += of_correlations
        return sites, log_jacobian

    def sites_near(
        self, mean: Float[Array, " d"], covariance: Float[Array, "*c"], shared: dict[str, Array]
    ) -> dict[str, Array]:
        """The sites of a component of this mean and covariance, without the floor."""
        return self.from_centred_form({"means": mean, "factor": jnp.linalg.cholesky(covariance)}, shared)[0]

    def _floor(self, about):
        return jnp.diag(jnp.square(self.resolution(about)))


def _covariance(A: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """A A', its diagonal larger by a few roundings: where b is large its directions may differ by more than the digits of a
    number, and no Cholesky factor be found (Higham 2002, theorem 10.7).
    """
    d = len(A)
    return A @ A.T * (1 + 4 * d**2 * jnp.finfo(A.dtype).eps * jnp.eye(d, dtype=A.dtype))


def _correlation_scale(b: Float[Array, ""]) -> Float[Array, ""]:
    """s(b): about the standard deviation of a Fisher-transformed partial correlation under LKJ(1 + 1 / (4 b^2))."""
    return 2**0.5 * b / jnp.sqrt(1 + 4 * b**2)


def _shared_factor(shared: dict[str, Array]) -> Float[Array, "d d"]:
    """W = diag(a) T."""
    a = shared["shared_scales"]
    return a[:, None] * shared.get("shared_correlation_tril", jnp.ones((a.size, a.size)))


def _factor(component: dict[str, Array], shared: dict[str, Array]) -> Float[Array, "d d"]:
    """W S R of one component, lower triangular."""
    b = shared["shape_spread"]
    S = jnp.exp(b * component["scale_deviations"])
    if S.size == 1:
        return S[:, None] * _shared_factor(shared)
    R = correlation_tril(component["correlation_deviations"], _correlation_scale(b))
    return _shared_factor(shared) @ (S[:, None] * R)
