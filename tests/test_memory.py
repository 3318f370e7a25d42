"""A fit makes one copy of its rows, in blocks, and another one for its tree when the blocks are gone."""

from __future__ import annotations

import tracemalloc

import numpy as np

import bgmm
from bgmm import models
from bgmm.core.scaling import Scaling
from bgmm.data.table import as_table
from bgmm.inputs import read_data
from bgmm.posterior.evaluate import log_volume


def taken(function, *arguments) -> float:
    """The most memory that NumPy holds during a call, in bytes."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_an_array_of_float64_takes_less_than_a_copy_of_it(rng):
    x = rng.normal(size=(1_000_000, 8))
    assert taken(read_data, models.finite(2), x, None) < 0.8 * x.nbytes
    assert np.shares_memory(as_table(x, copy=False).values, x)
    assert not np.shares_memory(as_table(x).values, x)
    assert taken(as_table, x) < 1.5 * x.nbytes
    assert taken(log_volume, x, Scaling(np.zeros(8), np.ones(8))) < 0.6 * x.nbytes


def test_the_rows_of_a_tree_are_its_own(rng):
    x = np.concatenate([rng.normal(size=(50, 2)), 9 + rng.normal(size=(50, 2))])
    before = x.copy()
    tree = bgmm.fit(models.finite(2), x, bgmm.EM(n_starts=1))
    x[:] = 0.0
    np.testing.assert_array_equal(np.column_stack([tree["observed_data"][name] for name in ("x1", "x2")]), before)
    assert bgmm.labels(tree).to_numpy().std() > 0
