"""The limits of the bulk hold clusters and stay where they are when a value moves far out; units follow the bulk."""

from __future__ import annotations

import numpy as np
import pytest

from bgmm.core.bulk import bulk_of
from bgmm.core.scaling import scaling_of


def column(*parts) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts]).astype(float)[:, None]


@pytest.mark.parametrize("name", ["gaussian", "two clusters", "a tenth far away", "flag", "counts", "iris", "faithful"])
def test_the_bulk_of_clustered_data_holds_all_rows(name, rng, iris, faithful):
    x = {
        "gaussian": rng.normal(size=(2000, 2)),
        "two clusters": column(rng.normal(size=100), 1e6 + rng.normal(size=100)),
        "a tenth far away": column(rng.normal(size=900), 1e6 + rng.normal(size=100)),
        "flag": column(np.zeros(98), np.ones(2)),
        "counts": column(rng.poisson(0.1, 500)),
        "iris": iris.to_numpy(),
        "faithful": faithful.to_numpy(),
    }[name]
    assert not bulk_of(x).is_far(x).any()
    units = scaling_of(x)
    np.testing.assert_allclose(units.centre, x.mean(0), atol=1e-12)
    np.testing.assert_allclose(units.scale, x.std(0), rtol=1e-12)


@pytest.mark.parametrize("n", [4, 10, 200, 5000])
def test_one_wild_value_moves_the_units_by_a_bounded_amount(n, rng):
    x = rng.normal(size=(n, 1))
    far, farther = (scaling_of(np.append(x, [[value]], axis=0)) for value in (1e4, 1e300))
    assert far == farther
    assert far.scale < 40 * (x.max() - x.min()) / np.sqrt(n)
    assert scaling_of(column(x, 1e4)).scale < 0.1 * column(x, 1e4).std()


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_value_that_repeats_far_outside_leaves_the_units_to_the_others(share, rng):
    x = 1e-3 * rng.normal(size=(1000, 1))
    x[: int(1000 * share)] = -999.0
    assert bulk_of(x).is_far(x).sum() == 1000 * share
    assert scaling_of(x).scale < 0.02


@pytest.mark.parametrize(
    "wild",
    [
        np.repeat([-999.0, -5000.0], [20, 1]),  # a fill value, and a wild row beyond it
        np.repeat([-999.0, -998.0], [20, 20]),  # two fill values
        np.repeat([-999.0, 9999.0], [20, 30]),  # one on each side
        np.repeat([-999.0, -5000.0, 1e5], [12, 1, 1]),
        1e4 * (1 + np.arange(12)),  # more than a twentieth of the rows, far apart
        -(10.0 ** np.arange(4, 14)),
    ],
)
def test_tails_that_are_no_cluster_leave_the_units_to_the_others(wild, rng):
    clusters = column(rng.normal(size=80), 10 + rng.normal(size=80))
    x = column(clusters, wild)
    far = bulk_of(x).is_far(x)[:, 0]
    assert far.sum() == len(wild)
    assert far[-len(wild) :].all()
    assert scaling_of(x).scale < 15 * clusters.std() * np.sqrt(len(wild))


@pytest.mark.parametrize("size", [15, 40])
def test_a_tail_whose_rows_lie_together_is_a_cluster(size, rng):
    for cluster in (rng.normal(size=size), rng.integers(0, 6, size), 2 * rng.standard_t(5, size)):
        x = column(rng.normal(size=160), 1e5 + cluster)
        assert not bulk_of(x).is_far(x).any()


def test_few_ordinary_rows_are_hardly_ever_far(rng):
    for n in (3, 4, 5, 6, 10, 20):
        x = rng.normal(size=(n, 500))
        assert bulk_of(x).is_far(x).any(0).mean() <= 0.004


def test_a_weight_counts_as_repeated_rows_and_a_missing_value_as_none(rng):
    x, c = column(rng.normal(size=50), 1e5), rng.integers(1, 4, 51).astype(float)
    repeated = np.repeat(x, c.astype(int), axis=0)
    np.testing.assert_allclose(np.ravel(bulk_of(x, c)), np.ravel(bulk_of(repeated)), rtol=1e-12)
    np.testing.assert_allclose(np.ravel(scaling_of(x, c)), np.ravel(scaling_of(repeated)), rtol=1e-12)
    assert bulk_of(column(x, [np.nan] * 9)) == bulk_of(x)
    assert not bulk_of(column(x, [np.nan] * 9)).is_far(column(x, [np.nan] * 9))[-9:].any()
