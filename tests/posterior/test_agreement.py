"""Agreement of fits against draws made by hand, whose differences are known."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bgmm
from tests.mixtures import Parameters, sample
from tests.posterior_trees import jittered, switched, tree_of

TRUTH = Parameters(np.log([0.5, 0.3, 0.2]), np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 6.0]]), np.stack([np.eye(2)] * 3))


def fits(rng, shift=0.0, widen=1.0):
    """Two trees of independent draws; in the first the mean of cluster 1 in f0 is moved, and its draws are wider."""
    x, _ = sample(rng, TRUTH, 120)
    one, other = (jittered(rng, TRUTH, 2, 400) for _ in range(2))
    one.means[:, :, 1, 0] = 5 + shift * 0.05 + widen * (one.means[:, :, 1, 0] - 5)
    one, _ = switched(rng, one, per_chain=False)
    return {"one": tree_of(one, x, also=("scales",)), "other": tree_of(other, x, also=("scales",))}


def test_equal_posteriors_agree_within_their_errors(rng):
    table = bgmm.agreement(fits(rng)).loc["one"]
    for name in ("weights", "means", "scales"):
        value, error, _ = table.loc[f"shift of {name} (sd)"]
        assert abs(value) < 4 * error
        assert 0.03 < error < 0.07  # 800 draws on each side: sqrt(2 / 800)
        value, error, _ = table.loc[f"sd ratio of {name}"]
        assert abs(value - 1) < 4 * error
    for name in ("log density (mean difference)", "membership (total variation)", "co-clustering (mean difference)"):
        value, error, _ = table.loc[name]
        assert 0 < value < 4 * error


def test_a_shift_and_a_wider_spread_are_found_where_they_are(rng):
    table = bgmm.agreement(fits(rng, shift=2.0, widen=1.5)).loc["one"]
    value, error, where = table.loc["shift of means (sd)"]
    assert where == "cluster 1, f0"
    assert abs(value - 2) < 5 * error
    value, error, where = table.loc["sd ratio of means"]
    assert where == "cluster 1, f0"
    assert abs(value - 1.5) < 5 * error
    assert table.loc["log density (mean difference)", "value"] > 5 * table.loc["log density (mean difference)", "error"]


def test_distances_are_those_by_hand(rng):
    trees = fits(rng, shift=8.0)
    table = bgmm.agreement(trees).loc["one"]
    one, other = (bgmm.co_clustering(tree, rows=np.arange(120)).to_numpy() for tree in trees.values())
    assert table.loc["co-clustering (mean difference)", "value"] == pytest.approx(
        np.abs(one - other)[~np.eye(120, dtype=bool)].mean() * 119 / 120, abs=2e-3
    )
    one, other = (bgmm.log_density(tree).to_numpy() for tree in trees.values())
    assert table.loc["log density (mean difference)", "value"] == pytest.approx(np.abs(one - other).mean(), rel=1e-8)
    one, other = (bgmm.membership(bgmm.relabel(tree)).to_numpy() for tree in trees.values())
    assert table.loc["membership (total variation)", "value"] == pytest.approx(
        0.5 * np.abs(one - other).sum(1).mean(), rel=1e-8
    )


def test_a_mode_has_no_spread_to_compare(rng):
    trees = fits(rng)
    x = np.stack([trees["one"]["observed_data"][name] for name in ("f0", "f1")], axis=1)
    mode = bgmm.fit(
        bgmm.models.finite(3, components=bgmm.models.Diagonal()),
        pd.DataFrame(x, columns=["f0", "f1"]),
        bgmm.EM(n_starts=2),
        seed=0,
    )
    table = bgmm.agreement({"mode": mode, "draws": trees["other"]}).loc["mode"]
    assert np.isfinite(table.loc["shift of means (sd)", "value"])
    assert np.isnan(table.loc["sd ratio of means", "value"])


def test_picture_shows_every_parameter_and_distance(rng):
    left, right = bgmm.plot_agreement(fits(rng, shift=2.0))
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert len(labels) == 3 + 6 + 6
    assert "mean, cluster 1, f0" in labels
    assert len(right.get_yticklabels()) == 4
    plt.close("all")


@pytest.mark.slow
def test_error_of_the_number_occupied_is_that_of_chance():
    """Two fits that draw K+ = 1 or 2 with one probability: their distance is about the error, which is not zero by one fit."""
    rng = np.random.default_rng(3)
    distances, errors = [], []
    for _ in range(20):
        one, other = fits(rng).values()
        for tree in (one, other):
            shape = (tree["posterior"].sizes["chain"], tree["posterior"].sizes["draw"])
            tree["sample_stats"] = xr.Dataset({"n_occupied": (("chain", "draw"), 1 + (rng.uniform(size=shape) < 0.3))})
        value, error, _ = bgmm.agreement({"one": one, "other": other}).loc[("one", "K+ (total variation)")]
        distances.append(value**2)
        errors.append(error**2)
    assert 0.4 < np.mean(distances) / np.mean(errors) < 2.5
    tree["sample_stats"] = xr.Dataset({"n_occupied": (("chain", "draw"), np.ones(shape, int))})
    assert bgmm.agreement({"one": one, "other": tree}).loc[("one", "K+ (total variation)"), "error"] > 0


def test_what_cannot_be_compared_raises(rng):
    trees = fits(rng)
    unseen = {name: tree.drop_nodes("observed_data") for name, tree in trees.items()}
    with pytest.raises(ValueError, match="none of these fits holds its rows"):
        bgmm.agreement(unseen)
    with pytest.raises(ValueError, match="at least two fits"):
        bgmm.agreement({"one": trees["one"]})
    with pytest.raises(ValueError, match="reference must be one of one, other, not 'nuts'"):
        bgmm.agreement(trees, reference="nuts")
    x = np.stack([trees["one"]["observed_data"][name] for name in ("f0", "f1")], axis=1)
    named = bgmm.fit(bgmm.models.finite(1, components=bgmm.models.Diagonal()), x, bgmm.EM(n_starts=1), seed=0)
    with pytest.raises(ValueError, match="fit 'em' is one point"):
        bgmm.agreement({"one": trees["one"], "em": named})
    with pytest.raises(ValueError, match="fit 'em' has the features x1, x2, and 'one' has f0, f1"):
        bgmm.agreement({"em": named, "one": trees["one"]})
