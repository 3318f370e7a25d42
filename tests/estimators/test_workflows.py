"""The estimators in scikit-learn's tools: pipelines, searches, clones, pickles, data frames."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bgmm
from bgmm import models
from bgmm.estimators import BayesianGaussianMixture, Clusters, GaussianMixture

# the model and the size of the data of tests/engines/test_gibbs.py, whose programs are kept
QUICK = Clusters(model=models.random_k(), engine=bgmm.Gibbs(n_draws=90, n_warmup=100, n_chains=2, jumps=0), random_state=0)
MIXTURES = (GaussianMixture(2, random_state=0), BayesianGaussianMixture(n_components=4, random_state=0, max_iter=1000))
SPHERES = models.finite(2, components=models.Spherical())  # which compile quickly


@pytest.fixture(scope="module")
def three():
    """Three clusters of 60 rows."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(60, 2)) + mean for mean in ([0.0, 0.0], [6.0, 0.0], [0.0, 7.0])])
    return pd.DataFrame(rng.permutation(x), columns=["length", "width"])


@pytest.fixture(scope="module")
def clusters(three):
    return clone(QUICK).fit(three)


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
def test_a_search_by_held_out_log_density_finds_the_number_of_components(covariance_type, three):
    search = GridSearchCV(
        GaussianMixture(covariance_type=covariance_type, n_init=3, random_state=0), {"n_components": range(1, 6)}
    )
    assert search.fit(three).best_params_ == {"n_components": 3}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("estimator", MIXTURES)
def test_a_pipeline_gives_frames_their_names(estimator, three):
    pipeline = make_pipeline(StandardScaler(), clone(estimator)).set_output(transform="pandas")
    labels = pipeline.fit_predict(three)
    assert list(pipeline[-1].feature_names_in_) == ["length", "width"]
    np.testing.assert_array_equal(labels, pipeline.predict(three))
    assert pipeline.predict_proba(three).shape == (180, pipeline[-1].n_components)
    np.testing.assert_allclose(pipeline.score(three), pipeline.score_samples(three).mean())


@pytest.mark.parametrize("estimator", MIXTURES)
def test_a_pickle_and_a_clone_give_the_same_numbers(estimator, three):
    fitted = clone(estimator).fit(three)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(three), fitted.score_samples(three))
    np.testing.assert_array_equal(clone(fitted).fit(three).means_, fitted.means_)


@pytest.mark.parametrize("estimator", MIXTURES)
def test_columns_in_another_order_are_an_error(estimator, three):
    fitted = clone(estimator).fit(three)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(three[["width", "length"]])


@pytest.mark.parametrize("estimator", [GaussianMixture(2, engine=bgmm.EM(n_starts=1)), *MIXTURES])
def test_a_fit_of_a_frame_warns_of_nothing(estimator, three):
    """Warnings are errors in tests: that a frame's names are missing is one of scikit-learn's."""
    fitted = clone(estimator).fit(three)
    if isinstance(fitted, GaussianMixture):
        np.testing.assert_allclose(fitted.lower_bound_, fitted.score(three), rtol=1e-3)


@pytest.mark.parametrize("estimator", [*MIXTURES, QUICK])
def test_polars_frames_are_frames(estimator, three):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(three.to_dict("list"))
    fitted, other = clone(estimator).fit(frame), clone(estimator).fit(three)
    assert list(fitted.feature_names_in_) == ["length", "width"]
    for question in ("predict", "predict_proba", "score_samples"):
        np.testing.assert_array_equal(getattr(fitted, question)(frame), getattr(other, question)(three))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[["width", "length"]])
    pipeline = make_pipeline(StandardScaler(), clone(estimator)).set_output(transform="polars").fit(frame)
    assert list(pipeline[-1].feature_names_in_) == ["length", "width"]
    np.testing.assert_array_equal(pipeline.predict(frame), pipeline[-1].predict(pipeline[0].transform(frame)))


@pytest.mark.parametrize("estimator", [*MIXTURES, Clusters(model=SPHERES, engine=bgmm.EM(n_starts=1), random_state=0)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, int])
def test_a_masked_value_is_a_missing_one(estimator, dtype, three):
    x = np.array(10 * three, dtype, order="C")
    mask = np.zeros(x.shape, bool)
    mask[::9, 0] = True
    x[mask] = -999
    masked, missing = np.ma.MaskedArray(x, mask), np.where(mask, np.nan, x).astype(float if dtype is int else dtype)
    fitted, other = clone(estimator).fit(masked), clone(estimator).fit(missing)
    for question in ("predict", "predict_proba", "score_samples"):
        np.testing.assert_array_equal(getattr(fitted, question)(masked), getattr(other, question)(missing))
    assert fitted.score_samples(masked).dtype == other.score_samples(missing).dtype


def test_a_masked_weight_is_refused(three):
    c = np.ma.MaskedArray(np.ones(len(three)), np.arange(len(three)) == 3)
    with pytest.raises(ValueError, match="sample_weight contains NaN"):
        GaussianMixture().fit(three, sample_weight=c)
    with pytest.raises(ValueError, match="weights must be finite and not negative, and that of row 4 is nan"):
        bgmm.fit(models.finite(1), three, "em", weights=c)


def test_weights_are_routed(three):
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = GaussianMixture(random_state=0).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), estimator)
        c = (three["length"] < 3).to_numpy(float)
        pipeline.fit(three, sample_weight=c)
    expected = StandardScaler().fit(three).transform(three[c > 0]).mean(0)
    np.testing.assert_allclose(pipeline[-1].means_[0], expected, atol=1e-10)


def test_clusters_finds_them(clusters, three):
    assert clusters.n_clusters_ == 3
    assert sorted(np.bincount(clusters.labels_)) == [60, 60, 60]
    np.testing.assert_array_equal(clusters.predict(three), clusters.labels_)
    p = clusters.predict_proba(three)
    assert p.shape == (180, 3)
    np.testing.assert_allclose(p.sum(1), 1.0)
    np.testing.assert_allclose(clusters.n_clusters_proba_.sum(), 1.0)
    assert clusters.n_clusters_proba_.argmax() == 2


def test_clusters_scores_by_the_posterior_predictive_density(clusters, three):
    expected = bgmm.log_density(clusters.tree_, three)
    np.testing.assert_allclose(clusters.score_samples(three), expected)
    np.testing.assert_allclose(clusters.score(three), expected.mean())
    assert np.isfinite(clusters.predict_proba(three.assign(width=np.nan))).all()


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(Clusters(model=SPHERES, engine=bgmm.EM(n_starts=1)), marks=pytest.mark.slow),
        GaussianMixture(2, engine=bgmm.EM(n_starts=1)),
    ],
)
def test_a_tree_has_the_names_and_the_index_of_a_frame(estimator, three):
    named = three.set_axis([f"flower {i}" for i in range(len(three))]).assign(id=np.arange(len(three)) ** 2)
    tree = clone(estimator).fit(named).tree_
    assert list(tree["posterior"]["feature"].values) == ["length", "width", "id"]
    assert list(bgmm.labels(tree)["observation"].values) == list(named.index)
    assert list(clone(estimator).fit(three.to_numpy()).tree_["posterior"]["feature"].values) == ["x1", "x2"]


def test_rows_of_weight_zero_are_not_in_a_tree(three):
    named = three.set_axis([f"flower {i}" for i in range(len(three))])
    c = np.arange(len(three)) % 2
    tree = GaussianMixture(2, engine=bgmm.EM(n_starts=1)).fit(named, sample_weight=c).tree_
    assert list(bgmm.labels(tree)["observation"].values) == list(named.index[c > 0])


@pytest.mark.slow
def test_warnings_of_an_estimator_name_the_columns_and_point_at_the_line_of_the_user():
    code = """
import warnings
import numpy as np, pandas as pd, bgmm
from bgmm.estimators import Clusters, GaussianMixture
frame = pd.DataFrame({"a": np.random.default_rng(1).normal(size=30), "b": np.full(30, 7.0)})
few = bgmm.Gibbs(n_draws=10, n_warmup=10, n_chains=2, jumps=0)
for estimator in (Clusters(model=bgmm.models.finite(1), engine=few), GaussianMixture(engine=bgmm.EM(n_starts=1))):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(frame)
    print(*[w.filename for w in caught], sum("no variation in 'b'" in str(w.message) for w in caught))
"""
    command = [sys.executable, "-c", code]  # a fresh interpreter, in which no checker of types stands between the frames
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for line in said:
        *files, n_named = line.split()
        assert n_named == "1"
        assert set(files) == {"<string>"}
    assert len(said[0].split()) > 2  # the columns and the chains


def test_clusters_survives_a_pickle(clusters, three):
    again = pickle.loads(pickle.dumps(clusters))
    np.testing.assert_array_equal(again.predict_proba(three), clusters.predict_proba(three))
    bgmm.summary(again.tree_)


def test_clusters_of_one_component_are_one(three):
    one = Clusters(model=models.finite(1, components=models.Spherical()), engine=bgmm.EM(n_starts=1)).fit(three)
    assert one.n_clusters_ == 1
    assert (one.labels_ == 0).all()


def test_scikit_learn_is_imported_by_the_estimators_alone():
    code = "import sys, bgmm; bgmm.fit, bgmm.EM, bgmm.models; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False"]


def test_without_scikit_learn_one_sentence_names_the_extra():
    code = "import sys; sys.modules['sklearn'] = None; import bgmm.estimators"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert "pip install 'bgmm[sklearn]'" in said.splitlines()[-1]
