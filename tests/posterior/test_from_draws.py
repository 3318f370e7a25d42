"""Draws of other programs are questioned like our own, and their mistakes named."""

from __future__ import annotations

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy.stats import entropy

import bgmm
from tests.mixtures import log_density, log_joint, random_mixture, sample
from tests.posterior_trees import jittered, tree_of
from tests.varying import varying

CENTRES = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])


@pytest.fixture
def arrays(rng):
    mixture = random_mixture(rng, 3, 2, spread=3.0)
    draws = jittered(rng, mixture, 2, 20)
    covariances = draws.scale_tril @ np.swapaxes(draws.scale_tril, -1, -2)
    return np.exp(draws.log_weights), draws.means, covariances, draws, sample(rng, mixture, 40)[0]


@pytest.fixture
def coming_and_going(rng):
    present = rng.uniform(size=(2, 60, 3)) < np.array([1.0, 1.0, 0.4])
    return varying(rng, CENTRES, np.array([0.5, 0.3, 0.2]), present, n_rows=80)


def test_a_tree_of_arrays_is_the_tree_of_those_draws(arrays):
    *given, draws, x = arrays
    tree, other = bgmm.from_draws(*given, x, features=["f0", "f1"]), tree_of(draws, x)
    for name in ("weights", "means", "covariances"):
        xr.testing.assert_allclose(tree["posterior"][name], other["posterior"][name])
    np.testing.assert_allclose(bgmm.log_density(tree), bgmm.log_density(other))
    assert "2 chains of 20 draws are too short" in bgmm.summary(tree)
    one = bgmm.from_draws(given[0], given[1][..., 0], given[2][..., 0, 0])
    np.testing.assert_array_equal(one["posterior"]["covariances"][..., 0, 0], given[2][..., 0, 0])
    assert list(one["posterior"]["feature"]) == ["x1"]


def test_what_a_draw_lacks_changes_no_density_and_no_label_free_variable(coming_and_going):
    tree, x = coming_and_going.tree, coming_and_going.x
    w = tree["components"]["weights"].to_numpy().reshape(-1, 7)
    mu = tree["components"]["means"].to_numpy().reshape(-1, 7, 2)
    v = tree["components"]["covariances"].to_numpy().reshape(-1, 1, 7, 2, 2)[..., 0, 0]
    square = np.square(x[None, :, None, :] - mu[:, None]).sum(-1)
    expected = np.log(np.mean((w[:, None] * np.exp(-square / 2 / v) / (2 * np.pi * v)).sum(2), axis=0))
    np.testing.assert_allclose(bgmm.log_density(tree), expected, rtol=1e-9)
    assert np.isfinite(tree["components"]["means"]).all()
    assert list(tree["posterior"].data_vars) == ["n_components", "n_occupied"]
    assert np.isfinite(az.summary(tree, kind="stats").to_numpy(float)).all()
    np.testing.assert_array_equal(tree["posterior"]["n_components"], coming_and_going.present.sum(2))
    assert bgmm.partition(tree).sizes["cluster"] == 2  # the third is there in 40 %


def test_posterior_tables_are_shares_of_the_draws(coming_and_going):
    k = coming_and_going.present.sum(2)
    table = bgmm.n_components(coming_and_going.tree)
    np.testing.assert_allclose(table.sel(n_components=[1, 2, 3]), [(k == value).mean() for value in (1, 2, 3)])
    assert "prior" not in table.coords
    assert float(bgmm.n_occupied(coming_and_going.tree).sum()) == pytest.approx(1)


def test_a_fit_remembers_the_prior_of_its_counts(faithful_tree, tmp_path):
    prior = bgmm.prior_n_occupied(bgmm.models.finite(2), 272)
    bgmm.save(faithful_tree, tmp_path / "tree.nc")
    for tree in (faithful_tree, bgmm.load(tmp_path / "tree.nc")):
        np.testing.assert_allclose(bgmm.n_occupied(tree)["prior"], prior)
        np.testing.assert_array_equal(bgmm.n_components(tree), [0, 1])
        np.testing.assert_array_equal(bgmm.n_components(tree)["prior"], [0, 1])
    assert "2 with probability 1.00 (prior 0.99)" in bgmm.summary(faithful_tree)


def test_the_summary_lists_clusters_with_the_draws_that_have_them(coming_and_going):
    text = bgmm.summary(coming_and_going.tree)
    assert "clusters, with the share of draws that have them: 0 (100%), 1 (100%), 2 (" in text
    assert "nan" not in text
    assert "means[1, x2]" in text


def test_chains_that_disagree_on_how_many_are_said_to_whatever_their_labels(rng):
    present = np.ones((2, 100, 3), bool)
    present[0, :90, 2], present[1, :20, 2] = False, False
    text = bgmm.summary(varying(rng, CENTRES, np.array([0.5, 0.3, 0.2]), present, n_rows=80).tree)
    assert "The chains do not agree: R-hat of n_" in text
    assert "which does not depend on labels" in text


def test_assignments_alone_have_partitions_counts_and_a_summary(rng, tmp_path):
    z = np.repeat(np.arange(3), [30, 20, 10]) * np.ones((2, 30, 1), int)
    z[0, :10, 50:] = 1  # in ten draws the third is one with the second
    tree = bgmm.from_draws(assignments=z)
    np.testing.assert_allclose(bgmm.n_occupied(tree).sel(n_occupied=[2, 3]), [1 / 6, 5 / 6])
    assert bgmm.partition(tree).sizes["cluster"] == 3
    assert "assignments of 60 rows; 2 x 30 draws from another program" in bgmm.summary(tree)
    bgmm.save(tree, tmp_path / "tree.nc")
    np.testing.assert_allclose(bgmm.membership(bgmm.load(tmp_path / "tree.nc"))[55], [0, 1 / 6, 5 / 6])
    with pytest.raises(ValueError, match="leave x out"):
        bgmm.membership(tree, [[1.0]])
    with pytest.raises(ValueError, match="ask for n_occupied"):
        bgmm.n_components(tree)


def test_mistakes_are_named(arrays, rng):
    w, mu, sigma, _, x = arrays
    bent, torn, flat, short = w.copy(), mu.copy(), sigma.copy(), w.copy()
    bent[1, 3, 2], torn[0, 7, 1, 0], flat[1, 0, 2, 0, 1], short[0, 2] = -0.1, np.nan, 99.0, 0.5
    indefinite = sigma.copy()
    indefinite[0, 1, 0] = [[1.0, 2.0], [2.0, 1.0]]
    z = np.zeros((2, 20, 40), int)
    for ask, says in (
        (lambda: bgmm.from_draws(w, mu), "give weights, means and covariances, or assignments, not only weights and means"),
        (bgmm.from_draws, "give weights, means and covariances, or assignments$"),
        (lambda: bgmm.from_draws(w[0], mu, sigma), r"not shapes \(20, 3\)"),
        (lambda: bgmm.from_draws(w, mu, [[1.0], [1.0, 2.0]]), "covariances must be an array of numbers"),
        (lambda: bgmm.from_draws(bent, mu, sigma), "weights of chain 1, draw 3, component 2 must be finite and not negative"),
        (lambda: bgmm.from_draws(short, mu, sigma), "weights of chain 0, draw 2 must sum to one"),
        (lambda: bgmm.from_draws(w, torn, sigma), "means of chain 0, draw 7, component 1 must be finite"),
        (lambda: bgmm.from_draws(w, mu, flat), "covariances of chain 1, draw 0, component 2 must be symmetric"),
        (lambda: bgmm.from_draws(w, mu, indefinite), "chain 0, draw 1, component 0 must be positive definite"),
        (lambda: bgmm.from_draws(w, mu, sigma, x[:, :1]), "means have 2 features, and x has the columns x1"),
        (lambda: bgmm.from_draws(w, mu, sigma, features=["a"]), "features must be 2 different names"),
        (lambda: bgmm.from_draws(w, mu, sigma, x, assignments=z[..., :9]), "assignments are of 9 rows, and x has 40"),
        (lambda: bgmm.from_draws(w, mu, sigma, assignments=z[:1]), r"weights have \(2, 20\) chains and draws"),
        (lambda: bgmm.from_draws(assignments=z + 0.5), "whole numbers"),
        (lambda: bgmm.from_draws(assignments=z[0]), "assignments must be of shape"),
    ):
        with pytest.raises(ValueError, match=says) as refusal:
            ask()
        assert "\n" not in str(refusal.value)


def test_entropy_is_that_of_the_mean_membership_and_overlap_the_mean_of_entropies(rng):
    mixture = random_mixture(rng, 3, 2, spread=2.0)
    x = sample(rng, mixture, 30)[0]
    draws = jittered(rng, mixture, 2, 8, noise=0.2)
    tree, found = tree_of(draws, x), bgmm.uncertainty(tree_of(draws, x))
    each = [type(draws)(*(a[c, s] for a in draws)) for c in range(2) for s in range(8)]
    r = np.stack([np.exp(log_joint(m, x) - log_density(m, x)[:, None]) for m in each])
    np.testing.assert_allclose(found["overlap"], entropy(r, base=2, axis=2).mean(0), atol=1e-9)
    np.testing.assert_allclose(found["entropy"], entropy(bgmm.membership(tree), base=2, axis=1), atol=1e-9)
    assert np.all(found["overlap"] <= found["entropy"] + 1e-12)
    assert float((found["entropy"] - found["overlap"]).max()) > 0.001
