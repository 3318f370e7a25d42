"""The search for modes against plain EM, and what it begins from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der
from scipy.special import softmax
from scipy.stats import multivariate_normal

import bgmm
from bgmm import models
from bgmm.core.in_memory import in_memory, subsample
from bgmm.core.lbfgs import minimise
from bgmm.engines.optimise import ascent, search
from bgmm.engines.optimise.maximum_likelihood import maximum_likelihood
from bgmm.engines.optimise.objective import Objective
from bgmm.engines.optimise.starts import first_guesses
from tests.engines.test_em import restarts, standard_target, total_log_likelihood
from tests.mixtures import random_mixture, sample
from tests.programs import compiled


@jax.jit
def plain_em(target, guess):
    """EM alone, to the last digit: its mixture, its log likelihood and its number of passes."""

    def step(carry):
        value, mixture, n, _ = carry
        mixture = target.maximum_likelihood(target.e_step(mixture))
        new = target.e_step(mixture).log_likelihood
        return new, mixture, n + 1, new - value

    start = (target.e_step(guess).log_likelihood, guess, jnp.array(1), jnp.array(jnp.inf))
    value, mixture, n, _ = jax.lax.while_loop(lambda c: (c[3] > 1e-12) & (c[2] < 50_000), step, start)
    return mixture, value, n


quick = jax.jit(partial(maximum_likelihood, objective=Objective(prior=False, tolerance=1e-9, max_steps=5000)))


def problems(iris):
    yield standard_target(models.finite(3), iris.to_numpy()), 3
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = sample(rng, random_mixture(rng, 3, 2, spread=2.0), 300)[0]
        yield standard_target(models.finite(3), x), seed


@pytest.mark.slow
def test_the_optimum_is_that_of_plain_em_in_fewer_passes(iris):
    """No start ends lower than EM from the same guess, unless in another mode; and EM finds nothing more to gain there."""
    gaps, passes = [], []
    for target, seed in problems(iris):
        guesses = first_guesses(target, 1, "k-means++", None, key=jax.random.key(seed))
        guess = target.like(jax.tree.map(lambda a: a[0], guesses))
        _, value, n = plain_em(target, guess)
        found = quick(target, guess=guess)
        assert found.converged or found.collapsed
        assert plain_em(target, found.mixture)[1] < found.objective + 1e-8
        gaps.append(float(found.objective - value))
        passes.append(float(n / found.n_passes))
    same = np.abs(gaps) < 1e-8
    assert same.sum() >= 17  # of 21: others left for another mode
    assert np.median(passes) > 2


def test_in_turn_only_the_starts_that_are_there_are_followed(monkeypatch, faithful):
    target, followed = standard_target(models.finite(2), faithful.to_numpy()), []

    def doubled(x):
        jax.debug.callback(lambda value: followed.append(float(value)), x)
        return 2 * x

    monkeypatch.setattr(ascent, "is_small", lambda _: False)
    found = jax.jit(lambda *starts: ascent._for_each(target, doubled, *starts))(np.arange(6) < 3, np.arange(6.0))
    jax.effects_barrier()
    assert sorted(followed) == [0, 1, 2]
    np.testing.assert_array_equal(found[:3], [0, 2, 4])


@pytest.mark.slow
def test_few_rows_first_ends_where_all_rows_do(monkeypatch, faithful):
    x = np.tile(faithful.to_numpy(), (3, 1))
    target = standard_target(models.finite(2), x)
    whole = restarts(target, Objective(), n=3)[1]
    monkeypatch.setattr(search, "CONSTANTS", replace(search.CONSTANTS, few_rows=200, rows_for_each=1))
    few = restarts(target, Objective(), n=3)[1]
    assert len(few.objective) < 3
    np.testing.assert_allclose(few.objective.max(), whole.objective.max(), atol=1e-7)


def test_a_subsample_keeps_the_total_weight_and_the_missing_values(rng):
    x = rng.normal(size=(500, 3))
    x[rng.uniform(size=x.shape) < 0.2] = np.nan
    weights = np.where(np.arange(500) < 100, 0.0, rng.uniform(1, 2, size=500))
    some = subsample(in_memory(x, weights)[0], 50, rng=rng)
    np.testing.assert_allclose(some.total_weight, weights.sum())
    assert int((some.weights > 0).sum()) == 50
    kept = np.asarray(some.x).transpose(0, 2, 1)[np.asarray(some.weights) > 0]
    assert all(np.any(np.all(np.nan_to_num(x[100:]) == row, axis=1)) for row in kept)


def test_a_subsample_of_more_rows_than_there_are_is_all_of_them(rng):
    x = rng.normal(size=(60, 6))
    x[rng.uniform(size=x.shape) < 0.5] = np.nan  # a pattern, and a block with its padding, for nearly every row
    rows = in_memory(x)[0]
    assert rows.n_places > 100
    assert subsample(rows, 100, rng=rng) is rows


@pytest.mark.parametrize("starts", ["random", "hierarchical"])
def test_other_starts_reach_the_same_mode(faithful, starts):
    one = bgmm.fit(models.finite(2), faithful, engine=bgmm.EM(prior=False, starts=starts), seed=0)
    other = bgmm.fit(models.finite(2), faithful, engine=bgmm.EM(prior=False), seed=0)
    np.testing.assert_allclose(total_log_likelihood(one), total_log_likelihood(other), atol=1e-6)


@pytest.mark.slow
def test_the_search_begins_at_a_start_of_the_users_own(iris):
    x, engine = iris.to_numpy(), bgmm.EM(prior=False)
    fitted = bgmm.fit(models.finite(3), x, engine=engine, seed=0)
    for start in (fitted, fitted["posterior"]["means"].to_numpy()[0, 0], np.repeat([7, 8, 9], 50)):
        tree = bgmm.fit(models.finite(3), x, engine=engine, seed=1, start=start)
        assert tree["sample_stats"].sizes["start"] == 1
        np.testing.assert_allclose(total_log_likelihood(tree), total_log_likelihood(fitted), atol=1e-6)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (
            np.zeros((2, 4)),
            r"start must be finite means of shape \(3, 4\), one numeric label for each .*of shape \(2, 4\)",
        ),
        (np.zeros(150), "start has 1 different labels, and the model has 3 components"),
        ([0.0] * 149 + [np.nan], "start has no label for row 150; give every row one"),
        ("nowhere", "start must be finite means .* not str"),
    ],
)
def test_a_wrong_start_is_refused_in_one_sentence(iris, start, says):
    with pytest.raises(ValueError, match=says):
        bgmm.fit(models.finite(3), iris, engine="em", start=start)


def test_a_wrong_kind_of_starts_or_of_number_is_refused(iris):
    with pytest.raises(ValueError, match=r"starts must be one of k-means\+\+, random, hierarchical, not 'best'"):
        bgmm.EM(starts="best")
    with pytest.raises(ValueError, match="prior must be True or False"):
        bgmm.EM(3)
    with pytest.raises(ValueError, match="dtype must be one of float64, float32, not 'float16'"):
        bgmm.fit(models.finite(2), iris, engine="em", dtype="float16")


@pytest.mark.slow
def test_single_precision_costs_about_a_millionth(rng):
    x = sample(rng, random_mixture(rng, 3, 4, spread=3.0), 2000)[0] + 1e5
    trees = [
        bgmm.fit(models.finite(3), x, engine=bgmm.EM(prior=False), seed=0, dtype=dtype) for dtype in ("float64", "float32")
    ]
    one, other = (total_log_likelihood(tree) for tree in trees)
    np.testing.assert_allclose(other, one, rtol=1e-5)
    assert other != one
    posterior, single = (tree["posterior"] for tree in trees)
    shift = np.abs(posterior["means"] - single["means"]) / posterior["scales"]
    assert shift.max() < 0.01


@pytest.mark.slow
def test_tight_components_far_apart_are_fitted_in_single_precision_too(rng):
    centres = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    x = centres[rng.integers(0, 3, 600)] + 1e-4 * rng.normal(size=(600, 2))
    tree = bgmm.fit(models.finite(3, floor=1e-6), x, engine=bgmm.EM(prior=False), seed=0, dtype="float32")
    np.testing.assert_allclose(tree["posterior"]["scales"], 1e-4, rtol=0.15)


@pytest.mark.slow
def test_centres_are_for_the_end_of_a_search_and_not_for_another(monkeypatch, rng):
    """Tight components far apart: from the optimum without centres to the one with them, which EM does not improve."""
    centres = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    x = centres[rng.integers(0, 3, 600)] + 1e-3 * rng.normal(size=(600, 2))
    searches, whole = [], search._search

    def counted(target, *arguments):
        searches.append(target.centred)
        return whole(target, *arguments)

    monkeypatch.setattr(search, "_search", counted)
    tree = bgmm.fit(models.finite(3), x, engine=bgmm.EM(prior=False), seed=0)
    assert searches == [False]
    posterior = tree["posterior"].isel(chain=0, draw=0)
    components = zip(posterior["means"].to_numpy(), posterior["covariances"].to_numpy(), strict=True)
    logits = np.stack([multivariate_normal(mean, covariance).logpdf(x) for mean, covariance in components])
    r = softmax(logits + np.log(posterior["weights"].to_numpy())[:, None], axis=0)
    np.testing.assert_allclose(posterior["means"], (r @ x) / r.sum(1, keepdims=True), atol=1e-9)


def test_other_data_of_similar_size_and_other_limits_compile_nothing(rng):
    x = sample(rng, random_mixture(rng, 2, 2), 1000)[0]
    bgmm.fit(models.finite(2), x[:390], engine="em", seed=0)
    with compiled() as programs:
        bgmm.fit(models.finite(2), x, engine="em", seed=1)  # both fill 1280 places
        bgmm.fit(models.finite(2), x, engine=bgmm.EM(tolerance=1e-6, max_steps=300), seed=1)
        same = len(programs)
        bgmm.fit(models.finite(2), np.concatenate([x, x]), engine="em", seed=1)
    assert same == 0
    assert len(programs) > 0  # the count can rise: twice the rows are another program


def test_minimise_finds_what_scipy_finds_and_a_batch_what_each_alone_does(rng):
    starts = jnp.asarray(rng.normal(size=(5, 6)))

    def function(x):
        value = (100 * jnp.square(x[1:] - jnp.square(x[:-1])) + jnp.square(1 - x[:-1])).sum()
        return value, jax.grad(lambda x: (100 * jnp.square(x[1:] - jnp.square(x[:-1])) + jnp.square(1 - x[:-1])).sum())(x)

    minimised = partial(minimise, function, max_evaluations=500, tolerance=1e-14)
    together = jax.jit(jax.vmap(minimised))(starts)
    for i, start in enumerate(starts):
        found = minimize(rosen, start, jac=rosen_der, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-10})
        alone = jax.jit(minimised)(start)
        np.testing.assert_allclose(together.x[i], alone.x, atol=1e-6)
        assert float(alone.value) < found.fun + 1e-10
        assert int(alone.n_evaluations) < 3 * found.nfev + 50


def test_minimise_ends_where_the_noise_of_the_value_hides_what_is_left(rng):
    """A sum over a million rows has noise of about 1e-7, which the gradient has not: no steps are lost to it."""
    curvature = jnp.linspace(1.0, 10.0, 30)

    def function(x):
        return 1.6e6 + 0.5 * (curvature * jnp.square(x)).sum() + 1e-7 * jnp.sin(1e9 * x.sum()), curvature * x

    starts = jnp.asarray(rng.normal(scale=10.0, size=(8, 30)))
    found = jax.jit(jax.vmap(partial(minimise, function, max_evaluations=500)))(starts)
    assert found.ended.all()
    assert jnp.abs(found.x).max() < 1e-5
    assert found.n_evaluations.max() < 35  # 26 to 28 without noise


def test_minimise_ends_at_no_point_that_is_out_of_bounds():
    def function(x):
        return jnp.where(x.sum() > 1, jnp.inf, -x.sum()), -jnp.ones_like(x)

    found = minimise(function, jnp.zeros(3), max_evaluations=200)
    assert found.x.sum() <= 1
    assert found.value < -0.99
