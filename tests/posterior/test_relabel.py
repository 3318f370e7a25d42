"""Relabelling undoes switching, keeps every draw, and does not hide chains that disagree."""

from __future__ import annotations

import arviz as az
import numpy as np
import pytest

import bgmm
from bgmm.core.gaussian import Parameters
from tests.mixtures import random_mixture, sample
from tests.posterior_trees import jittered, switched, tree_of


def r_hat(tree) -> float:
    return float(az.rhat(tree["posterior"].to_dataset()[["means", "weights"]]).to_array().max())


@pytest.fixture
def separate(rng):
    mixture = random_mixture(rng, 4, 2, spread=4.0, scale=0.5)
    return mixture._replace(log_weights=np.log([0.4, 0.3, 0.2, 0.1]))


@pytest.mark.parametrize("per_chain", [True, False])
@pytest.mark.parametrize("with_data", [True, False])
def test_switched_draws_are_put_back(rng, separate, per_chain, with_data):
    draws = jittered(rng, separate, 4, 250)
    tree = tree_of(switched(rng, draws, per_chain)[0], sample(rng, separate, 120)[0] if with_data else None)
    assert not per_chain or r_hat(tree) > 1.5
    aligned = bgmm.relabel(tree)
    assert r_hat(aligned) < 1.01
    expected = tree_of(draws)["posterior"]
    order = np.argsort(-expected["weights"].mean(["chain", "draw"]).to_numpy())
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(aligned["posterior"][name], expected[name].isel(cluster=order))
    assert float(aligned["sample_stats"]["agreement"].mean()) > 0.9
    switches = aligned["sample_stats"]["switched"].to_numpy().mean()
    assert switches == 0 if per_chain else 0.5 < switches < 1


def test_permutation_says_where_each_cluster_stood(rng, separate):
    tree = tree_of(switched(rng, jittered(rng, separate, 2, 50), per_chain=False)[0])
    aligned = bgmm.relabel(tree)
    order = aligned["sample_stats"]["permutation"].to_numpy()
    before, after = tree["posterior"]["means"].to_numpy(), aligned["posterior"]["means"].to_numpy()
    np.testing.assert_array_equal(np.take_along_axis(before, order[..., None], axis=2), after)


def test_order_by_a_feature_and_again_by_weight(rng, separate):
    tree = tree_of(jittered(rng, separate, 2, 50))
    means = bgmm.relabel(tree, order="f1")["posterior"]["means"].mean(["chain", "draw"])
    assert np.all(np.diff(means.sel(feature="f1")) > 0)
    weights = bgmm.relabel(bgmm.relabel(tree, order="f1"))["posterior"]["weights"].mean(["chain", "draw"])
    assert np.all(np.diff(weights) < 0)
    with pytest.raises(ValueError, match="f0, f1"):
        bgmm.relabel(tree, order="f2")


def test_chains_in_different_modes_are_not_made_to_agree(rng, separate):
    other = separate._replace(means=separate.means + np.array([[0, 0], [0, 0], [6, 0], [-6, 0]]))
    both = [jittered(rng, m, 2, 250) for m in (separate, other)]
    x = sample(rng, separate, 120)[0]
    torn = bgmm.relabel(tree_of(Parameters(*(np.concatenate(a) for a in zip(*both, strict=True))), x))
    whole = bgmm.relabel(tree_of(both[0], x))
    assert r_hat(torn) > 1.5
    assert torn["sample_stats"]["agreement"].mean() < whole["sample_stats"]["agreement"].quantile(0.01)


def test_everything_else_in_the_tree_is_kept(faithful_tree):
    aligned = bgmm.relabel(faithful_tree)
    assert set(aligned.children) == set(faithful_tree.children)
    assert aligned["sample_stats"]["n_occupied"].equals(faithful_tree["sample_stats"]["n_occupied"])
    assert aligned["log_likelihood"].equals(faithful_tree["log_likelihood"])
