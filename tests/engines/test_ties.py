"""Rounded data tempt a component to collapse onto tied rows. The declared floor stops it; without the floor the checks fail."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from bgmm import models
from bgmm.core import scaling
from bgmm.core.dense import Dense
from bgmm.core.in_memory import in_memory
from bgmm.core.lbfgs import minimise
from bgmm.engines.chains import after_warmup
from bgmm.engines.nuts import NUTS, sample_from
from bgmm.engines.optimise.modes import laplace
from bgmm.engines.optimise.objective import Objective
from bgmm.engines.optimise.search import search
from bgmm.engines.optimise.starts import first_guesses
from bgmm.program.declare import make_target
from bgmm.program.target import Target


def target_of(model, x) -> Target:
    units = scaling.scaling_of(x)
    standard = units.standardise(x)
    declared = model.components.recording_step
    steps = scaling.recording_steps(x, units) if declared is None else np.full(x.shape[1], declared)
    return make_target(model, standard, rows=in_memory(standard)[0], scaling=None, recording_step=steps / units.scale)


def most_tied(x: np.ndarray, plane: bool) -> np.ndarray:
    """The largest set of rows with one value in a column, or with one sum or difference of two columns."""
    sums = [x[:, i] + s * x[:, j] for i, j in combinations(range(x.shape[1]), 2) for s in (1, -1)] if plane else list(x.T)
    sets = []
    for column in sums:
        values, counts = np.unique(column.round(6), return_counts=True)
        sets.append(column.round(6) == values[counts.argmax()])
    return max(sets, key=np.sum)


def statistics_of_ties(x: np.ndarray, k: int, ties: np.ndarray) -> jax.Array:
    """Statistics of one component on exactly the tied rows, and of k-means clusters of the others."""
    z = np.zeros(len(x), int)
    z[~ties] = 1 + KMeans(k - 1, n_init=5, random_state=0).fit_predict(x[~ties])
    return jnp.asarray(np.eye(k)[z].T @ np.asarray(Dense.statistics(jnp.asarray(x.T))).T)


@jax.jit
def on_ties(target: Target, statistics: jax.Array) -> jax.Array:
    """Where the M-step from these statistics ends."""

    def negative(z):
        traced = target.trace(z)
        eta = traced.mixture.natural().eta
        return -(traced.log_prior + traced.log_jacobian + jnp.vdot(statistics, eta))

    return minimise(jax.value_and_grad(negative), jnp.zeros(target.n_dim), max_evaluations=2000, tolerance=1e-8).x


@jax.jit
def ended(target: Target, start: jax.Array) -> jax.Array:
    """Log posterior of the mode above a start."""
    function = jax.value_and_grad(lambda z: -target.log_posterior(z, jacobian=True))
    return -minimise(function, start, max_evaluations=2000, tolerance=1e-6).value


@pytest.fixture(scope="module")
def cases(iris, faithful):
    """Data, number of components, target with the floor and without it, and the ordinary mode, by the name of the data."""

    @cache
    def case(name):
        x, k = {"faithful": (faithful.to_numpy(), 3), "iris": (iris.to_numpy(), 4)}[name]
        floored, bare = target_of(models.finite(k), x), target_of(models.finite(k, floor=0.0, recording_step=0.0), x)
        guesses = first_guesses(floored, 16, "k-means++", None, key=jax.random.key(0))
        ordinary = search(floored, Objective(jacobian=True), guesses, key=jax.random.key(1))[1].objective.max()
        return scaling.scaling_of(x).standardise(x), k, floored, bare, float(ordinary)

    return case


@pytest.mark.slow
@pytest.mark.parametrize(("name", "plane"), [("faithful", False), ("iris", False), ("iris", True)])
def test_starts_on_ties_end_in_no_mode_that_beats_the_ordinary_one(name, plane, cases, iris, faithful):
    raw = {"faithful": faithful, "iris": iris}[name].to_numpy()
    x, k, floored, bare, ordinary = cases(name)
    statistics = statistics_of_ties(x, k, most_tied(raw, plane))
    beaten_by = [float(ended(target, on_ties(target, statistics))) - ordinary for target in (floored, bare)]
    assert beaten_by[0] < 3
    assert beaten_by[1] > 3  # the planted fault: without the floor, the spike wins


@pytest.mark.slow
def test_chains_started_on_ties_leave_them(cases, iris):
    x, k, floored, bare, ordinary = cases("iris")
    statistics = statistics_of_ties(x, k, most_tied(iris.to_numpy(), plane=False))
    settings = NUTS(n_draws=100, n_warmup=200, n_chains=2)

    def last(target):
        start = on_ties(target, statistics)
        frame = laplace(target, start)[0]
        both = (np.stack([np.asarray(a)] * 2) for a in (start, frame))
        chains = sample_from(target, settings, *both, key=jax.random.key(0))
        ((_, stats),) = after_warmup(chains, settings.n_warmup, [settings.n_draws])
        return stats["lp"][:, -50:].mean(1) - ordinary

    assert np.all(last(floored) < 3)
    assert np.any(last(bare) > 3)  # the planted fault: without the floor, they stay
