"""scikit-learn's checks of estimators."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import bgmm
from bgmm import models
from bgmm.estimators import BayesianGaussianMixture, Clusters, GaussianMixture

# Programs that compile quickly: the checks bring a dozen shapes of data, and are about the interface. Still they take a minute.
QUICK = Clusters(model=models.finite(2, components=models.Spherical()), engine=bgmm.EM(prior=False, n_starts=1))
SAMPLED = Clusters(
    model=models.random_k(max_components=4, components=models.Spherical()),
    engine=bgmm.Gibbs(n_draws=30, n_warmup=30, n_chains=1),
)


@parametrize_with_checks([GaussianMixture()])
def test_a_mixture_is_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([BayesianGaussianMixture()])
def test_a_variational_mixture_is_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([QUICK])
def test_clusters_is_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:in .* of the draws all 4 components hold rows")
@pytest.mark.parametrize("check", [check for _, check in estimator_checks_generator(SAMPLED)], ids=lambda c: c.func.__name__)
def test_clusters_is_an_estimator_with_draws(check):
    check(SAMPLED)
