"""When samplers stop, and which engine is taken where none is named."""

from __future__ import annotations

import signal
import warnings

import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.core.components import Mixture
from bgmm.core.gaussians import Gaussians
from bgmm.engines import nuts
from bgmm.engines.base import Draws
from bgmm.engines.chains import after_warmup, sampled
from bgmm.engines.gibbs import sampler
from bgmm.tree.read import about


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


@pytest.mark.parametrize(("least", "expected"), [(1, 250), (300, 375), (800, 840), (5000, 1100)])
def test_sampling_stops_at_the_first_look_that_is_enough(least, expected):
    looked, taken = [], []

    def enough(draws):
        looked.append(draws.stats["number"].shape[1])
        return looked[-1] >= least

    draws = sampled(counted(1130, 50, taken), 30, 1100, as_draws, enough)
    np.testing.assert_array_equal(draws.stats["number"][0], np.arange(30, 30 + expected))
    assert looked == [n for n in (250, 375, 560, 840) if n <= expected]
    assert sum(taken) < 30 + expected + 50  # no chunk is drawn in vain
    assert bool(draws.stopped) == (expected < 1100)
    assert len(sampled(counted(1130, 50, []), 30, 1100, as_draws, None).stats["number"][0]) == 1100


def interrupted_at(step: int):
    """Chunks of 50 draws; the user interrupts after so many draws."""
    yield from counted(step, 50, [])
    raise KeyboardInterrupt


def interrupting(function, at: int):
    """The function, which the user interrupts when it is first called with so many draws."""
    calls = []

    def called(argument):
        n = len(argument[0]) if isinstance(argument, np.ndarray) else argument.stats["number"].shape[1]
        if n == at and not calls:
            calls.append(n)
            raise KeyboardInterrupt
        return function(argument)

    return called


@pytest.mark.parametrize(
    ("chunks", "described", "enough", "n"),
    [
        (interrupted_at(130), as_draws, None, 120),  # while the sampler runs; the chunk of 50 is whole
        (interrupted_at(1000), as_draws, lambda _: False, 970),
        (counted(2000, 50, []), interrupting(as_draws, 560), lambda _: False, 570),  # while draws are described
        (counted(2000, 50, []), as_draws, interrupting(lambda _: False, 250), 270),  # while they are judged
    ],
)
def test_an_interrupt_keeps_what_was_drawn_where_asked_to_and_says_so(chunks, described, enough, n):
    draws = sampled(chunks, 30, 1100, described, enough, "keep")
    np.testing.assert_array_equal(draws.stats["number"][1], np.arange(30, 30 + n))
    assert f"interrupted after {n} of at most 1100" in draws.stopped
    assert draws.interrupted
    assert len(draws.warnings) == 1


@pytest.mark.parametrize(("step", "on_interrupt"), [(500, "raise"), (0, "keep"), (30, "keep")])
def test_an_interrupt_ends_the_fit_where_not_asked_to_keep_or_nothing_was_drawn(step, on_interrupt):
    with pytest.raises(KeyboardInterrupt):
        sampled(interrupted_at(step), 50, 1100, as_draws, None, on_interrupt)


@pytest.fixture
def heeded():
    """SIGINT raises KeyboardInterrupt also where a shell that ignores it started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("engine", [bgmm.NUTS, pytest.param(bgmm.Gibbs, marks=pytest.mark.slow)])
def test_a_fit_that_was_interrupted_says_so_in_a_warning_its_tree_and_its_summary(engine, monkeypatch):
    module, name = (nuts, "advance_bar") if engine is bgmm.NUTS else (sampler, "advance")
    size = 50 if engine is bgmm.NUTS else 5
    done = []

    def interrupt(n):
        done.append(n)
        if sum(done) == 4 * size:
            signal.raise_signal(signal.SIGINT)

    x = np.random.default_rng(3).normal([[-3.0], [3.0]], 1, size=(2, 25)).reshape(-1, 1)
    few = {"n_draws": 8 * size, "n_warmup": size, "n_chains": 2, "stop_early": False}
    with warnings.catch_warnings(action="ignore"):
        whole = bgmm.fit(models.finite(2), x, engine(**few))
        monkeypatch.setattr(module, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            bgmm.fit(models.finite(2), x, engine(**few))
    done.clear()
    with warnings.catch_warnings(record=True, action="always") as warned:
        tree = bgmm.fit(models.finite(2), x, engine(**few, on_interrupt="keep"))
    n = tree["posterior"].sizes["draw"]
    assert n == 2 * size  # the chunk during which the user interrupts is lost
    for variable in ("means", "weights"):
        np.testing.assert_array_equal(tree["posterior"][variable], whole["posterior"][variable][:, :n])
    assert about(tree)["interrupted"] is True
    assert f"interrupted after {n} of at most {8 * size}" in about(tree)["stopped"]
    assert "interrupted" not in about(whole)
    assert f"Sampling was interrupted after {n} of at most {8 * size} draws" in bgmm.summary(tree)
    assert sum("interrupted" in str(one.message) for one in warned) == 1


@pytest.mark.slow
def test_all_draws_are_taken_where_stopping_early_is_off(rng):
    x = rng.normal(size=(60, 1))
    for stop_early, n_draws in ((True, 250), (False, 300)):
        settings = bgmm.NUTS(n_draws=300, n_warmup=100, stop_early=stop_early)
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
    several = np.concatenate([rng.normal(size=(30, 1)), rng.normal(6, 1, size=(30, 1))])
    for model, x, options, expected in (
        (models.finite(2), one_mode, {}, "NUTS"),
        (models.finite(3), several, {}, "Gibbs"),
        (models.finite(3), several, {"weights": np.full(60, 2.0)}, "NUTS"),  # Gibbs assigns whole rows
        (models.finite(3), several, {"start": several[[0, 30, 45]]}, "NUTS"),
        (models.sparse(3), one_mode, {}, "Gibbs"),
        (models.random_k(), one_mode, {}, "Gibbs"),
    ):
        with pytest.raises(Asked, match=expected), warnings.catch_warnings(action="ignore"):
            bgmm.fit(model, x, **options)
