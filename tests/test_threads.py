"""Fits in threads: the numbers that they give one after another, whatever runs beside them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from numpyro.infer.autoguide import AutoNormal

import bgmm
from bgmm import models

ENGINES = [  # with a number of threads; a guide is compiled anew in each
    (bgmm.EM(), 4),
    (bgmm.NUTS(n_draws=20, n_warmup=50, n_chains=2), 4),
    (bgmm.Gibbs(n_draws=5, n_warmup=5, n_chains=2), 4),
    pytest.param(bgmm.VI(n_draws=400, guide=AutoNormal, guide_steps=20), 2, marks=pytest.mark.slow),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # such short runs are doubtful, as the warnings say
@pytest.mark.parametrize(("engine", "n_threads"), ENGINES, ids=["EM", "NUTS", "Gibbs", "VI"])
def test_fits_in_threads_give_the_numbers_that_they_give_one_after_another(engine, n_threads, rng):
    data = [rng.normal([[-3.0], [3.0]], 1.0, size=(2, 20 + i)).reshape(-1, 1) for i in range(n_threads)]
    together = threading.Barrier(n_threads)

    def fitted(i: int, wait: bool = True) -> xr.DataTree:
        if wait:
            together.wait()
        return bgmm.fit(models.finite(2), data[i], engine=engine, seed=i)

    with ThreadPoolExecutor(n_threads) as pool:
        in_threads = list(pool.map(fitted, range(n_threads)))
    for i, tree in enumerate(in_threads):
        alone = fitted(i, wait=False)
        for group in ("posterior", "sample_stats"):
            xr.testing.assert_equal(tree[group].to_dataset(), alone[group].to_dataset())
    assert len({float(tree["posterior"]["means"].mean()) for tree in in_threads}) == n_threads


def test_questions_in_threads_are_answered_as_alone(faithful):
    trees = [bgmm.fit(models.finite(2), faithful, engine="em", seed=seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda tree: bgmm.membership(tree, faithful).to_numpy(), trees))
    np.testing.assert_array_equal(answers[0], bgmm.membership(trees[0], faithful).to_numpy())
    np.testing.assert_array_equal(answers[1], bgmm.membership(trees[1], faithful).to_numpy())
