"""When samplers stop, and which engine is taken where none is named."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.core.components import Mixture
from bgmm.core.gaussians import Gaussians
from bgmm.engines.base import Draws
from bgmm.engines.chains import after_warmup, sampled


def counted(n_steps: int, size: int, taken: list[int]):
    """Chunks of two chains whose draws are numbered from zero, the last perhaps too long; ``taken`` counts them."""
    for start in range(0, n_steps, size):
        taken.append(size)
        yield np.stack([np.arange(start, start + size, dtype=float)] * 2)


def as_draws(part: np.ndarray) -> Draws:
    components = Gaussians.dense(part[..., None, None], np.ones((*part.shape, 1, 1, 1)))
    return Draws("chains", Mixture(np.zeros((*part.shape, 1)), components), {}, None, {"number": part})


def test_draws_of_the_warm_up_are_left_out_whatever_the_chunks():
    for n_warmup, size in ((0, 7), (10, 10), (13, 10), (40, 50)):
        (part,) = after_warmup(counted(n_warmup + 25, size, []), n_warmup, [25])
        np.testing.assert_array_equal(part[1], np.arange(n_warmup, n_warmup + 25))


@pytest.mark.parametrize(("least", "expected"), [(1, 250), (300, 500), (900, 1000), (5000, 1100)])
def test_sampling_stops_at_the_first_look_that_is_enough(least, expected):
    looked, taken = [], []

    def enough(draws):
        looked.append(draws.stats["number"].shape[1])
        return looked[-1] >= least

    draws = sampled(counted(1130, 50, taken), 30, 1100, as_draws, enough)
    np.testing.assert_array_equal(draws.stats["number"][0], np.arange(30, 30 + expected))
    assert looked == [n for n in (250, 500, 1000) if n <= expected]
    assert sum(taken) < 30 + expected + 50  # no chunk is drawn in vain
    assert bool(draws.stopped) == (expected < 1100)
    assert len(sampled(counted(1130, 50, []), 30, 1100, as_draws, None).stats["number"][0]) == 1100


def test_all_draws_are_taken_where_stopping_early_is_off(rng):
    x = rng.normal(size=(60, 1))
    for stop_early, n_draws in ((True, 250), (False, 300)):
        settings = bgmm.NUTS(n_draws=300, n_warmup=100, n_starts=2, stop_early=stop_early)
        assert bgmm.fit(models.finite(1), x, settings).posterior.sizes["draw"] == n_draws


def test_one_mode_is_for_nuts_and_several_or_open_numbers_are_for_gibbs(faithful, rng, monkeypatch):
    class Asked(Exception):  # noqa: N818
        pass

    def run(settings, *arguments, **options):
        raise Asked(type(settings).__name__)

    monkeypatch.setattr(bgmm.Gibbs, "run", run)
    monkeypatch.setattr(bgmm.NUTS, "run_from", run)
    one_mode = faithful.to_numpy()
    # two groups for three components: the third has several places
    several = np.concatenate([rng.normal(size=(40, 1)), rng.normal(6, 1, size=(40, 1))])
    for model, x, options, expected in (
        (models.finite(2), one_mode, {}, "NUTS"),
        (models.finite(3), several, {}, "Gibbs"),
        (models.finite(3), several, {"weights": np.full(80, 2.0)}, "NUTS"),  # Gibbs assigns whole rows
        (models.finite(3), several, {"start": several[[0, 40, 60]]}, "NUTS"),
        (models.sparse(3), one_mode, {}, "Gibbs"),
        (models.random_k(), one_mode, {}, "Gibbs"),
    ):
        with pytest.raises(Asked, match=expected), warnings.catch_warnings(action="ignore"):
            bgmm.fit(model, x, **options)
