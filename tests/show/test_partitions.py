"""The pictures of a clustering show its numbers, in its order, and say how many rows they show."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

import bgmm
from bgmm.show import partitions
from bgmm.show.colours import colours
from tests.mixtures import random_mixture, sample
from tests.posterior_trees import jittered, switched, tree_of


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(params=[1, 2])
def overlapping(rng, request):
    mixture = random_mixture(rng, 3, request.param, spread=2.0)
    return tree_of(switched(rng, jittered(rng, mixture, 2, 40), per_chain=False)[0], sample(rng, mixture, 90)[0])


def test_the_heat_map_is_co_clustering_cluster_by_cluster_with_similar_rows_as_neighbours(overlapping):
    around = bgmm.partition(overlapping)
    shown = np.asarray(bgmm.plot_co_clustering(overlapping, around).images[0].get_array())
    order = np.lexsort((-around["with_mates"], around["assignments"]))
    by_certainty = bgmm.co_clustering(overlapping).to_numpy()[np.ix_(order, order)]
    ends = np.cumsum([0, *around["size"].to_numpy()])
    steps = []
    for a, b in itertools.pairwise(ends):
        np.testing.assert_allclose(np.sort(shown[a:b, a:b], None), np.sort(by_certainty[a:b, a:b], None))
        steps.append([np.linalg.norm(np.diff(p[a:b], axis=0), axis=1).sum() for p in (shown, by_certainty)])
    seriated, before = np.sum(steps, axis=0)
    np.testing.assert_allclose(shown, shown.T)
    np.testing.assert_allclose(np.diagonal(shown), 1.0)
    assert seriated < before


def test_of_many_rows_an_even_choice_is_shown_and_said(overlapping, monkeypatch):
    monkeypatch.setattr(partitions, "_HEAT_MAP_ROWS", 30)
    monkeypatch.setattr(partitions, "_PLOTTED_ROWS", 40)
    around = bgmm.partition(overlapping)
    heat = bgmm.plot_co_clustering(overlapping, around)
    assert heat.images[0].get_array().shape == (30, 30)
    assert "30 of 90 rows" in heat.get_title()
    assert "40 of 90 rows" in bgmm.plot_membership(overlapping, around).get_title()


def test_areas_are_the_memberships_and_fill_the_picture(overlapping):
    around = bgmm.partition(overlapping)
    axes = bgmm.plot_membership(overlapping, around)
    areas = {}
    for band in axes.collections:
        (x, y) = band.get_paths()[0].vertices.T
        areas.setdefault(tuple(band.get_facecolor()[0][:3]), []).append(abs(np.trapezoid(y, x)))
    expected = around["membership"].sum("observation").to_numpy()
    for colour, total in zip(colours(len(expected)), expected, strict=True):
        assert sum(areas[tuple(colour)]) == pytest.approx(total)
    axes.figure.canvas.draw()


def test_bounds_that_are_one_partition_share_a_picture_and_changed_rows_are_ringed(overlapping):
    ball = bgmm.credible_ball(overlapping)
    axes = bgmm.plot_credible_ball(overlapping, ball)
    bounds = np.unique(ball["assignments"], axis=0)
    assert len(axes) == 1 + len(bounds)
    for axis in axes[1:]:
        ringed = len(axis.collections[1].get_offsets())
        assert any(ringed == np.sum(bound != ball["centre"].to_numpy()) for bound in bounds)
    assert not len(axes[0].collections[1].get_offsets())
    axes[0].figure.canvas.draw()
    with pytest.raises(ValueError, match="no feature 'waiting'; the tree has f0"):
        bgmm.plot_credible_ball(overlapping, ball, features=["waiting"])
    with pytest.raises(ValueError, match="one or two of f0"):
        bgmm.plot_credible_ball(overlapping, ball, features=[])


@pytest.mark.parametrize("overlapping", [2], indirect=True)
def test_what_no_function_returned_is_refused_by_the_name_of_that_function(overlapping):
    with pytest.raises(ValueError, match=r"around must be what bgmm.partition returned, not Dataset$"):
        bgmm.plot_membership(overlapping, bgmm.credible_ball(overlapping))
    with pytest.raises(ValueError, match=r"ball must be what bgmm.credible_ball returned, not Dataset$"):
        bgmm.plot_credible_ball(overlapping, bgmm.partition(overlapping))


def test_twenty_clusters_have_twenty_colours():
    assert len(np.unique(colours(20).round(3), axis=0)) == 20
