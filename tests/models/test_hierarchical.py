"""Covariances that share a factor: the prior by scipy and NumPyro, centred forms by brute force, and what is refused."""

from __future__ import annotations

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.distributions.transforms import CorrCholeskyTransform
from numpyro.infer import Predictive
from scipy import stats

import bgmm
from bgmm import models
from bgmm.core.in_memory import in_memory
from bgmm.program.declare import make_target
from bgmm.program.lkj import LKJDeviations
from bgmm.program.target import Target

K = 3


def target_of(d: int, family=models.Hierarchical()) -> Target:  # noqa: B008
    x = np.random.default_rng(0).normal(size=(20, d))
    model = models.Mixture(models.Dirichlet(K), family)
    return make_target(model, x[:1], rows=in_memory(x)[0], scaling=None, recording_step=np.zeros(d))


@pytest.mark.parametrize("d", [1, 3])
def test_the_prior_is_that_of_its_equation(d):
    family = models.Hierarchical(mean_scale=1.5, log_scale_mean=-0.5, log_scale_sd=0.8, floor=0.1, lkj=1.7, spread=0.5)
    target = target_of(d, family)
    z = jnp.asarray(0.5 * np.random.default_rng(1).normal(size=target.n_dim))
    traced = jax.jit(type(target).trace)(target, z)
    s = {name: np.asarray(value) for name, value in traced.sites.items()}
    a, b = s["shared_scales"], float(s["shape_spread"])
    S = np.exp(b * s["scale_deviations"])
    expected = (
        stats.dirichlet(np.ones(K)).logpdf(s["weights"] / s["weights"].sum()) + stats.norm(0, 1.5).logpdf(s["means"]).sum()
    )
    expected += stats.lognorm(0.8, scale=np.exp(-0.5)).logpdf(a).sum() + stats.lognorm(0.7, scale=0.5).logpdf(b)
    expected += (stats.lognorm(b).logpdf(S) + np.log(b * S)).sum()  # of S, as a density of the deviations
    W, R = np.diag(a), np.ones((K, 1, 1))
    if d > 1:
        T = s["shared_correlation_tril"]
        W, scale = a[:, None] * T, np.sqrt(2) * b / np.sqrt(1 + 4 * b**2)
        transform = CorrCholeskyTransform()
        x = scale * s["correlation_deviations"]
        R = np.asarray(transform(x))
        expected += float(dist.LKJCholesky(d, 1.7).log_prob(T))
        expected += float(dist.LKJCholesky(d, 1 + 1 / (4 * b**2)).log_prob(R).sum())
        expected += float(transform.log_abs_det_jacobian(x, R).sum()) + x.size * np.log(scale)
    assert_allclose(traced.log_prior, expected, rtol=1e-10)
    A = W @ (S[:, :, None] * R)
    L = np.linalg.cholesky(A @ A.transpose(0, 2, 1) + 0.1**2 * np.eye(d))
    assert_allclose(traced.mixture.components.factor.L, L, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("b", [0.05, 0.4, 3.0])
def test_deviations_give_correlations_that_are_distributed_as_lkj_says(b):
    d, eta = 4, 1 + 1 / (4 * b**2)
    scale = np.sqrt(2) * b / np.sqrt(1 + 4 * b**2)
    u = LKJDeviations(d, eta, scale).sample(jax.random.key(2), (4000,))
    assert 0.7 < float(u.std()) < 1.1  # of order one whatever b
    R = np.asarray(CorrCholeskyTransform()(scale * u))
    correlations = np.einsum("nij,nkj->nik", R, R)
    beta = eta + (d - 2) / 2  # each correlation is 2 Beta(beta, beta) - 1 (Lewandowski, Kurowicka and Joe 2009)
    for i, j in ((1, 0), (3, 2), (3, 0)):
        assert stats.kstest((correlations[:, i, j] + 1) / 2, stats.beta(beta, beta).cdf).pvalue > 1e-3


def test_draws_of_the_program_follow_the_spread():
    draws = Predictive(models.finite(2, components=models.Hierarchical()), num_samples=4000)(
        jax.random.key(3), np.zeros((4, 2))
    )
    b = np.asarray(draws["shape_spread"])
    assert stats.kstest(b, stats.lognorm(0.7, scale=0.4).cdf).pvalue > 1e-3
    assert stats.kstest(np.asarray(draws["scale_deviations"])[:, 0, 0], stats.norm.cdf).pvalue > 1e-3


def test_covariances_of_any_spread_have_cholesky_factors():
    target = target_of(3)
    h = jnp.full(target.n_dim_shared, 0.5).at[-1].set(np.log(10.0))  # b, the last of what is shared

    @jax.jit
    @jax.vmap
    def factor(key):
        z, _ = target.draw_component(h, key=key)
        return target.component(z, h).components.factor.L

    assert np.isfinite(factor(jax.random.split(jax.random.key(0), 20_000))).all()


@pytest.mark.parametrize("d", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_centred_form_holds_the_component_and_has_the_jacobian_of_brute_force(d):
    """log p(c | h') - log p(c | h) = log p(z' | h') - log p(z | h) + log |dz' / dz|, z' having the form of z under h'."""
    target = target_of(d)
    z, h = target.draw_component(None, key=jax.random.key(3))
    _, other = target.draw_component(None, key=jax.random.key(4))
    form = target.centred_form(z, h)
    here, there = (target.at_centred_form(form, shared) for shared in (h, other))
    assert_allclose(here.z, z, rtol=1e-10, atol=1e-12)
    before, after = target.component(z, h), target.component(there.z, other)
    assert_allclose(after.components.factor.L, before.components.factor.L, rtol=1e-10, atol=1e-12)
    J = jax.jacfwd(lambda z: target.at_centred_form(target.centred_form(z, h), other).z)(z)
    expected = after.log_density - before.log_density + jnp.linalg.slogdet(J)[1]
    assert_allclose(there.log_density - here.log_density, expected, rtol=1e-9)


def test_what_is_shared_is_no_free_parameter_of_the_mixture():
    assert target_of(3).n_parameters == target_of(3, models.Gaussian()).n_parameters


@pytest.mark.parametrize("b", [2.0, 0.3, 0.09, 0.01, 1e-4, 1e-7, 1e-10])
def test_the_density_of_deviations_has_all_digits_however_small_the_spread(b):
    """With (1 + r) / 2 ~ Beta(eta, eta), r the correlation of two features, u = artanh(r) / s; it is normal where b nears 0."""
    eta, s = 1 + 1 / (4 * b**2), np.sqrt(2) * b / np.sqrt(1 + 4 * b**2)
    u = jnp.array([-3.0, -0.4, 0.0, 1e-3, 1.2, 6.0])
    found = np.asarray(LKJDeviations(2, eta, s).log_prob(u[:, None]))
    exact = b > 1e-3
    if exact:
        r = np.tanh(s * u)
        expected = stats.beta(eta, eta).logpdf((1 + r) / 2) + np.log(s * (1 - r**2) / 2)
    else:  # the terms left out are about b^2 u^4
        expected = stats.norm.logpdf(u)
    assert_allclose(found, expected, rtol=0, atol=1e-8 if exact else 1e-8 + b**2 * 6.0**4)
    curvature = jax.vmap(jax.hessian(lambda u: LKJDeviations(2, eta, s).log_prob(u)))(u[:, None])[:, 0, 0]
    assert_allclose(curvature, -2 * eta * s**2 / np.cosh(s * u) ** 2, rtol=1e-8)


@pytest.mark.parametrize("name", ["spread", "log_spread_sd", "lkj", "mean_scale", "log_scale_sd"])
def test_hyperparameters_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        models.Hierarchical(**{name: 0.0})


def test_one_covariance_for_all_is_another_family():
    with pytest.raises(TypeError, match="Hierarchical has no option tied"):
        models.Hierarchical(tied=True)


@pytest.mark.slow
def test_nuts_and_gibbs_agree(rng):
    x = np.concatenate([rng.normal(-2, [0.5, 1.0], (40, 2)), rng.normal(2, [1.0, 0.5], (40, 2))])
    model = models.finite(2, components=models.Hierarchical())
    settings = (
        bgmm.Gibbs(n_draws=1000, n_warmup=300, stop_early=False),
        bgmm.NUTS(n_draws=1000, n_warmup=300, target_accept=0.99),
    )
    ours, theirs = (bgmm.relabel(bgmm.fit(model, x, engine=engine, seed=1), order="x1")["posterior"] for engine in settings)
    for name in ("shape_spread", "shared_scales", "weights", "means", "scales", "correlations"):
        for method, moment in (("mean", "mean"), ("sd", "std")):
            a, b = (np.log(p[name]) if name.startswith("sha") else p[name] for p in (ours, theirs))
            error = np.hypot(*(az.mcse(v.to_dataset(name="v"), method=method)["v"] for v in (a, b)))
            difference = getattr(a, moment)(["chain", "draw"]) - getattr(b, moment)(["chain", "draw"])
            assert float(np.abs(difference / error).max()) < 4.5, (name, method)
