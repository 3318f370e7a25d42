"""Predictions against scipy and brute-force averages over draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logsumexp

import bgmm
from bgmm.posterior import evaluate
from tests.mixtures import Parameters, log_density, log_joint, random_mixture, sample
from tests.posterior_trees import jittered, tree_of


@pytest.fixture
def known(rng):
    """A mixture, a tree of 2 x 5 draws around it, and rows with gaps."""
    mixture = random_mixture(rng, 3, 2, spread=3.0)
    mixture = mixture._replace(means=mixture.means * [10, 0.1] + [1e4, 0], scale_tril=mixture.scale_tril * [[10], [0.1]])
    noisy = jittered(rng, mixture, 2, 5)
    x = sample(rng, mixture, 60)[0]
    x[rng.uniform(size=x.shape) < 0.1] = np.nan
    return noisy, tree_of(noisy, x), x


def each(draws: Parameters):
    return [Parameters(*(a[c, s] for a in draws)) for c in range(2) for s in range(5)]


def test_log_density_is_that_of_the_mean_over_draws(known):
    draws, tree, x = known
    expected = logsumexp([log_density(m, x) for m in each(draws)], axis=0) - np.log(10)
    answer = bgmm.log_density(tree, x)
    assert answer.dims == ("observation",)
    np.testing.assert_allclose(answer, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(bgmm.log_density(tree), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_more_draws_than_a_batch_holds_and_fewer_count_alike(rng):
    """Batches are padded, and what pads them does not count; 601 and 590 draws share programs, one draw has its own."""
    draws, x = jittered(rng, random_mixture(rng, 3, 2), 1, 601), rng.normal(size=(60, 2))
    tree = tree_of(draws, x)
    programs = []
    for n in (601, 590, 1):
        of_each = [log_density(Parameters(*(a[0, s] for a in draws)), x) for s in range(n)]
        found = bgmm.log_density(tree.isel(draw=slice(0, n)), x)
        np.testing.assert_allclose(found, logsumexp(of_each, axis=0) - np.log(n), rtol=1e-9, atol=1e-9)
        programs.append(evaluate._folded._cache_size())
    assert programs[0] == programs[1] == programs[2] - 1


def test_membership_is_the_mean_of_the_responsibilities_of_relabelled_draws(known):
    _, tree, x = known
    aligned = bgmm.relabel(tree)
    p = aligned["posterior"]
    w, mu, L = np.log(p["weights"].to_numpy()), p["means"].to_numpy(), np.linalg.cholesky(p["covariances"].to_numpy())
    r = [np.exp(log_joint(m, x) - log_density(m, x)[:, None]) for m in each(Parameters(w, mu, L))]
    answer = bgmm.membership(tree, x)
    assert answer.dims == ("observation", "cluster")
    np.testing.assert_allclose(answer, np.mean(r, axis=0), atol=1e-9)
    np.testing.assert_allclose(answer.sum("cluster"), 1, rtol=1e-12)


def test_a_row_without_values_has_the_weights_as_membership_and_density_one(known):
    _, tree, _ = known
    nothing = np.full((1, 2), np.nan)
    weights = bgmm.relabel(tree)["posterior"]["weights"].mean(["chain", "draw"])
    np.testing.assert_allclose(bgmm.membership(tree, nothing)[0], weights, rtol=1e-9)
    np.testing.assert_allclose(bgmm.log_density(tree, nothing), 0, atol=1e-9)


def test_samples_have_the_moments_of_the_predictive_mixture(known):
    draws, tree, _ = known
    rows = bgmm.sample(tree, 40_000, seed=1)
    assert rows.dims == ("observation", "feature")
    w = np.exp(np.stack([m.log_weights for m in each(draws)])) / 10
    mu = np.stack([m.means for m in each(draws)])
    var = np.stack([np.square(m.scale_tril).sum(-1) for m in each(draws)])
    mean = np.einsum("sk,skd->d", w, mu)
    variance = np.einsum("sk,skd->d", w, var + np.square(mu - mean))
    assert np.all(np.abs(rows.mean("observation") - mean) < 4 * np.sqrt(variance / 40_000))
    np.testing.assert_allclose(rows.var("observation"), variance, rtol=0.05)
    assert not rows.equals(bgmm.sample(tree, 40_000, seed=2))
    with pytest.raises(ValueError, match="at least 1"):
        bgmm.sample(tree, 0)


def test_replicates_of_the_data_share_a_draw_each_and_miss_what_the_data_miss(known):
    draws, tree, x = known
    replicated = bgmm.posterior_predictive(tree, n_draws=3, seed=0)
    rows = replicated["posterior_predictive"].to_dataset()
    assert dict(rows.sizes) == {"chain": 2, "draw": 3, "observation": 60}
    assert list(rows["draw"]) == [0, 2, 4]
    np.testing.assert_array_equal(np.isnan(rows["f0"].isel(chain=1, draw=2)), np.isnan(x[:, 0]))
    assert replicated["posterior"].identical(tree["posterior"])

    one = Parameters(*(np.repeat(a[:1, :1], 500, axis=1) for a in draws))
    one = one._replace(means=one.means + np.linspace(0, 1e6, 500)[None, :, None, None])
    far = bgmm.posterior_predictive(tree_of(one, np.nan_to_num(x, nan=1e4)), n_draws=500)["posterior_predictive"]
    between = far["f0"].mean("observation").to_numpy()[0]
    assert np.all(np.diff(between) > 0)  # each replicate follows its own draw


def test_columns_are_found_by_name_and_wrong_ones_refused(known):
    _, tree, x = known
    table = pd.DataFrame({"f1": x[:, 1], "extra": 0.0, "mixed": ["text", *range(1, len(x))], "f0": x[:, 0]})
    np.testing.assert_allclose(bgmm.log_density(tree, table), bgmm.log_density(tree, x))
    for wrong in (x[:, :1], table[["f0", "extra"]], np.column_stack([x, x])):
        with pytest.raises(ValueError, match="fitted to the columns f0, f1") as refusal:
            bgmm.log_density(tree, wrong)
        assert "\n" not in str(refusal.value)


def test_nameless_columns_are_counted(known):
    draws, _, x = known
    tree = tree_of(draws, x)
    nameless = xr.DataTree.from_dict(
        {"posterior": tree["posterior"].to_dataset().assign_coords(feature=["x1", "x2"], feature_bis=["x1", "x2"])}
    )
    np.testing.assert_allclose(bgmm.log_density(nameless, x), bgmm.log_density(tree, x), rtol=1e-9)
    for wrong in (np.ones((2, 3)), np.ones((2, 1))):
        with pytest.raises(ValueError, match="fitted to the columns x1, x2"):
            bgmm.log_density(nameless, wrong)


def test_occupied_components_are_counted_from_drawn_assignments(rng):
    """Two far clusters and a third component that each of 20 rows joins with probability 0.02, whatever the draw."""
    w = np.log([0.49, 0.49, 0.02])
    same = Parameters(w, np.zeros((3, 1)), np.ones((3, 1, 1)))
    draws = Parameters(*(np.broadcast_to(a, (4, 2000, *a.shape)) for a in same))
    probability = bgmm.n_occupied(tree_of(draws, rng.normal(size=(20, 1))), seed=3)
    expected_three = 1 - 0.98**20 - 2 * (0.51**20 - 0.49**20)
    error = np.sqrt(expected_three * (1 - expected_three) / 8000)
    assert abs(float(probability.sel(n_occupied=3)) - expected_three) < 4 * error
    assert float(probability.sum()) == pytest.approx(1)


def test_trees_that_are_no_mixtures_are_refused(known):
    _, tree, _ = known
    for broken, says in (
        (tree.filter(lambda node: node.name != "posterior"), "no posterior group"),
        (tree_of(known[0]).assign({}), "no observed data"),
    ):
        with pytest.raises(ValueError, match=says):
            bgmm.log_density(broken)
