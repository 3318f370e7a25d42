"""Losses against entropies and pairs, the search against all set partitions, the ball against its definition."""

from __future__ import annotations

from itertools import permutations

import jax
import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import mutual_info_score

import bgmm
from bgmm.posterior.losses import LOSSES, contingency_tables, distances, grouped, ungrouped
from bgmm.posterior.salso import search
from tests.marks import also_slow
from tests.mixtures import log_density, log_joint, random_mixture, sample
from tests.posterior_trees import jittered, switched, tree_of

BOTH = pytest.mark.parametrize("loss", ["vi", "binder"])
VI_ALONE = pytest.mark.parametrize("loss", also_slow(("vi", "binder"), ("vi",)))


def vi(c, z) -> float:
    return (mutual_info_score(c, c) + mutual_info_score(z, z) - 2 * mutual_info_score(c, z)) / np.log(2)


def binder(c, z) -> float:
    return np.mean((c[:, None] == c) != (z[:, None] == z))


BRUTE = {"vi": vi, "binder": binder}


def set_partitions(n: int):
    """All of them, labels in the order of appearance."""
    grown = [(0,)]
    for _ in range(n - 1):
        grown = [(*c, k) for c in grown for k in range(max(c) + 2)]
    return np.array(grown)


def with_assignments(z, group="posterior") -> xr.DataTree:
    """A tree that holds drawn assignments (chain, draw, observation) and nothing else."""
    return xr.DataTree.from_dict({group: xr.Dataset({"assignments": (("chain", "draw", "observation"), np.asarray(z))})})


def mean_loss(c, z, loss: str) -> float:
    return float(distances(np.asarray(c), ungrouped(np.asarray(z)), LOSSES[loss]).mean())


@pytest.fixture
def overlapping(rng):
    """400 rows of four clusters, some overlapping, and a tree of 2 x 60 draws whose labels switch."""
    mixture = random_mixture(rng, 4, 2, spread=2.0)
    x = sample(rng, mixture, 400)[0]
    return tree_of(switched(rng, jittered(rng, mixture, 2, 60), per_chain=False)[0], x)


@BOTH
def test_the_loss_is_that_of_entropies_and_of_pairs(rng, loss):
    z = rng.integers(0, 4, size=(20, 90))
    z[:, 45:] = z[:, :45]  # rows that are together in every draw
    c = np.tile(rng.integers(0, 3, size=45), 2)
    expected = [BRUTE[loss](c, own) for own in z]
    np.testing.assert_allclose(distances(c, ungrouped(z), LOSSES[loss]), expected, atol=1e-12)
    draws = grouped(z)
    assert len(draws.size) <= 45
    of_groups = c[np.unique(draws.of_row, return_index=True)[1]]
    np.testing.assert_allclose(distances(of_groups, draws, LOSSES[loss]), expected, atol=1e-12)
    np.testing.assert_array_equal(contingency_tables(of_groups, draws, 3).sum((1, 2)), 90)
    np.testing.assert_allclose(distances(z[3], ungrouped(z), LOSSES[loss])[3], 0, atol=1e-12)


@VI_ALONE
def test_the_search_finds_the_best_of_all_set_partitions(loss):
    rng = np.random.default_rng(5)
    for case in range(40):
        n, s, k = rng.integers([2, 1, 1], [8, 12, 6])
        z = rng.integers(0, k, size=(s, n))
        found = mean_loss(search(z, LOSSES[loss], np.random.default_rng(case), 16, None), z, loss)
        least = min(mean_loss(c, z, loss) for c in set_partitions(n))
        assert found == pytest.approx(least, abs=1e-9), z


@VI_ALONE
def test_no_draw_and_no_other_start_is_better(overlapping, loss):
    found = bgmm.partition(overlapping, loss=loss, seed=2)
    z = draws_of_partition(overlapping, seed=2)
    losses = [mean_loss(own, z, loss) for own in z]
    assert float(found["expected_loss"]) == pytest.approx(mean_loss(found["assignments"], z, loss), abs=1e-12)
    assert float(found["expected_loss"]) <= min(losses)


def draws_of_partition(tree, seed):
    """The assignments that ``partition`` draws."""
    from bgmm.posterior.assignments import draw_assignments

    return draw_assignments(tree, n_draws=1000, key=jax.random.split(jax.random.key(seed))[0]).z


@BOTH
def test_a_good_draw_is_kept_by_a_search_without_its_own_luck(rng, loss, monkeypatch):
    """One start that fails outright: the draws alone must then save the answer."""
    from bgmm.posterior import salso

    z = np.sort(rng.integers(0, 5, size=(1, 60))).repeat(20, 0)
    z[1:] = np.where(rng.uniform(size=(19, 60)) < 0.2, rng.integers(0, 5, size=(19, 60)), z[1:])
    monkeypatch.setattr(salso, "_run", lambda draws, loss, cap, rng: salso._Estimate(draws, loss, cap, 0 * draws.size))
    monkeypatch.setattr(salso._Estimate, "polish", lambda self, rng, zealous: None)
    found = salso.search(z, LOSSES[loss], rng, 1, None)
    assert mean_loss(found, z, loss) <= min(mean_loss(own, z, loss) for own in z) + 1e-12


def test_many_rows_are_searched_in_part_and_end_at_a_stable_partition(rng):
    """Beyond 1000 rows the answer is carried over from some; no single row may then be better elsewhere."""
    z = np.repeat(np.arange(4), 500) ^ (rng.uniform(size=(60, 2000)) < 0.25)
    z = np.where(rng.uniform(size=z.shape) < 0.1, rng.integers(0, 4, size=z.shape), z)
    found = bgmm.partition(with_assignments(z[None]))
    c, least = found["assignments"].to_numpy(), float(found["expected_loss"])
    assert least <= min(mean_loss(own, z, "vi") for own in z)
    for row in rng.choice(2000, 25, replace=False):
        for k in range(found.sizes["cluster"] + 1):
            moved = c.copy()
            moved[row] = k
            assert mean_loss(moved, z, "vi") >= least - 1e-12


def test_labels_of_the_draws_mean_nothing(rng):
    z = rng.integers(0, 3, size=(2, 30, 40))
    z[..., 20:] = 2
    names = np.argsort(rng.uniform(size=(2, 30, 7)), axis=2)
    renamed = np.take_along_axis(names, z, 2) * 100_000 - 3
    for question in (bgmm.partition, bgmm.credible_ball, bgmm.co_clustering):
        xr.testing.assert_identical(question(with_assignments(z)), question(with_assignments(renamed, "sample_stats")))


def test_clusters_are_numbered_by_size_and_sureness_is_counted(rng):
    z = rng.integers(0, 3, size=(1, 50, 60))
    z[..., :30], z[..., 30:45], z[..., 59] = 0, 1, 7
    z[0, :10, 30:45] = 0  # in ten draws of fifty the first two clusters are one
    found = bgmm.partition(with_assignments(z))
    c, z = found["assignments"].to_numpy(), z[0]
    assert np.all(np.diff(found["size"]) <= 0)
    np.testing.assert_array_equal(found["size"], np.bincount(c))
    assert set(c[:30]) == {0}
    together = np.mean(z[:, :, None] == z[:, None, :], axis=0)
    for row in range(60):
        mates = (c == c[row]) & (np.arange(60) != row)
        expected = together[row, mates].mean() if mates.any() else np.mean([(own == own[row]).sum() == 1 for own in z])
        assert float(found["with_mates"][row]) == pytest.approx(expected)
    np.testing.assert_allclose(found["membership"].sum("cluster"), 1)
    p = found["membership"].to_numpy()
    np.testing.assert_allclose(p[0], np.eye(p.shape[1])[0])  # the larger one keeps its name where they are one
    assert p[30, [0, c[30]]] == pytest.approx([0.2, 0.8])
    assert float(found["entropy"][30]) == pytest.approx(-0.2 * np.log2(0.2) - 0.8 * np.log2(0.8))


def test_membership_and_entropy_agree_with_those_of_aligned_draws(overlapping):
    found, aligned = bgmm.partition(overlapping, seed=1), bgmm.membership(overlapping)
    if found.sizes["cluster"] == aligned.sizes["cluster"]:
        p, q = found["membership"].to_numpy(), aligned.to_numpy()
        closest = min(np.abs(p[:, list(order)] - q).mean() for order in permutations(range(p.shape[1])))
        assert closest < 0.05


def test_one_draw_of_em_gives_several_assignments(rng):
    mixture = random_mixture(rng, 2, 1, spread=4.0)
    found = bgmm.partition(tree_of(jittered(rng, mixture, 1, 1), sample(rng, mixture, 50)[0]))
    assert found.attrs["n_draws"] == 200
    assert float(found["entropy"].max()) > 0


def test_at_most_so_many_draws_from_every_chain_and_so_many_clusters(rng):
    tree = with_assignments(rng.integers(0, 4, size=(3, 40, 20)))
    found = bgmm.partition(tree, n_draws=30, max_clusters=2, loss="binder")
    assert found.attrs["n_draws"] == 30
    assert found.sizes["cluster"] <= 2
    assert bgmm.partition(tree, loss="binder").sizes["cluster"] > 2


@VI_ALONE
@pytest.mark.parametrize("probability", [pytest.param(0.5, marks=pytest.mark.slow), 0.95])
def test_the_ball_is_the_smallest_that_holds_the_probability_and_its_bounds_are_the_farthest(overlapping, loss, probability):
    around = bgmm.partition(overlapping, loss=loss, seed=4)
    ball = bgmm.credible_ball(overlapping, around, probability=probability, seed=4)
    z, c = draws_of_partition(overlapping, seed=4), around["assignments"].to_numpy()
    d = np.array([BRUTE[loss](c, own) for own in z])
    radius = float(ball["radius"])
    assert np.mean(d <= radius + 1e-9) >= probability > np.mean(d < radius - 1e-9)
    assert float(ball["held"]) == pytest.approx(np.mean(d <= radius + 1e-9))
    assert np.isclose(radius, d).any()
    counts = np.array([len(set(own)) for own in z])
    inside = d <= radius + 1e-9
    for name, fewest in (
        ("vertical upper", counts[inside].min()),
        ("vertical lower", counts[inside].max()),
        ("horizontal", None),
    ):
        bound = ball.sel(bound=name)
        among = inside if fewest is None else inside & (counts == fewest)
        assert float(bound["distance"]) == pytest.approx(d[among].max(), abs=1e-9)
        assert BRUTE[loss](c, bound["assignments"].to_numpy()) == pytest.approx(d[among].max(), abs=1e-9)
        assert int(bound["n_clusters"]) == len(set(bound["assignments"].to_numpy()))
        assert fewest is None or int(bound["n_clusters"]) == fewest
        assert int(bound["n_alike"]) >= 1
    assert ball.attrs["loss"] == loss
    xr.testing.assert_identical(ball, bgmm.credible_ball(overlapping, loss=loss, probability=probability, seed=4))


def test_bounds_differ_and_are_numbered_like_the_partition(rng):
    z = np.repeat([[0] * 20 + [1] * 15 + [2] * 10], 100, axis=0)
    z[0, 20:35], z[1, :7], z[2, rng.permutation(45)[:9]] = 2, 3, 2
    ball = bgmm.credible_ball(with_assignments(z[None]), probability=0.999)
    assert ball["n_clusters"].sel(bound="vertical upper") == 2
    assert ball["n_clusters"].sel(bound="vertical lower") == 4
    assert list(ball["draw"])[:2] == [0, 1]
    assert np.mean(ball["assignments"].sel(bound="vertical lower") == ball["centre"]) == pytest.approx(38 / 45)
    tight = bgmm.credible_ball(with_assignments(z[None]), probability=0.9)
    assert float(tight["radius"]) == 0


def test_wrong_answers_to_what_is_asked_are_refused_in_a_sentence(overlapping, rng):
    small = with_assignments(rng.integers(0, 2, size=(1, 5, 7)))
    broken = with_assignments(np.where(rng.uniform(size=(1, 5, 7)) < 0.3, np.nan, 1.0))
    flat = xr.DataTree.from_dict({"posterior": xr.Dataset({"assignments": (("draw", "observation"), np.ones((3, 4), int))})})
    for ask, says in (
        (lambda: bgmm.partition(small, loss="VI"), "'vi' .* or 'binder', not 'VI'"),
        (lambda: bgmm.partition(small, n_draws=0), "n_draws must be a whole number"),
        (lambda: bgmm.partition(small, n_starts=0), "n_starts must be a whole number"),
        (lambda: bgmm.partition(small, max_clusters=0), "max_clusters must be a whole number"),
        (lambda: bgmm.partition(small, seed=-1), "seed must be"),
        (lambda: bgmm.partition(broken), "whole numbers"),
        (lambda: bgmm.partition(flat), "chain, draw, observation"),
        (lambda: bgmm.partition(overlapping.filter(lambda node: node.name != "observed_data")), "no observed data"),
        (lambda: bgmm.credible_ball(small, probability=95), "probability must be between 0 and 1"),
        (lambda: bgmm.credible_ball(small, loss="rand"), "'vi'"),
        (lambda: bgmm.credible_ball(small, xr.Dataset()), "what bgmm.partition returned"),
        (lambda: bgmm.credible_ball(overlapping, bgmm.partition(small)), "7 rows and the tree of 400"),
    ):
        with pytest.raises(ValueError, match=says) as refusal:
            ask()
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("gaps", [False, True])
def test_co_clustering_is_the_mean_product_of_responsibilities(rng, gaps):
    mixture = random_mixture(rng, 3, 2, spread=2.0)
    x = sample(rng, mixture, 30)[0]
    if gaps:
        x[rng.uniform(size=x.shape) < 0.2] = np.nan
    draws = switched(rng, jittered(rng, mixture, 2, 8), per_chain=False)[0]
    each = [type(draws)(*(a[c, s] for a in draws)) for c in range(2) for s in range(8)]
    r = np.stack([np.exp(log_joint(m, x) - log_density(m, x)[:, None]) for m in each])
    expected = np.einsum("sik,sjk->ij", r, r) / 16
    np.fill_diagonal(expected, 1)
    tree = tree_of(draws, x)
    np.testing.assert_allclose(bgmm.co_clustering(tree), expected, atol=1e-9)
    some = np.array([7, 2, 29, 2])
    block = bgmm.co_clustering(tree, rows=some)
    assert block.dims == ("observation", "observation_bis")
    np.testing.assert_allclose(block, expected[np.ix_(some, some)], atol=1e-9)
    pairs = rng.integers(0, 30, size=(50, 2))
    answer = bgmm.co_clustering(tree, pairs=pairs)
    np.testing.assert_allclose(answer, expected[pairs[:, 0], pairs[:, 1]], atol=1e-9)
    np.testing.assert_array_equal(answer["second"], pairs[:, 1])


def test_co_clustering_of_held_assignments_is_the_share_of_draws(rng):
    z = rng.integers(0, 3, size=(2, 25, 12))
    tree, flat = with_assignments(z), z.reshape(50, 12)
    expected = np.mean(flat[:, :, None] == flat[:, None, :], axis=0)
    np.testing.assert_allclose(bgmm.co_clustering(tree), expected)
    np.testing.assert_allclose(bgmm.co_clustering(tree, pairs=[(0, 5), (3, 3)]), [expected[0, 5], 1])
    assert bgmm.co_clustering(tree, pairs=np.empty((0, 2), int)).shape == (0,)


def test_co_clustering_never_makes_a_matrix_that_nobody_asked_for(rng):
    tree = with_assignments(np.zeros((1, 2, 2001), int))
    for ask, says in (
        ({}, "all 2001 rows are more than the 2000 of one matrix; give fewer rows, or give pairs"),
        ({"rows": np.arange(2001)}, "2001 rows are more"),
        ({"rows": [0, 2001]}, "rows holds 2001, and the tree has the rows 0 to 2000"),
        ({"rows": [-1]}, "rows holds -1"),
        ({"rows": [0.5]}, "whole numbers"),
        ({"rows": [[0, 1]]}, "list of row indices"),
        ({"pairs": [0, 1]}, r"array \(m, 2\)"),
        ({"rows": [0], "pairs": [(0, 1)]}, "not both"),
    ):
        with pytest.raises(ValueError, match=says) as refusal:
            bgmm.co_clustering(tree, **ask)
        assert "\n" not in str(refusal.value)
