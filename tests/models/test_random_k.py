"""Priors on the number of components, on the concentration and on the weights, against scipy and as a runnable program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import Predictive
from scipy import stats
from scipy.special import gammaln

from bgmm import models
from bgmm.program.lkj import LKJ
from bgmm.program.weights import Count, PaddedDirichlet, Sticks

ABOVE = np.arange(12.0)
PRIORS = {
    "geometric": (models.Geometric(0.3), stats.geom(0.3, loc=-1)),
    "poisson": (models.Poisson(2.5), stats.poisson(2.5)),
    "negative binomial": (models.NegativeBinomial(2.0, 0.5), stats.nbinom(2.0, 1 / 3)),
    "beta negative binomial": (models.BetaNegativeBinomial(1.0, 4.0, 3.0), stats.betanbinom(1, 4, 3)),
}


@pytest.mark.parametrize("name", PRIORS)
def test_the_number_above_one_has_the_probabilities_that_scipy_gives(name):
    ours, theirs = PRIORS[name]
    np.testing.assert_allclose(ours.log_prob(jnp.asarray(ABOVE)), theirs.logpmf(ABOVE), rtol=1e-9)


def test_the_f_prior_is_that_of_scipy_in_density_and_in_draws():
    prior = models.F(6.0, 3.0).distribution()
    x = np.array([0.01, 0.3, 1.0, 4.0, 50.0])
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(x)), stats.f(6, 3).logpdf(x), rtol=1e-9)
    draws = np.asarray(prior.sample(jax.random.key(0), (2000,)))
    assert stats.kstest(draws, stats.f(6, 3).cdf).pvalue > 1e-3


def test_padded_weights_have_the_density_of_the_dirichlet_of_those_that_are_there():
    w = np.array([0.2, 0.5, 0.3, 0.0, 0.0])
    log_p = PaddedDirichlet(0.7, 3, 5).log_prob(jnp.asarray(w))
    np.testing.assert_allclose(log_p, stats.dirichlet(np.full(3, 0.7)).logpdf(w[:3]), rtol=1e-9)
    tiny = np.array([-2000.0, -0.1, np.log(-np.expm1(-0.1))])  # of a weight that no number holds
    expected = gammaln(0.03) - 3 * gammaln(0.01) - 0.99 * tiny.sum()
    np.testing.assert_allclose(PaddedDirichlet(0.01, 3, 5).log_density(jnp.append(tiny, jnp.full(2, -jnp.inf))), expected)
    draws = np.asarray(PaddedDirichlet(0.7, 3, 5).sample(jax.random.key(1), (2000,)))
    assert not draws[:, 3:].any()
    assert stats.kstest(draws[:, 0], stats.beta(0.7, 1.4).cdf).pvalue > 1e-3


def test_sticks_have_the_density_and_the_draws_of_beta_breaks():
    alpha, w = 2.5, np.array([0.1, 0.4, 0.3, 0.2])
    left = 1 - np.concatenate([[0.0], np.cumsum(w)[:-1]])
    v = (w / left)[:-1]
    jacobian = -np.log(left[:-1]).sum()  # of v as functions of w
    expected = stats.beta(1, alpha).logpdf(v).sum() + jacobian
    np.testing.assert_allclose(Sticks(alpha, 4).log_prob(jnp.asarray(w)), expected, rtol=1e-9)
    draws = np.asarray(Sticks(alpha, 4).sample(jax.random.key(4), (2000,)))
    np.testing.assert_allclose(draws.sum(1), 1.0)
    assert stats.kstest(draws[:, 0], stats.beta(1, alpha).cdf).pvalue > 1e-3
    assert stats.kstest(draws[:, 1] / (1 - draws[:, 0]), stats.beta(1, alpha).cdf).pvalue > 1e-3
    rest = 1 - draws[:, 3]  # what the last takes is a product of three powers of uniform numbers
    assert stats.kstest(-alpha * np.log1p(-rest), stats.gamma(3).cdf).pvalue > 1e-3


def test_the_program_of_a_dirichlet_process_draws_sticks_and_its_concentration():
    model = models.dirichlet_process(5, concentration=models.Gamma(2.0, 1.0))
    draws = Predictive(model, num_samples=50)(jax.random.key(5), np.zeros((4, 2)))
    assert draws["weights"].shape == (50, 5)
    assert draws["concentration"].shape == (50,)


def test_correlations_are_distributed_as_lkj_says():
    d, eta = 4, 1.5
    R = np.asarray(LKJ(d, eta).sample(jax.random.key(2), (4000,)))
    correlations = np.einsum("nij,nkj->nik", R, R)
    b = eta + (d - 2) / 2  # each correlation is 2 Beta(b, b) - 1 (Lewandowski, Kurowicka and Joe 2009)
    for i, j in ((1, 0), (3, 2), (3, 0)):
        assert stats.kstest((correlations[:, i, j] + 1) / 2, stats.beta(b, b).cdf).pvalue > 1e-3


def test_the_program_draws_k_as_many_weights_and_components_for_all_slots():
    model = models.random_k(models.Poisson(1.0), max_components=6)
    draws = Predictive(model, num_samples=400)(jax.random.key(3), np.zeros((4, 2)))
    k = np.asarray(draws["n_components"])
    assert set(np.unique(k)) <= set(range(1, 7))
    np.testing.assert_array_equal((np.asarray(draws["weights"]) > 0).sum(1), k)
    assert draws["means"].shape == (400, 6, 2)
    p = stats.poisson(1.0).pmf(np.arange(6))
    error = np.sqrt(p / p.sum() / 400)
    assert np.all(np.abs(np.bincount(k, minlength=7)[1:] / 400 - p / p.sum()) < 4 * error + 1e-3)


def test_counts_are_normalised_up_to_the_largest():
    log_p = Count(models.BetaNegativeBinomial().log_prob(jnp.arange(5.0))).log_prob(jnp.arange(1, 6))
    assert float(jnp.exp(log_p).sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.random_k(0.3), "count must be a prior"),
        (lambda: models.random_k(max_components=0), "max_components"),
        (lambda: models.random_k(concentration=-1.0), "concentration must be above 0"),
        (lambda: models.sparse(3, concentration="small"), r"above 0, or a prior with a method distribution\(\)"),
        (lambda: models.dirichlet_process(1), "n_components must be a whole number of at least 2"),
        (lambda: models.dirichlet_process(concentration=0), "concentration must be above 0"),
        (lambda: models.random_k(dynamic="no"), "dynamic must be True or False"),
        (lambda: models.Mixture(3), "weights must be a prior such as"),
        (lambda: models.Mixture(models.Dirichlet(2), 3), "components must be a family"),
        (lambda: models.Geometric(1.0), "between 0 and 1"),
        (lambda: models.BetaNegativeBinomial(a=0), "a must be above 0"),
    ],
)
def test_priors_are_checked_where_they_are_made(make, says):
    with pytest.raises(ValueError, match=says) as refusal:
        make()
    assert "\n" not in str(refusal.value)
