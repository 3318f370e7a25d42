"""EM against scikit-learn, against its own promises, and on data that tempt it to collapse."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as SklearnMixture

import bgmm
from bgmm import models
from bgmm.core import scaling
from bgmm.core.in_memory import in_memory
from bgmm.engines.em import EM
from bgmm.engines.optimise.maximum_likelihood import maximum_likelihood
from bgmm.engines.optimise.objective import Objective, em_step
from bgmm.engines.optimise.search import search
from bgmm.engines.optimise.starts import first_guesses
from bgmm.program.declare import make_target
from tests.marks import also_slow
from tests.mixtures import Parameters, log_density, random_mixture, sample


def standard_target(model, x, weights=None):
    units = scaling.scaling_of(x)
    rows = units.standardise(x)
    step = scaling.recording_steps(x, units) / units.scale
    return make_target(model, rows, rows=in_memory(rows, weights)[0], scaling=None, recording_step=step)


def restarts(target, objective, n=10):
    guesses = first_guesses(target, n, "k-means++", None, key=jax.random.key(0))
    return search(target, objective, guesses, key=jax.random.key(1))


def total_log_likelihood(tree) -> float:
    return float(bgmm.log_density(tree).sum())


@pytest.mark.parametrize(("name", "k"), also_slow([("iris", 3), ("faithful", 2), ("galaxies", 3)], {("iris", 3)}))
def test_maximum_likelihood_reaches_the_best_of_50_restarts_of_scikit_learn(name, k, iris, faithful):
    x = {"iris": iris, "faithful": faithful, "galaxies": bgmm.galaxies()}[name]
    tree = bgmm.fit(models.finite(k), x, engine=bgmm.EM(prior=False, n_starts=50), seed=0)
    peer = SklearnMixture(k, n_init=50, tol=1e-10, max_iter=5000, reg_covar=1e-12, random_state=0).fit(x.to_numpy())
    best = peer.score(x.to_numpy()) * len(x)
    assert bool(tree["sample_stats"]["converged"].all())
    assert total_log_likelihood(tree) > best - 1e-4


def test_map_is_a_stationary_point_of_the_declared_posterior_of_the_sites(iris):
    target = standard_target(models.finite(3), iris.to_numpy())
    _, optima = restarts(target, Objective())
    log_posterior = partial(target.log_posterior, jacobian=False)
    derivatives = jax.jit(lambda z: (jax.grad(log_posterior)(z), jax.hessian(log_posterior)(z)))
    gradient, hessian = derivatives(optima.z[int(np.argmax(optima.objective))])
    assert np.abs(gradient).max() < 1e-4
    assert np.linalg.eigvalsh(hessian).max() < 0
    assert optima.converged.all()
    for z in optima.z:  # from no end would a Newton step still gain, however steep the curvature
        gradient, hessian = derivatives(z)
        assert gradient @ np.linalg.solve(-hessian, gradient) < 1e-5


@pytest.mark.parametrize("missing", [False, True])
def test_no_step_of_map_em_lowers_the_log_posterior(rng, iris, missing):
    x = iris.to_numpy()
    if missing:
        x = np.where(rng.uniform(size=x.shape) < 0.15, np.nan, x)
    target, objective = standard_target(models.finite(3), x), Objective()
    guess = Parameters(jnp.log(jnp.ones(3) / 3), jnp.asarray(rng.normal(size=(3, 4))), jnp.broadcast_to(jnp.eye(4), (3, 4, 4)))
    step = jax.jit(lambda *carry: em_step(target, objective, *carry, 20))
    height = jax.jit(lambda z: target.log_posterior(z, jacobian=False))
    carry = step(jnp.zeros(target.n_dim), jax.jit(target.e_step)(guess.mixture))
    heights = [height(carry[0])]
    for _ in range(25):
        carry = step(*carry)
        heights.append(height(carry[0]))
    assert np.diff(heights).min() > -1e-9
    assert heights[-1] - heights[0] > 10


def test_no_step_of_closed_form_em_lowers_the_log_likelihood(iris):
    target = standard_target(models.finite(3), iris.to_numpy())
    guesses = first_guesses(target, 4, "k-means++", None, key=jax.random.key(0))

    @jax.jit  # one program for all numbers of steps
    @partial(jax.vmap, in_axes=(0, None))
    def height(guess, n):
        return maximum_likelihood(target, Objective(prior=False, max_steps=n), target.like(guess)).objective

    heights = np.stack([height(guesses, n) for n in (2, 3, 6, 9, 15, 40)])
    assert np.diff(heights, axis=0).min() > -1e-9
    assert (heights[-1] - heights[0]).min() > 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", [EM(prior=False, n_starts=3), EM(n_starts=3)])
def test_weight_two_equals_the_row_twice(rng, faithful, engine):
    x = faithful.to_numpy()[:100]
    twice = rng.uniform(size=100) < 0.3
    repeated = np.repeat(x, 1 + twice, axis=0)
    units = scaling.scaling_of(repeated)
    model = models.finite(2)

    def objective(rows, weights):
        standard = units.standardise(rows)
        in_blocks, _ = in_memory(standard, weights)
        target = make_target(model, standard, rows=in_blocks, scaling=None, recording_step=np.zeros(2))
        return restarts(target, Objective(prior=engine.prior), n=3)[1].objective.max()

    np.testing.assert_allclose(objective(x, 1.0 + twice), objective(repeated, None), rtol=1e-8)


def test_units_and_offsets_change_nothing_but_the_units(faithful):
    a, b = np.array([60.0, 1e-3]), np.array([1e5, -7.0])
    one, other = (
        bgmm.relabel(bgmm.fit(models.finite(2), x, engine="em", seed=3))["posterior"] for x in (faithful, faithful * a + b)
    )
    np.testing.assert_allclose(other["weights"], one["weights"], rtol=1e-5)
    np.testing.assert_allclose(other["means"], one["means"] * a + b, rtol=1e-6)
    np.testing.assert_allclose(other["covariances"], one["covariances"] * a[:, None] * a, rtol=1e-4)
    np.testing.assert_allclose(other["correlations"], one["correlations"], rtol=1e-3, atol=1e-5)


def test_missing_values_fitted_by_em_reach_a_stationary_point_of_the_marginal_likelihood(rng, faithful):
    x = faithful.to_numpy().copy()
    x[rng.uniform(size=x.shape) < 0.2] = np.nan
    with pytest.warns(UserWarning, match="rows without any value: 14"):
        tree = bgmm.fit(models.finite(2), x, engine=bgmm.EM(prior=False), seed=0)
    posterior = tree["posterior"].isel(chain=0, draw=0)
    mixture = Parameters(
        np.log(posterior["weights"].to_numpy()),
        posterior["means"].to_numpy(),
        np.linalg.cholesky(posterior["covariances"].to_numpy()),
    )
    height = log_density(mixture, x).sum()
    np.testing.assert_allclose(total_log_likelihood(tree), height, rtol=1e-9)
    for _ in range(20):  # no small step in the means goes up by more than the square of its length
        moved = mixture._replace(means=mixture.means + 1e-4 * rng.normal(size=(2, 2)) * x[~np.isnan(x).any(1)].std(0))
        assert log_density(moved, x).sum() < height + 1e-5


@pytest.mark.slow
def test_a_collapsed_start_is_not_chosen_and_a_fit_without_choice_says_so(rng):
    x = np.concatenate([rng.normal(size=(60, 1)), np.full((6, 1), 9.0)])
    with pytest.warns(UserWarning, match="resolution of the data"):
        bgmm.fit(models.finite(4), x, engine=bgmm.EM(prior=False, n_starts=2), seed=0)


@pytest.mark.slow
def test_em_without_a_closed_form_is_maximum_likelihood_all_the_same(rng, faithful):
    """A program of the user's, with the priors ignored, reaches what the closed form reaches."""
    import numpyro
    import numpyro.distributions as dist

    def program(rows):
        w = numpyro.sample("w", dist.Dirichlet(jnp.array([30.0, 1.0])))
        mu = numpyro.sample("mu", dist.Normal(0, 1).expand([2, 1]).to_event(2))
        sigma = numpyro.sample("sigma", dist.HalfNormal(0.1).expand([2, 1, 1]).to_event(3))
        with numpyro.plate("observation", rows.shape[0]):
            numpyro.sample("x", bgmm.GaussianMixture(w, mu, sigma), obs=rows)

    mixture = random_mixture(rng, 2, 1, spread=3.0)
    x = sample(rng, mixture, 300)[0]
    own = bgmm.fit(program, x, engine=bgmm.EM(prior=False), seed=0)
    closed = bgmm.fit(models.finite(2), x, engine=bgmm.EM(prior=False), seed=0)
    np.testing.assert_allclose(total_log_likelihood(own), total_log_likelihood(closed), atol=1e-4)
    shrunk = bgmm.fit(program, x, engine="em", seed=0)
    assert total_log_likelihood(shrunk) < total_log_likelihood(own) - 1
