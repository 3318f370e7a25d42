"""Ellipses hold what they say, pictures are drawn for one, two and more features, and what is shown is what was found."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.path import Path

import bgmm
from tests.mixtures import random_mixture, sample
from tests.posterior_trees import jittered, tree_of
from tests.varying import varying


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def thick_lines(axes) -> list[np.ndarray]:
    return [
        segment
        for collection in axes.collections
        if isinstance(collection, LineCollection) and np.all(collection.get_linewidths() > 1.5)
        for segment in collection.get_segments()
    ]


@pytest.mark.parametrize("masses", [(0.5, 0.9), (0.2, 0.99)])
def test_each_ellipse_holds_the_stated_mass_of_its_cluster(rng, masses):
    mixture = random_mixture(rng, 1, 2)
    one = jittered(rng, mixture, 1, 1, noise=0.0)
    x = sample(rng, mixture, 50_000)[0]
    axes = bgmm.plot_clusters(tree_of(one, x[:100]), masses=masses)
    held = [Path(line).contains_points(x).mean() for line in thick_lines(axes)]
    np.testing.assert_allclose(sorted(held), masses, atol=0.01)


def test_thin_ellipses_spread_as_the_draws_do(rng):
    mixture = random_mixture(rng, 2, 2, spread=4.0)
    tree = tree_of(jittered(rng, mixture, 2, 30, noise=0.3), sample(rng, mixture, 40)[0])
    axes = bgmm.plot_clusters(tree, n_draws=25)
    thin = [c for c in axes.collections if isinstance(c, LineCollection) and np.all(c.get_linewidths() < 1)]
    assert [len(c.get_segments()) for c in thin] == [25, 25]
    aligned = bgmm.relabel(tree)["posterior"]["means"].stack(sample=("chain", "draw")).transpose("cluster", "sample", "feature")
    for collection, means in zip(thin, aligned.to_numpy(), strict=True):
        centres = np.array([segment[:-1].mean(0) for segment in collection.get_segments()])
        np.testing.assert_allclose(centres.std(0), means.std(0), rtol=0.5)


def test_a_cluster_that_most_draws_lack_has_thin_ellipses_where_it_is_and_no_thick_ones(rng):
    present = np.ones((2, 20, 3), bool)
    present[:, :, 2] = np.arange(20) % 4 == 0
    tree = varying(rng, np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]), np.array([0.5, 0.3, 0.2]), present, n_rows=60).tree
    axes = bgmm.plot_clusters(tree, n_draws=40)
    thin = [c for c in axes.collections if isinstance(c, LineCollection) and np.all(c.get_linewidths() < 1)]
    assert sorted(len(c.get_segments()) for c in thin) == [10, 40, 40]
    assert len(thick_lines(axes)) == 4  # two masses of two clusters
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [name for name in named if name.startswith("cluster")] == ["cluster 0", "cluster 1"]


def test_rows_without_a_sure_cluster_are_ringed(rng):
    mixture = random_mixture(rng, 2, 2, spread=1.0)
    x = sample(rng, mixture, 200)[0]
    tree = tree_of(jittered(rng, mixture, 1, 4), x)
    doubtful = int((bgmm.membership(tree, x).max("cluster") < 0.95).sum())
    sure, ringed = bgmm.plot_clusters(tree).collections[:2]
    assert len(ringed.get_offsets()) == doubtful > 0
    assert len(sure.get_offsets()) == 200 - doubtful
    assert ringed.get_sizes()[0] > 2 * sure.get_sizes()[0]


def test_density_of_one_feature_integrates_to_one_inside_its_band(rng):
    mixture = random_mixture(rng, 2, 1, spread=3.0)
    axes = bgmm.plot_clusters(tree_of(jittered(rng, mixture, 2, 20), sample(rng, mixture, 300)[0]))
    (line,) = [line for line in axes.lines if line.get_label() == "density"]
    x, density = line.get_data()
    assert 0.9 < np.trapezoid(density, x) < 1.001
    (band,) = [c for c in axes.collections if c.get_label() == "89 % of draws"]
    edges = band.get_paths()[0].vertices
    peak = x[density.argmax()]
    low, high = np.sort(edges[np.abs(edges[:, 0] - peak) < 1e-9, 1])[[0, -1]]
    assert low < density.max() < high


def test_more_features_make_a_grid_of_pairs(rng):
    mixture = random_mixture(rng, 3, 4, spread=3.0)
    tree = tree_of(jittered(rng, mixture, 1, 5), sample(rng, mixture, 60)[0])
    assert bgmm.plot_clusters(tree).shape == (4, 4)
    assert bgmm.plot_clusters(tree, features=["f2", "f0"]).get_xlabel() == "f2"
    with pytest.raises(ValueError, match="f0, f1, f2, f3"):
        bgmm.plot_clusters(tree, features=["waiting"])
    with pytest.raises(ValueError, match="masses"):
        bgmm.plot_clusters(tree, masses=[90])


def test_rows_with_missing_values_do_not_stop_a_picture(rng):
    mixture = random_mixture(rng, 2, 2)
    x = sample(rng, mixture, 50)[0]
    x[:10, 0] = np.nan
    bgmm.plot_clusters(tree_of(jittered(rng, mixture, 1, 3), x)).figure.canvas.draw()


def test_bars_are_the_probabilities_of_the_occupied_components_and_the_priors(faithful_tree):
    axes = bgmm.plot_occupied(faithful_tree)
    posterior, prior = ([bar.get_height() for bar in container] for container in axes.containers)
    np.testing.assert_allclose(posterior, bgmm.n_occupied(faithful_tree))
    np.testing.assert_allclose(prior, bgmm.prior_n_occupied(bgmm.models.finite(2), 272))


def test_bars_stop_where_no_number_is_likely(rng):
    mixture = random_mixture(rng, 2, 1, spread=9.0)
    w = np.broadcast_to([0.5, 0.5, *[0.0] * 6], (1, 30, 8))
    means = np.concatenate([mixture.means[:, 0], np.zeros(6)])
    tree = bgmm.from_draws(w, np.broadcast_to(means, w.shape), np.ones(w.shape), sample(rng, mixture, 40)[0])
    (bars,) = bgmm.plot_occupied(tree).containers
    assert [bar.get_height() for bar in bars] == [0, 1]
