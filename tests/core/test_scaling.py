"""Scaling is exact both ways; the recording step is found; degenerate columns are named."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from bgmm.core.scaling import degenerate_columns, recording_steps, scaling_of
from tests.mixtures import random_mixture


@pytest.mark.parametrize("offset", [0.0, 1e7])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_standardised_data_have_mean_zero_and_deviation_one(rng, offset, unit):
    x = unit * (rng.normal(size=(500, 3)) + offset)
    x[:5, 1] = np.nan
    standard = scaling_of(x).standardise(x)
    np.testing.assert_allclose(np.nanmean(standard, axis=0), 0, atol=1e-7 if offset else 1e-14)
    np.testing.assert_allclose(np.nanstd(standard, axis=0), 1, rtol=1e-7 if offset else 1e-12)


def test_a_mixture_goes_into_standard_units_and_back(rng):
    mixture, scaling = random_mixture(rng, 3, 2), scaling_of(rng.normal(5, 3, size=(50, 2)))
    back = scaling.out_of(scaling.into(mixture.mixture))
    for there, value in zip(mixture, jax.tree.leaves(back), strict=True):
        np.testing.assert_allclose(value, there, rtol=1e-12)


def test_recording_step_is_the_smallest_gap_of_values_that_repeat(rng):
    x = np.column_stack(
        [
            np.round(rng.normal(size=200), 1),
            rng.normal(size=200),
            np.full(200, 3.0),
            60 + np.round(rng.normal(size=200)) * 5,
            np.round(rng.normal(size=200), 1) + 1e-13 * rng.normal(size=200),
        ]
    )
    np.testing.assert_allclose(recording_steps(x, scaling_of(x)), [0.1, 0, 0, 5, 0.1], rtol=1e-9)


def test_constant_and_collinear_columns_are_named(rng):
    a, b, c = rng.normal(size=(3, 100))
    x = np.column_stack([a, np.full(100, 7.1), b, 2 * a - 3 * b + 1, c])
    assert degenerate_columns(x, scaling_of(x)) == ([1], [0, 2, 3])
    assert degenerate_columns(x[:, [0, 2, 4]], scaling_of(x[:, [0, 2, 4]])) == ([], [])
