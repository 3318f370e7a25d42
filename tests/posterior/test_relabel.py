"""Relabelling undoes switching, keeps every draw, and does not hide chains that disagree."""

from __future__ import annotations

import arviz as az
import numpy as np
import pytest
import xarray as xr

import bgmm
from tests.mixtures import Parameters, random_mixture, sample
from tests.posterior_trees import jittered, switched, tree_of
from tests.varying import varying


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


FOUR = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])
SHARES = np.array([0.4, 0.3, 0.2, 0.1])


@pytest.fixture
def coming_and_going(rng):
    """The third cluster in 70 % of the draws, the fourth in 30 %, and in no draw of the last chain."""
    present = rng.uniform(size=(4, 250, 4)) < np.array([1.0, 1.0, 0.7, 0.3])
    present[3, :, 3] = False
    return varying(rng, FOUR, SHARES, present)


def test_clusters_that_come_and_go_are_found_in_every_draw(coming_and_going):
    aligned = bgmm.relabel(coming_and_going.tree)
    stats, present = aligned["sample_stats"], coming_and_going.present
    np.testing.assert_array_equal(stats["present"], present)
    np.testing.assert_array_equal(stats["permutation"] >= 0, present)
    means, weights = aligned["posterior"]["means"].to_numpy(), aligned["posterior"]["weights"].to_numpy()
    np.testing.assert_allclose(means[present], coming_and_going.means[present])
    np.testing.assert_array_equal(weights > 0, present)
    assert np.isfinite(az.summary(aligned, var_names=["weights", "means"]).to_numpy(float)).all()
    assert float(stats["agreement"].mean()) > 0.8
    assert r_hat(aligned.isel(cluster=slice(3))) < 1.02
    whole = coming_and_going.tree["components"].to_dataset()
    xr.testing.assert_identical(aligned["components"].to_dataset().drop_vars("occupied"), whole)


def test_an_absent_cluster_is_held_at_the_nearest_draw_that_has_it(coming_and_going):
    aligned = bgmm.relabel(coming_and_going.tree)
    means, present = aligned["posterior"]["means"].to_numpy(), coming_and_going.present
    for chain, draw, k in np.argwhere(~present)[::17]:
        own, value = np.flatnonzero(present[chain, :, k]), means[chain, draw, k]
        if len(own):
            nearest = own[np.abs(own - draw) == np.abs(own - draw).min()]
            assert any((value == means[chain, s, k]).all() for s in nearest)
        else:
            assert any((value == other).all() for other in means[present[:, :, k], k])


def test_two_kinds_of_cluster_that_never_meet_do_not_share_a_place(rng):
    """Three clusters in every draw, the third of one kind or of another."""
    present = np.ones((2, 200, 4), bool)
    present[..., 2] = rng.uniform(size=(2, 200)) < 0.5
    present[..., 3] = ~present[..., 2]
    aligned = bgmm.relabel(varying(rng, FOUR, SHARES, present).tree)
    assert aligned["posterior"].sizes["cluster"] == 4
    assert aligned["posterior"]["means"].std(["chain", "draw"]).max() < 0.3


def test_relabelling_twice_and_by_a_feature_changes_the_order_alone(coming_and_going):
    once = bgmm.relabel(coming_and_going.tree)
    again = bgmm.relabel(bgmm.relabel(once, order="x2"))
    xr.testing.assert_allclose(again["posterior"].to_dataset(), once["posterior"].to_dataset())
    means = bgmm.relabel(once, order="x1")["posterior"]["means"].mean(["chain", "draw"])
    assert np.all(np.diff(means.sel(feature="x1")) > 0)


def test_raw_r_hat_of_switching_chains_over_one_and_a_half_becomes_one(rng):
    """Chains that each keep to labels of their own: what says that they disagree is the labels alone."""
    draws = jittered(rng, Parameters(np.log(SHARES), FOUR, np.broadcast_to(np.eye(2), (4, 2, 2))), 4, 500)
    tree = tree_of(switched(rng, draws, per_chain=True)[0])
    assert r_hat(tree) > 1.5
    assert r_hat(bgmm.relabel(tree)) < 1.01


def test_assignments_alone_are_aligned(rng):
    known = rng.choice(4, size=90, p=SHARES)
    z = np.broadcast_to(known, (2, 60, 90)).copy()
    merged = rng.uniform(size=(2, 60)) < 0.4
    z[merged] = np.where(known == 3, 2, known)
    names = np.argsort(rng.uniform(size=(2, 60, 9)), axis=2) * 1000
    tree = bgmm.from_draws(assignments=np.take_along_axis(names, z, axis=2))
    aligned = bgmm.relabel(tree)
    np.testing.assert_array_equal(aligned["sample_stats"]["present"][..., 3], ~merged)
    np.testing.assert_array_equal(aligned["sample_stats"]["assignments"], z)
    np.testing.assert_allclose(bgmm.membership(tree)[known == 3].mean("observation"), [0, 0, merged.mean(), 1 - merged.mean()])
