"""Where a search begins: weights count, padding does not, and columns are known by their names."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.engines.optimise.objective import Objective
from bgmm.engines.optimise.search import heights, search
from bgmm.engines.optimise.starts import first_guesses
from bgmm.inputs import read_data, start_mixture
from tests.engines.test_em import standard_target


@pytest.mark.parametrize("kind", ["labels", "means"])
def test_a_row_counts_in_a_start_as_often_as_it_weighs(rng, kind):
    x, c, labels = rng.normal(size=(30, 2)), np.repeat([0, 1, 2], 10), np.arange(30) % 2
    x[0] = 1e12  # of weight zero
    means = np.array([[-1.0, 0.0], [1.0, 0.0]])

    def start(rows, labels, weights):
        data = read_data(models.finite(2), rows, weights)
        return jax.tree.leaves(start_mixture(labels if kind == "labels" else means, data, 2))

    twice = np.repeat(np.arange(30), c)
    for found, expected in zip(start(x, labels, c.astype(float)), start(x[twice], labels[twice], None), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_tree_is_a_start_by_the_names_of_its_columns(iris):
    tree = bgmm.fit(models.finite(3), iris, engine=bgmm.EM(prior=False, n_starts=1), seed=0)
    other = iris[iris.columns[::-1]]
    here, there = (start_mixture(tree, read_data(models.finite(3), x, None), 3).components for x in (iris, other))
    np.testing.assert_allclose(there.means, here.means[:, ::-1], rtol=1e-9)
    covariances = [L @ np.swapaxes(L, 1, 2) for L in (here.factor.L, there.factor.L)]
    np.testing.assert_allclose(covariances[1], covariances[0][:, ::-1, ::-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("apart", [0.0, 1e-6])
def test_components_that_begin_alike_are_refused(faithful, apart):
    """They stay alike: a saddle, and no mode."""
    with pytest.raises(ValueError, match="means 1 and 2 of start are the same, or nearly"):
        bgmm.fit(models.finite(2), faithful, "em", start=[[2.0, 55.0], [2.0, 55.0 + apart]])


def test_padding_is_no_cluster_of_a_hierarchical_start(rng):
    x = np.concatenate([rng.normal(-10, 0.4, 300), rng.normal(-7, 0.4, 200), rng.normal(9, 0.4, 525)])[:, None]
    target = standard_target(models.finite(3), x)
    assert target.rows.n_places > len(x)
    guess = first_guesses(target, 1, "hierarchical", None, key=jax.random.key(0))
    np.testing.assert_allclose(np.exp(guess.log_weights[0]), np.array([301, 201, 526]) / 1028)


def test_a_start_that_is_lost_does_not_lose_the_others(rng):
    target = standard_target(models.finite(2), rng.normal(size=(60, 2)))
    guesses = first_guesses(target, 2, "k-means++", None, key=jax.random.key(0))
    components = guesses.components
    lost = guesses._replace(components=replace(components, means=components.means.at[0].set(jnp.nan)))
    height = heights(search(target, Objective(prior=False), lost, key=jax.random.key(1))[1])
    assert height[0] == -np.inf
    assert np.isfinite(height[1])
