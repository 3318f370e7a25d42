"""bgmm's estimators beside scikit-learn's, from the same start."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.mixture
from sklearn.exceptions import ConvergenceWarning

from bgmm.estimators import BayesianGaussianMixture, GaussianMixture
from tests.marks import also_slow

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
OURS = {"GaussianMixture": GaussianMixture, "BayesianGaussianMixture": BayesianGaussianMixture}


@pytest.fixture(scope="module")
def simulated():
    """Three overlapping clusters of 250 rows, far from the origin."""
    rng = np.random.default_rng(3)
    means = np.array([[0.0, 0.0, 0.0], [4.0, 1.0, 0.0], [0.0, 5.0, 2.0]])
    return rng.normal(size=(250, 3)) @ np.array([[1.0, 0, 0], [0.5, 1, 0], [0, 0.3, 1]]) + means[rng.integers(0, 3, 250)] + 100


def both(name: str, x, **options):
    """A fit of ours and one of scikit-learn's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return OURS[name](**options).fit(x), getattr(sklearn.mixture, name)(**options).fit(x)


def assert_the_same(ours, theirs, x, *, rtol: float):
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.converged_ == theirs.converged_
    for attribute in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        value = getattr(theirs, attribute)
        assert getattr(ours, attribute).shape == value.shape
        np.testing.assert_allclose(getattr(ours, attribute), value, rtol=rtol, atol=rtol * np.abs(value).max())
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=100 * rtol)
    np.testing.assert_allclose(ours.score_samples(x), theirs.score_samples(x), rtol=100 * rtol)
    np.testing.assert_allclose(ours.score(x), theirs.score(x), rtol=rtol)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


# scikit-learn's tied, diag and spherical covariances are differences of sums about the origin: with an offset of 100 standard
# deviations they keep eps * 100^2 = 2e-12 of a step, and steps of EM multiply errors by some 1e2.
@pytest.mark.parametrize("init_params", ["kmeans", "random"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_maximum_likelihood_takes_the_same_steps(covariance_type, init_params, iris, simulated):
    for x, rtol in ((iris.to_numpy(), 1e-10), (simulated, 1e-8)):
        options = {"covariance_type": covariance_type, "init_params": init_params, "random_state": 1, "max_iter": 200}
        ours, theirs = both("GaussianMixture", x, n_components=3, **options)
        assert_the_same(ours, theirs, x, rtol=rtol)
        np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=rtol)
        np.testing.assert_allclose([ours.bic(x), ours.aic(x)], [theirs.bic(x), theirs.aic(x)], rtol=rtol)
        for one, other in zip(ours.sample(20), theirs.sample(20), strict=True):
            np.testing.assert_allclose(one, other, rtol=100 * rtol)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_maximum_likelihood_begins_at_given_parameters(covariance_type, iris):
    x = iris.to_numpy()
    shape = {"full": (3, 4, 4), "tied": (4, 4), "diag": (3, 4), "spherical": (3,)}[covariance_type]
    precisions = np.broadcast_to(2.0 * np.eye(4), shape) if shape[-2:] == (4, 4) else np.full(shape, 2.0)
    start = {"weights_init": [0.5, 0.3, 0.2], "means_init": x[[0, 60, 120]], "precisions_init": precisions}
    ours, theirs = both("GaussianMixture", x, n_components=3, covariance_type=covariance_type, tol=1e-6, **start)
    assert_the_same(ours, theirs, x, rtol=1e-10)


@pytest.mark.parametrize("init_params", ["k-means++", "random_from_data"])
def test_maximum_likelihood_begins_at_the_same_seeds(init_params, iris):
    x = iris.to_numpy()
    ours, theirs = both("GaussianMixture", x, n_components=3, init_params=init_params, random_state=0, n_init=3)
    assert_the_same(ours, theirs, x, rtol=1e-9)


@pytest.mark.parametrize("init_params", ["k-means++", "random_from_data"])
def test_a_tied_covariance_that_begins_at_seeds_is_scikit_learns_of_centred_rows(init_params, simulated):
    options = {"n_components": 3, "covariance_type": "tied", "init_params": init_params, "random_state": 0}
    centred = simulated - simulated.mean(0)
    ours, theirs = both("GaussianMixture", centred, **options)
    assert_the_same(ours, theirs, centred, rtol=1e-9)
    moved = GaussianMixture(**options).fit(simulated)
    np.testing.assert_allclose(moved.covariances_, ours.covariances_, rtol=1e-9)


@pytest.mark.parametrize("weights", ["dirichlet_process", "dirichlet_distribution"])
@pytest.mark.parametrize("covariance_type", also_slow(COVARIANCE_TYPES, ("full", "diag")))
def test_variational_inference_takes_the_same_steps(covariance_type, weights, iris):
    x = iris.to_numpy()
    priors = {
        "weight_concentration_prior": 0.05,
        "mean_precision_prior": 0.3,
        "degrees_of_freedom_prior": 6.0,
        "mean_prior": x[70],
    }
    for given in ({}, priors):
        options = {
            "covariance_type": covariance_type,
            "weight_concentration_prior_type": weights,
            "random_state": 0,
            "max_iter": 300,
        }
        ours, theirs = both("BayesianGaussianMixture", x, n_components=6, **options, **given)
        assert_the_same(ours, theirs, x, rtol=1e-9)
        np.testing.assert_allclose(ours.lower_bound_, np.squeeze(theirs.lower_bound_), rtol=1e-8)
        for attribute in (
            "weight_concentration_",
            "mean_precision_",
            "degrees_of_freedom_",
            "covariance_prior_",
            "mean_prior_",
        ):
            np.testing.assert_allclose(getattr(ours, attribute), getattr(theirs, attribute), rtol=1e-9, atol=1e-10)


def test_single_precision_comes_back_in_single_precision(iris):
    x = iris.to_numpy(np.float32)
    ours = GaussianMixture(3, random_state=0).fit(x)
    double = GaussianMixture(3, random_state=0).fit(x.astype(float))
    assert {ours.means_.dtype, ours.predict_proba(x).dtype, ours.score_samples(x).dtype} == {np.dtype(np.float32)}
    np.testing.assert_allclose(ours.covariances_, double.covariances_, rtol=1e-6)


@pytest.mark.parametrize("name", OURS)
def test_arguments_and_attributes_are_scikit_learns(name, iris):
    theirs = getattr(sklearn.mixture, name)(random_state=0)
    ours = OURS[name](random_state=0)
    assert ours.get_params().items() >= theirs.get_params().items()
    assert vars(ours.fit(iris)).keys() >= vars(theirs.fit(iris)).keys()
    public = {method for method in dir(theirs) if not method.startswith("_")}
    assert set(dir(ours)) >= public
