"""Pruned mixtures keep their densities within the removed mass, and say what is gone."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

import bgmm
from bgmm import models
from bgmm.tree.read import about
from tests.mixtures import Parameters, log_density, log_joint, sample
from tests.posterior_trees import jittered, switched, tree_of
from tests.varying import varying

GRID = np.linspace(-30, 60, 801)


def predictive(tree: xr.DataTree) -> np.ndarray:
    """The density at the grid, by scipy."""
    group = tree["components"] if "components" in tree.children else tree["posterior"]
    w, mu, var = (group[name].to_numpy().reshape(-1, group.sizes["cluster"], 1) for name in ("weights", "means", "covariances"))
    return np.mean((w * norm.pdf(GRID, mu, np.sqrt(var))).sum(1), axis=0)


def total_variation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.trapezoid(np.abs(one - other), GRID) / 2)


@pytest.fixture
def with_a_small_one(rng):
    """Two clusters that hold 60 rows, and a third far off that holds none, of weight about 0.01; labels switch."""
    mixture = Parameters(np.log([0.59, 0.4, 0.01]), np.array([[0.0], [8.0], [30.0]]), np.ones((3, 1, 1)))
    draws = switched(rng, jittered(rng, mixture, 2, 15, noise=0.2), per_chain=False)[0]
    x = sample(rng, mixture._replace(log_weights=np.log([0.6, 0.4, 1e-300])), 60)[0]
    return draws, tree_of(draws, x, also=("scales",)), x


def test_an_empty_cluster_is_removed_and_predictions_move_by_the_removed_mass_at_most(with_a_small_one):
    _, tree, _ = with_a_small_one
    pruned = bgmm.prune(tree)
    assert pruned["posterior"].sizes["cluster"] == 2
    np.testing.assert_allclose(pruned["posterior"]["weights"].sum("cluster"), 1)
    np.testing.assert_allclose(pruned["posterior"]["means"], bgmm.relabel(tree)["posterior"]["means"][:, :, :2])
    removed = float(pruned["sample_stats"]["removed_mass"].mean())
    assert removed == pytest.approx(float(bgmm.relabel(tree)["posterior"]["weights"][..., 2].mean()))
    apart = total_variation(predictive(tree), predictive(pruned))
    assert 0.5 * removed < apart <= removed + 1e-9
    here = np.exp(bgmm.log_density(pruned, GRID[::80, None]))
    np.testing.assert_allclose(here, predictive(pruned)[::80], rtol=1e-8, atol=1e-300)


def test_the_probability_of_holding_a_row_is_exact_given_the_draws(with_a_small_one):
    draws, tree, x = with_a_small_one
    (gone,) = about(bgmm.prune(tree))["pruned"]["clusters"]
    expected = []
    for c, s in np.ndindex(2, 15):
        one = Parameters(*(a[c, s] for a in draws))
        r = np.exp(log_joint(one, x) - log_density(one, x)[:, None])
        expected.append(1 - np.prod(1 - r[:, one.means[:, 0].argmax()]))
    assert gone["probability"] == pytest.approx(np.mean(expected), rel=1e-6)
    assert gone["cluster"] == 2


def test_rows_of_weight_zero_occupy_nothing(with_a_small_one):
    draws, _, x = with_a_small_one
    tree = tree_of(draws, np.concatenate([x, [[30.0]]]), also=("scales",))
    assert "pruned: nothing" in bgmm.summary(bgmm.prune(tree))
    tree["constant_data"] = xr.Dataset({"observation_weights": ("observation", [*np.ones(60), 0.0])})
    assert bgmm.prune(tree)["posterior"].sizes["cluster"] == 2


def test_clusters_that_come_and_go_are_pruned_by_their_presence(rng):
    present = rng.uniform(size=(2, 200, 3)) < np.array([0.9, 0.8, 0.3])
    present[~present.any(2)] = True
    present[0, 0] = [False, False, True]  # a draw that nothing is left of
    made = varying(rng, np.array([[0.0], [9.0], [20.0]]), np.array([0.5, 0.4, 0.1]), present, n_rows=60)
    pruned = bgmm.prune(made.tree)
    assert "components" not in pruned.children
    assert pruned["posterior"].sizes["cluster"] == 2
    np.testing.assert_allclose(pruned["posterior"]["weights"].sum("cluster"), 1)
    assert float(pruned["sample_stats"]["removed_mass"][0, 0]) == 1
    apart = total_variation(predictive(made.tree), predictive(pruned))
    assert 0 < apart <= float(pruned["sample_stats"]["removed_mass"].mean()) + 1e-9
    xr.testing.assert_identical(bgmm.n_occupied(pruned), bgmm.n_occupied(made.tree)[: bgmm.n_occupied(pruned).size])
    np.testing.assert_allclose(bgmm.membership(pruned, [[0.0], [9.0]]), np.eye(2), atol=0.2)
    whole = bgmm.prune(made.tree, threshold=0.01)
    np.testing.assert_allclose(predictive(whole), predictive(made.tree), rtol=1e-9)
    assert bgmm.relabel(pruned, order="x1")["posterior"].sizes["cluster"] == 2


def test_the_summary_says_what_was_pruned(with_a_small_one):
    _, tree, _ = with_a_small_one
    assert "pruned: 1 cluster, each occupied with probability" in bgmm.summary(bgmm.prune(tree))
    assert "pruned" not in bgmm.summary(tree)


def test_a_mode_under_a_sparse_prior_is_finite_and_says_what_it_emptied(rng):
    x = rng.normal(size=(80, 1)) + 9 * (rng.uniform(size=(80, 1)) < 0.4)
    tree = bgmm.fit(models.finite(5, concentration=0.01), x, engine=bgmm.EM(n_starts=4), seed=0)
    assert bool(tree["sample_stats"]["converged"].all())
    for name, variable in tree["posterior"].data_vars.items():
        assert np.isfinite(variable).all(), name
    n_emptied = int(tree["sample_stats"]["n_emptied"].item())
    assert n_emptied == int((tree["posterior"]["weights"] < 0.02 / 80).sum()) > 0
    assert f"emptied: {n_emptied} component" in bgmm.summary(tree)
    pruned = bgmm.prune(tree)
    assert 2 <= pruned["posterior"].sizes["cluster"] < 5
    np.testing.assert_allclose(bgmm.log_density(pruned), bgmm.log_density(tree), atol=0.01)


def test_wrong_thresholds_and_trees_without_mixtures_are_refused(with_a_small_one, rng):
    present = np.ones((1, 20, 2), bool)
    present[0, ::2, 0], present[0, 1::2, 1] = False, False
    torn = varying(rng, np.array([[0.0], [9.0]]), np.array([0.5, 0.5]), present).tree
    for ask, says in (
        (lambda: bgmm.prune(with_a_small_one[1], threshold=1.5), "threshold must be between 0 and 1"),
        (lambda: bgmm.prune(torn, threshold=0.9), "no cluster holds a row with a probability of 0.9, the likeliest with 0.50"),
        (lambda: bgmm.prune(bgmm.from_draws(assignments=np.zeros((1, 5, 4), int))), "assignments alone"),
    ):
        with pytest.raises(ValueError, match=says) as refusal:
            ask()
        assert "\n" not in str(refusal.value)
