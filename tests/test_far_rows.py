"""Far rows hide no clusters, and are named; a value that repeats far outside is named as one that may mark missing values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

import bgmm
from bgmm import models

RNG = np.random.default_rng(15)
CLUSTERS = np.concatenate([RNG.normal(0, 1, (100, 2)), RNG.normal(10, 1, (100, 2))])
WILD = np.concatenate([CLUSTERS, [[1e4, 1e4]]])
FAR = r"^far from the other rows: row 201 in 'x1' \(10000\), row 201 in 'x2' \(10000\); [^.]* leave the row out$"


def found(tree) -> tuple[np.ndarray, np.ndarray]:
    """Means of the two largest clusters in order, and the mean memberships of the rows of each cluster in its own."""
    tree = bgmm.relabel(tree)
    means = tree["posterior"]["means"].mean(["chain", "draw"]).to_numpy()[:2]
    order = means[:, 0].argsort()
    p = bgmm.membership(tree, CLUSTERS).to_numpy()[:, :2][:, order]
    return means[order], np.array([p[:100, 0].mean(), p[100:, 1].mean()])


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        (models.finite(3), "em"),
        pytest.param(
            models.random_k(max_components=7),
            bgmm.Gibbs(n_draws=100, n_warmup=100, n_chains=2, jumps=0),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["em", "gibbs"],
)
@pytest.mark.filterwarnings("ignore:the chains do not agree")
def test_two_clusters_are_found_beside_a_wild_row(model, engine):
    with pytest.warns(UserWarning, match=FAR):
        tree = bgmm.fit(model, WILD, engine)
    means, own = found(tree)
    theirs = GaussianMixture(3, random_state=0).fit(WILD)
    expected = theirs.means_[theirs.means_[:, 0].argsort()][:2]
    np.testing.assert_allclose(means, expected, atol=0.1)
    assert (own > 0.99).all()
    floor = tree["constant_data"]["resolution"].to_numpy()
    assert (floor < 0.15).all()  # 0.01 in the units of the clusters, which are 10 apart


@pytest.mark.parametrize(("n", "distance"), [(2, 1e3), (10, 1e4), (10, 1e6)])
def test_two_clusters_are_found_beside_wild_rows_on_all_sides(n, distance):
    wild = distance * np.random.default_rng(n).normal(size=(n, 2))
    with pytest.warns(UserWarning, match="^far from the other rows"):
        tree = bgmm.fit(models.finite(3), np.concatenate([CLUSTERS, wild]), "em")
    means, own = found(tree)
    np.testing.assert_allclose(means, [[0, 0], [10, 10]], atol=0.4)
    assert (own > 0.99).all()


@pytest.mark.slow
def test_a_stream_names_far_rows_and_follows_the_others_too(tmp_path):
    np.save(tmp_path / "rows.npy", WILD)
    with pytest.warns(UserWarning, match=FAR):
        tree = bgmm.fit(models.finite(3), bgmm.stream(tmp_path / "rows.npy"), "em")
    with pytest.warns(UserWarning, match=FAR):
        in_memory = bgmm.fit(models.finite(3), WILD, "em")
    np.testing.assert_allclose(tree["constant_data"]["scale"], in_memory["constant_data"]["scale"])


@pytest.mark.parametrize("value", [-999.0, 1e20, float(np.finfo(np.float32).max)])
def test_a_fill_value_is_named_with_its_rows(value):
    x = np.stack([1e-3 * CLUSTERS[:, 0], CLUSTERS[:, 1]], axis=1)
    x[[4, 7, 8, 150], 0] = value
    with pytest.warns(UserWarning, match="^a value repeats far outside") as said:
        tree = bgmm.fit(models.finite(3), x, "em")
    (sentence,) = (str(one.message) for one in said)
    assert f"{value:g} in 4 rows (5, 8, 9, ...) of 'x1'" in sentence
    assert sentence.endswith("replace it by NaN, which is marginalised")
    means = np.sort(tree["posterior"]["means"].to_numpy()[0, 0][:, 1])
    np.testing.assert_allclose(means[[0, -1]], [0, 10], atol=0.4)
    x[x == value] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bgmm.fit(models.finite(3), x, "em")


def test_rows_of_weight_zero_are_not_far_and_columns_are_not_collinear_for_a_wild_row():
    c = np.ones(201)
    c[200] = 0
    bgmm.fit(models.finite(3), WILD, "em", weights=c)  # warnings are errors
    with pytest.warns(UserWarning, match="^far from") as said:
        bgmm.fit(models.finite(3), np.concatenate([CLUSTERS, [[1e20, 1e20]]]), "em")
    assert len(said) == 1


def test_a_value_too_far_to_compute_with_is_refused():
    x = WILD.copy()
    x[200, 1] = 1e200
    with pytest.raises(ValueError, match=r"^row 201 of 'x2' holds 1e\+200, too far from the others, [^\n]*$"):
        bgmm.fit(models.finite(3), x, "em")


def test_single_precision_refuses_nearer_values():
    x = WILD.copy()
    x[200, 1] = 1e20
    with (
        pytest.warns(UserWarning, match="^far"),
        pytest.raises(ValueError, match=r"^row 201 of 'x2' holds 1e\+20, .* in float32;"),
    ):
        bgmm.fit(models.finite(3), x, "em", dtype="float32")
