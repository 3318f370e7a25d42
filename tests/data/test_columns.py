"""The floor never exceeds what the data show; columns that no Gaussian describes are named."""

from __future__ import annotations

import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.core.scaling import recording_steps, scaling_of
from bgmm.data.columns import not_gaussian

RARE_FLAG = np.repeat([0.0, 1.0], [294, 6])
TWO_FAR = np.repeat([0.0, 1000.0], [298, 2])


@pytest.mark.parametrize("x", [RARE_FLAG, TWO_FAR, np.repeat([0.0, 1.0], 150)], ids=["rare flag", "two far", "fair coin"])
@pytest.mark.parametrize("engine", ["em", bgmm.EM(prior=False)], ids=["map", "likelihood"])
@pytest.mark.filterwarnings("ignore:every start ended")
def test_one_component_has_the_standard_deviation_of_the_column(x, engine):
    with pytest.warns(UserWarning, match=r"^no Gaussian describes 'x1' \(two values\)"):
        tree = bgmm.fit(models.finite(1), x, engine)
    assert tree["posterior"]["scales"].item() == pytest.approx(x.std(), rel=0.02)
    assert tree["posterior"]["means"].item() == pytest.approx(x.mean(), rel=0.02)
    assert tree["constant_data"]["resolution"].item() < x.std()


def test_two_components_tell_a_rare_flag_apart():
    with pytest.warns(UserWarning, match="^no Gaussian"):
        tree = bgmm.fit(models.finite(2), RARE_FLAG, "em")
    means = tree["posterior"]["means"].to_numpy().ravel()
    np.testing.assert_allclose(np.sort(means), [0, 1], atol=0.05)
    assert tree["posterior"]["weights"].min() == pytest.approx(0.02, abs=0.002)


def test_a_step_that_the_data_do_show_is_kept(rng):
    x = np.column_stack([np.round(rng.normal(size=200), 1), np.round(rng.normal(0, 5, size=200)), rng.poisson(1, 200)])
    np.testing.assert_allclose(recording_steps(x, scaling_of(x)), [0.1, 1, 1], rtol=1e-9)


def test_flags_counts_and_columns_of_mostly_one_value_are_named(rng, iris, faithful):
    x = {
        "flag": rng.integers(0, 2, 100),
        "visits": rng.poisson(2, 100),
        "rain": np.where(np.arange(100) < 60, 0.0, rng.exponential(size=100)),
        "length": np.round(rng.normal(10, 1, 100), 1),
        "year": rng.integers(2000, 2020, 100),
        "acid": np.where(np.arange(100) < 8, 0, rng.poisson(40, 100)),
        "same": np.full(100, 2.0),
    }
    rows = np.column_stack(list(x.values())).astype(float)
    (sentence,) = not_gaussian(tuple(x), rows)
    assert sentence.startswith("no Gaussian describes 'flag' (two values), 'visits' (counts), 'rain' (0 in 60% of its rows): ")
    assert not list(not_gaussian(tuple(x)[3:], rows[:, 3:]))
    for frame in (iris, faithful):
        assert not list(not_gaussian(tuple(frame), frame.to_numpy()))
