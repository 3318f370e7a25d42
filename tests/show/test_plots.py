"""Ellipses hold what they say, pictures are drawn for one, two and more features, and what is shown is what was found."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.path import Path

import bgmm
from bgmm.show.colours import colours
from bgmm.show.separation import separating
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
    assert [name for name in named if name.startswith("cluster")] == [
        "cluster 0",
        "cluster 1",
        "cluster 2, in 25% of the draws",
    ]


def test_a_cluster_in_few_draws_is_neither_drawn_nor_named(rng):
    present = np.ones((2, 25, 3), bool)
    present[:, :, 2] = np.arange(25) % 25 == 0
    tree = varying(rng, np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]), np.array([0.5, 0.3, 0.2]), present, n_rows=60).tree
    axes = bgmm.plot_clusters(tree)
    drawn = {tuple(c.get_colors()[0][:3]) for c in axes.collections if isinstance(c, LineCollection)}
    assert drawn == {tuple(colour) for colour in colours(2)}
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [name for name in named if name.startswith("cluster")] == ["cluster 0", "cluster 1"]


@pytest.mark.parametrize("d", [2, 3])
def test_axes_end_where_the_rows_do_however_large_an_ellipse_is(rng, d):
    x = rng.normal(size=(200, d))
    means = np.zeros((1, 10, 2, d))
    covariances = np.broadcast_to(np.eye(d), (1, 10, 2, d, d)).copy()
    covariances[:, ::2, 1] *= 1e4
    tree = bgmm.from_draws(np.broadcast_to([0.8, 0.2], (1, 10, 2)), means, covariances, x)
    axes = bgmm.plot_clusters(tree)
    axes = axes if d == 2 else axes[1, 0]
    for limits, values in zip((axes.get_xlim(), axes.get_ylim()), x.T, strict=False):
        assert limits[0] < values.min()
        assert values.max() < limits[1]
        assert np.diff(limits)[0] < 1.2 * np.ptp(values)


def one_draw(x, weights, means, scales):
    """A tree of one draw of round clusters."""
    d = x.shape[1]
    covariances = np.eye(d) * np.square(scales)[:, None, None]
    return bgmm.from_draws(
        np.array([[weights]]), np.broadcast_to(means, (d, len(weights))).T[None, None], covariances[None, None], x
    )


@pytest.mark.parametrize("d", [2, 3])
def test_the_legend_names_the_clusters_whose_ellipses_are_seen(rng, d):
    x = rng.normal(size=(200, d))
    for means, scales, weights, expected in (
        ([0.0, 0.5], [1.0, 1.0], [0.6, 0.4], ["cluster 0", "cluster 1"]),
        ([0.0, 90.0], [1.0, 1.0], [0.6, 0.4], ["cluster 0"]),  # far away
        ([0.0, 0.0], [1.0, 300.0], [0.9, 0.1], ["cluster 0"]),  # around the axes
        (
            [90.0, 0.0],
            [1.0, 300.0],
            [0.1, 0.9],
            ["cluster 0, its ellipses outside"],
        ),  # which holds the rows, and so has the largest weight
    ):
        axes = bgmm.plot_clusters(one_draw(x, weights, means, scales))
        legend = axes.get_legend() if d == 2 else axes[0, 0].figure.legends[0]
        named = [text.get_text() for text in legend.get_texts()]
        assert sorted(name for name in named if name.startswith("cluster")) == expected
        assert ("ellipses with 50% and 90% of a cluster" in named) == (expected[0][-7:] != "outside")
        for one in np.ravel(axes) if d == 2 else axes[np.tril_indices(d, -1)]:
            inside = [Path(line).intersects_bbox(one.viewLim, filled=False) for line in thick_lines(one)]
            assert any(inside) == ("ellipses with 50% and 90% of a cluster" in named)


def test_markers_of_many_rows_are_small_and_transparent(rng):
    mixture = random_mixture(rng, 2, 2, spread=9.0)
    one = jittered(rng, mixture, 1, 1, noise=0.0)
    few, many = (bgmm.plot_clusters(tree_of(one, sample(rng, mixture, n)[0])).collections[0] for n in (200, 20_000))
    assert len(many.get_offsets()) > 19_000
    ink = [markers.get_sizes()[0] * markers.get_alpha() * len(markers.get_offsets()) for markers in (few, many)]
    assert many.get_sizes()[0] < few.get_sizes()[0] / 4
    assert ink[1] < 10 * ink[0]


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
    (line,) = [line for line in axes.lines if line.get_label() == "all clusters together"]
    x, density = line.get_data()
    assert 0.9 < np.trapezoid(density, x) < 1.001
    (band,) = [c for c in axes.collections if c.get_label() == "89% of the draws"]
    edges = band.get_paths()[0].vertices
    peak = x[density.argmax()]
    low, high = np.sort(edges[np.abs(edges[:, 0] - peak) < 1e-9, 1])[[0, -1]]
    assert low < density.max() < high


def test_curves_of_clusters_lie_over_that_of_all(rng):
    mixture = random_mixture(rng, 2, 1, spread=9.0)
    axes = bgmm.plot_clusters(tree_of(jittered(rng, mixture, 1, 5), sample(rng, mixture, 100)[0]))
    (total,) = [line for line in axes.lines if line.get_label() == "all clusters together"]
    of_clusters = [line for line in axes.lines if line.get_label().startswith("cluster")]
    assert len(of_clusters) == 2
    for line in of_clusters:
        assert line.get_zorder() > total.get_zorder()
        assert line.get_linewidth() < total.get_linewidth()  # so that both are seen


def test_of_many_features_those_that_separate_are_shown_and_the_others_named(rng):
    x = rng.normal(size=(80, 9))
    informative = [1, 2, 4, 5, 7, 8]
    x[40:, informative] += 6
    means = np.stack([x[:40].mean(0), x[40:].mean(0)])
    tree = bgmm.from_draws(
        np.full((1, 3, 2), 0.5), np.broadcast_to(means, (1, 3, 2, 9)), np.ones((1, 3, 2, 9, 1)) * np.eye(9), x
    )
    axes = bgmm.plot_clusters(tree)
    assert [axes[-1, j].get_xlabel() for j in range(6)] == [f"x{j + 1}" for j in informative]
    said = " ".join(axes[0, 0].figure.get_suptitle().split())
    assert said == "the 6 of 9 features that separate the clusters best; left out: x1, x4, x7"
    assert not bgmm.plot_clusters(tree, features=["x1", "x2", "x3"])[0, 0].figure.get_suptitle()


def test_separation_counts_the_values_that_are_present(rng):
    x = rng.normal(size=(60, 3))
    x[:30, 1] += 5
    x[::3, 1] = np.nan
    x[:, 2] = np.nan
    r = np.repeat(np.eye(2), 30, axis=0)
    assert separating(x, r, 1).tolist() == [1]
    assert separating(x, r, 3).tolist() == [0, 1, 2]


def test_more_features_make_a_grid_of_pairs(rng):
    mixture = random_mixture(rng, 3, 4, spread=3.0)
    tree = tree_of(jittered(rng, mixture, 1, 5), sample(rng, mixture, 60)[0])
    assert bgmm.plot_clusters(tree).shape == (4, 4)
    assert bgmm.plot_clusters(tree, features=["f2", "f0"]).get_xlabel() == "f2"
    with pytest.raises(ValueError, match="f0, f1, f2, f3"):
        bgmm.plot_clusters(tree, features=["waiting"])
    with pytest.raises(ValueError, match="masses"):
        bgmm.plot_clusters(tree, masses=[90])
    with pytest.raises(ValueError, match="features is empty"):
        bgmm.plot_clusters(tree, features=[])
    with pytest.raises(ValueError, match="n_draws must be a whole number"):
        bgmm.plot_clusters(tree, n_draws=0)


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
