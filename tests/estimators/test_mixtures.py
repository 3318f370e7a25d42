"""What bgmm's mixtures do besides scikit-learn's: weights, missing values, engines, and one sentence for each mistake."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import bgmm
from bgmm.estimators import BayesianGaussianMixture, GaussianMixture
from tests.marks import also_slow

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
BOTH = (GaussianMixture, BayesianGaussianMixture)
FULL_ALONE = pytest.mark.parametrize("covariance_type", also_slow(COVARIANCE_TYPES, ("full",)))


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(5)
    return np.concatenate([rng.normal(size=(60, 2)), np.array([6.0, 3.0]) + rng.normal(size=(40, 2))])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_weight_two_equals_the_row_twice(covariance_type, x):
    c = np.ones(len(x))
    c[::3] = 2.0
    c[::10] = 0.0
    copies = np.repeat(x, c.astype(int), axis=0)
    start = {"means_init": x[[0, 99]], "weights_init": [0.5, 0.5], "tol": 1e-8, "max_iter": 500}
    precisions = {"full": [np.eye(2)] * 2, "tied": np.eye(2), "diag": np.ones((2, 2)), "spherical": np.ones(2)}
    options = dict(covariance_type=covariance_type, precisions_init=precisions[covariance_type], **start)
    weighted = GaussianMixture(2, **options).fit(x, sample_weight=c)
    repeated = GaussianMixture(2, **options).fit(copies)
    for attribute in ("weights_", "means_", "covariances_", "lower_bound_"):
        np.testing.assert_allclose(getattr(weighted, attribute), getattr(repeated, attribute), rtol=1e-9, atol=1e-10)
    assert weighted.n_iter_ == repeated.n_iter_


@FULL_ALONE
def test_variational_weight_two_equals_the_row_twice(covariance_type, x):
    c = np.where(np.arange(len(x)) % 3 == 0, 2.0, 1.0)
    copies = np.repeat(x, c.astype(int), axis=0)
    options = {"n_components": 2, "covariance_type": covariance_type, "tol": 1e-9, "max_iter": 2000, "random_state": 0}
    weighted = BayesianGaussianMixture(**options).fit(x, sample_weight=c)
    repeated = BayesianGaussianMixture(**options).fit(copies)
    order, other = (np.argsort(one.means_[:, 0]) for one in (weighted, repeated))
    np.testing.assert_allclose(weighted.means_[order], repeated.means_[other], rtol=1e-5)
    np.testing.assert_allclose(weighted.covariance_prior_, repeated.covariance_prior_, rtol=1e-10)
    np.testing.assert_allclose(weighted.lower_bound_, repeated.lower_bound_, rtol=1e-7)


def test_one_component_of_rows_with_missing_values_is_the_maximum_of_their_likelihood(x):
    """Against the observed-data log likelihood itself: no nearby parameters have a larger one."""
    holed = x.copy()
    holed[::4, 0] = np.nan
    holed[1::7, 1] = np.nan
    holed[4] = np.nan
    g = GaussianMixture(1, tol=1e-13, max_iter=5000, reg_covar=0.0).fit(holed)
    base = g.score(holed)
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved = GaussianMixture(
            1,
            max_iter=0,
            weights_init=[1.0],
            means_init=g.means_ + 0.01 * rng.normal(size=(1, 2)),
            precisions_init=g.precisions_ * np.exp(0.01 * rng.normal()),
        ).fit(holed)
        assert moved.score(holed) < base


@pytest.mark.parametrize("estimator", BOTH)
@FULL_ALONE
def test_the_bound_never_falls_with_missing_values(estimator, covariance_type, x):
    holed = x.copy()
    holed[::4, 0] = np.nan
    holed[1::7, 1] = np.nan
    options = {"covariance_type": covariance_type, "tol": 1e-7, "max_iter": 3000, "random_state": 0, "reg_covar": 0.0}
    g = estimator(n_components=2, **options).fit(holed)
    assert (np.diff(g.lower_bounds_) > -1e-9 * np.abs(g.lower_bounds_[0])).all()


def test_a_missing_value_has_the_density_of_the_others(x):
    g = GaussianMixture(2, random_state=0, covariance_type="diag").fit(x)
    expected = np.logaddexp.reduce(
        np.log(g.weights_)
        - 0.5 * (np.log(2 * np.pi * g.covariances_[:, 1]) + (1.0 - g.means_[:, 1]) ** 2 / g.covariances_[:, 1])
    )
    np.testing.assert_allclose(g.score_samples([[np.nan, 1.0]]), [expected], rtol=1e-10)


def test_warm_start_goes_on_where_the_last_fit_ended(x):
    whole = GaussianMixture(3, random_state=0, tol=0.0, max_iter=6)
    parts = GaussianMixture(3, random_state=0, tol=0.0, max_iter=3, warm_start=True)
    for fit in (whole.fit, parts.fit, parts.fit):
        with pytest.warns(ConvergenceWarning):
            fit(x)
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-10)
    with pytest.raises(ValueError, match="warm_start continues 3 components of 2 features"):
        parts.fit(x[:, :1])


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("other", ["full", "tied", "diag"])
def test_a_fit_of_another_covariance_type_is_not_misread(estimator, other, x):
    fitted = {t: estimator(n_components=2, covariance_type=t, random_state=0).fit(x) for t in ("tied", "diag")}
    for covariance_type, g in fitted.items():
        if covariance_type == other:
            continue
        g.set_params(covariance_type=other)
        sentence = f"covariance_type was '{covariance_type}' in the fit and is '{other}' now; set it back"
        for question in (g.predict, g.predict_proba, g.score_samples, g.score):
            with pytest.raises(ValueError, match=sentence):
                question(x)
        with pytest.raises(ValueError, match=sentence):
            g.sample()
        with pytest.raises(ValueError, match=sentence):
            g.set_params(warm_start=True).fit(x)
        g.set_params(warm_start=False).fit(x).predict(x)


def test_a_warm_start_of_another_weights_prior_is_refused(x):
    g = BayesianGaussianMixture(n_components=2, random_state=0, warm_start=True).fit(x)
    g.set_params(weight_concentration_prior_type="dirichlet_distribution")
    for question in (g.fit, g.predict):
        with pytest.raises(ValueError, match="weight_concentration_prior_type was 'dirichlet_process' in the fit"):
            question(x)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_component_of_weight_zero_is_none(covariance_type, x):
    """It takes no row, however near, and the others have the densities that they have without it."""
    rows = np.concatenate([x, 500.0 + x])
    rows[::7, 0] = np.nan
    precisions = {"full": [np.eye(2)] * 2, "tied": np.eye(2), "diag": np.ones((2, 2)), "spherical": np.ones(2)}
    start = {"weights_init": [1.0, 0.0], "means_init": [[6.0, 6.0], [500.0, 500.0]]}
    options = {"covariance_type": covariance_type, "precisions_init": precisions[covariance_type], **start}
    begun = GaussianMixture(2, max_iter=0, **options).fit(rows)
    np.testing.assert_array_equal(begun.predict_proba(rows), np.tile([1.0, 0.0], (len(rows), 1)))
    expected = -0.5 * np.nansum(np.square(rows - 6.0) + np.log(2 * np.pi), axis=1)
    np.testing.assert_allclose(begun.score_samples(rows), expected, rtol=1e-12)
    g = GaussianMixture(2, **options).fit(rows)
    np.testing.assert_allclose(g.weights_, [1.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_far_rows_have_finite_memberships(estimator, covariance_type, x):
    g = estimator(n_components=2, covariance_type=covariance_type, random_state=0).fit(x)
    out = np.array([[1.0, 0.5], [-1.0, 2.0], [np.nan, 1.0]])
    for size in (1e20, 1e98, 1e110, 1e140, 1e200, 1e300):
        np.testing.assert_allclose(g.predict_proba(size * out).sum(1), 1.0)
        np.testing.assert_array_equal(g.predict(size * out), g.predict(1e20 * out))
    np.testing.assert_allclose(g.score_samples(1e120 * out), g.score_samples(1e90 * out) * 1e60, rtol=1e-9)
    assert (g.score_samples(1e300 * out) == -np.inf).all()


def test_a_fit_that_failed_leaves_nothing_to_continue(x):
    g = GaussianMixture(3, warm_start=True, reg_covar=0.0, init_params="random_from_data", random_state=0)
    with pytest.raises(ValueError, match="increase reg_covar"):
        g.fit(np.zeros((10, 2)) + np.arange(2).repeat(5)[:, None])
    g.set_params(reg_covar=1e-6).fit(x)


def test_a_component_of_one_row_is_an_error_without_regularisation(x):
    far = np.vstack([x, [[1e3, 1e3]]])
    with pytest.raises(ValueError, match="increase reg_covar"):
        GaussianMixture(3, reg_covar=0.0, random_state=0, n_init=5).fit(far)


@pytest.mark.parametrize("covariance_type", also_slow(("full", "tied", "diag"), ("full",)))
def test_an_engine_finds_at_least_the_likelihood_of_scikit_learns_em(covariance_type, x):
    one = GaussianMixture(2, covariance_type=covariance_type, random_state=0, tol=1e-6).fit(x)
    best = GaussianMixture(2, covariance_type=covariance_type, random_state=0, engine=bgmm.EM(prior=False)).fit(x)
    assert best.converged_
    assert best.score(x) > one.score(x) - 1e-5
    assert best.covariances_.shape == one.covariances_.shape
    np.testing.assert_allclose(best.bic(x), float(best.tree_["sample_stats"]["bic"].squeeze()), rtol=1e-9)
    np.testing.assert_allclose(best.predict_proba(x), bgmm.membership(best.tree_, x).to_numpy()[:, _order(best)], atol=1e-9)


def _order(g):
    """The places in the relabelled tree of an estimator's components."""
    return np.argsort(np.argsort(-g.weights_))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "gibbs"}, "give one mixture, not 'gibbs'"),
        ({"engine": "em", "tol": 1e-5, "n_init": 2}, "does not use n_init, tol"),
        ({"engine": "em", "covariance_type": "spherical"}, "use covariance_type='diag'"),
        ({"n_components": 200}, "Expected n_samples >= n_components"),
        ({"covariance_type": "dense"}, "covariance_type"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(options, sentence, x):
    with pytest.raises(ValueError, match=sentence):
        GaussianMixture(**options).fit(x)


def test_rows_that_say_nothing_are_told(x):
    with pytest.raises(ValueError, match="column 2 of X has no value"):
        GaussianMixture().fit(np.column_stack([x[:, 0], np.full(len(x), np.nan)]))
    with pytest.raises(ValueError, match="at least one non-zero"):
        GaussianMixture().fit(x, sample_weight=np.zeros(len(x)))
    with pytest.raises(ValueError, match="infinity"):
        GaussianMixture().fit(np.vstack([x, [[np.inf, 0.0]]]))


@pytest.mark.parametrize("scale", [1e-300, 1e-16, 1e300])
def test_maximum_likelihood_has_no_unit_of_weight(scale, x):
    options = {"random_state": 0, "max_iter": 500}
    c = np.where(np.arange(len(x)) % 3 == 0, 2.0, 1.0)
    scaled, plain = (GaussianMixture(2, **options).fit(x, sample_weight=weights) for weights in (scale * c, c))
    for attribute in ("weights_", "means_", "covariances_", "lower_bound_"):
        np.testing.assert_allclose(getattr(scaled, attribute), getattr(plain, attribute), rtol=1e-9)


def test_a_component_of_light_rows_has_their_mean(x):
    light = np.arange(len(x)) >= 60
    rows = x + 100.0 * light[:, None]  # so far away that no other component takes them
    start = {"weights_init": [0.5, 0.5], "means_init": rows[[0, 99]], "precisions_init": [np.eye(2)] * 2}
    with pytest.warns(ConvergenceWarning):
        g = GaussianMixture(2, max_iter=1, **start).fit(rows, sample_weight=np.where(light, 1e-3, 1e13))
    np.testing.assert_allclose(g.means_, [rows[~light].mean(0), rows[light].mean(0)], rtol=1e-9)


def test_variational_weights_that_make_no_row_are_refused(x):
    for scale, sentence in ((1e-300, "hardly a row; scale"), (1e300, "too many to add up"), (1e-2, "or give covariance_prior")):
        with pytest.raises(ValueError, match=f"sample_weight count rows.*{sentence}"):
            BayesianGaussianMixture(n_components=2).fit(x, sample_weight=np.full(len(x), scale))
    BayesianGaussianMixture(covariance_prior=np.eye(2)).fit(x, sample_weight=np.full(len(x), 1e-2))


@pytest.mark.parametrize("question", ["fit", "score"])
@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (np.zeros(100), "at least one non-zero number"),
        (np.ones(99), "sample_weight.shape == \\(99,\\)"),
        (-np.ones(100), "Negative values"),
        (np.full(100, np.nan), "sample_weight contains NaN"),
    ],
)
def test_weights_that_are_none_are_refused(question, weights, sentence, x):
    with pytest.raises(ValueError, match=sentence):
        getattr(GaussianMixture(random_state=0).fit(x), question)(x, sample_weight=weights)


def test_a_score_of_weight_two_is_that_of_the_row_twice(x):
    g = GaussianMixture(2, random_state=0).fit(x)
    c = np.arange(len(x)) % 3
    for scale in (1, 1e-300, 1e300):
        np.testing.assert_allclose(g.score(x, sample_weight=scale * c), g.score(np.repeat(x, c, axis=0)), rtol=1e-12)
    far = np.vstack([x, [[1e300, 0.0]]])  # of log density minus infinity
    np.testing.assert_allclose(g.score(far, sample_weight=np.append(np.ones(len(x)), 0)), g.score(x), rtol=1e-12)


def test_an_overfitted_mixture_leaves_components_without_weight(x):
    g = BayesianGaussianMixture(n_components=8, weight_concentration_prior=1e-3, random_state=0, max_iter=1000).fit(x)
    assert (g.weights_ > 0.02).sum() == 2
    assert len(np.unique(g.predict(x))) == 2
