"""The traced program against the log joint computed by hand with scipy, and against NumPyro's own potential."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import potential_energy
from scipy import stats
from scipy.special import betaln

import bgmm
from bgmm import models
from bgmm.core import scaling
from bgmm.core.in_memory import in_memory
from bgmm.program.declare import make_target
from bgmm.program.trace import unpack
from tests.mixtures import Parameters, log_density


def target_of(program, x, step=None):
    """The program on raw rows, the kernel on standardised ones."""
    units = scaling.scaling_of(x)
    return make_target(program, x, rows=in_memory(x, scaling=units)[0], scaling=units, recording_step=step)


def log_lkj_cholesky(R: np.ndarray, eta: float) -> float:
    """Density of the Cholesky factor: Lewandowski, Kurowicka and Joe (2009), equation 16, times the Jacobian of L -> LL'."""
    d = len(R)
    log_c = sum(
        (2 * eta - 2 + d - k) * (d - k) * np.log(2) + (d - k) * betaln(eta + (d - k - 1) / 2, eta + (d - k - 1) / 2)
        for k in range(1, d)
    )
    diagonal = np.log(np.diag(R))
    return 2 * (eta - 1) * diagonal.sum() - log_c + sum((d - i - 1) * diagonal[i] for i in range(1, d))


def by_hand(model, sites, x, r) -> float:
    """log p(sites) + log p(x | sites) with scipy alone."""
    g = model.components
    k, d = sites["means"].shape
    total = stats.dirichlet(np.full(k, model.weights.concentration)).logpdf(sites["weights"])
    total += stats.norm(0, g.mean_scale).logpdf(sites["means"]).sum()
    total += stats.lognorm(s=g.log_scale_sd, scale=np.exp(g.log_scale_mean)).logpdf(sites["scales"]).sum()
    R = sites["correlation_tril"] if d > 1 else np.ones((k, 1, 1))
    total += sum(log_lkj_cholesky(factor, g.lkj) for factor in R) if d > 1 else 0.0
    S = sites["scales"]
    covariances = S[:, :, None] * (R @ R.transpose(0, 2, 1)) * S[:, None, :] + np.diag(r**2)
    mixture = Parameters(np.log(sites["weights"]), sites["means"], np.linalg.cholesky(covariances))
    return total + log_density(mixture, x).sum()


@pytest.mark.parametrize("d", [1, 2, 4])
def test_log_joint_equals_scipys_at_random_points(rng, d):
    model = models.finite(3, concentration=1.7, mean_scale=1.5, lkj=3.0, log_scale_mean=-0.4, log_scale_sd=0.8)
    x = rng.normal(size=(25, d)) + 3.0
    x[3, 0] = np.nan
    step = np.full(d, 0.1)
    target = target_of(model, x, step)
    log_posterior = jax.jit(lambda z: target.log_posterior(z, jacobian=False))
    for _ in range(5):
        z = jnp.asarray(rng.normal(size=target.n_dim))
        sites = {name: np.asarray(value) for name, value in target.constrain(z).items()}
        expected = by_hand(model, sites, x, np.maximum(0.4 * step, model.components.floor))
        np.testing.assert_allclose(log_posterior(z), expected, rtol=1e-9)


def test_log_posterior_with_jacobian_equals_numpyros_potential(rng):
    model = models.finite(3)
    x = rng.normal(size=(20, 3))
    target = target_of(model, x, np.zeros(3))
    for _ in range(3):
        z = jnp.asarray(rng.normal(size=target.n_dim))
        potential = potential_energy(model, (x,), {}, unpack(target.layout, z))
        np.testing.assert_allclose(target.log_posterior(z, jacobian=True), -potential, rtol=1e-9)


def test_priors_that_depend_on_other_sites_and_factors_are_traced(rng):
    def program(rows):
        top = numpyro.sample("top", dist.HalfNormal(2.0))
        means = numpyro.sample("means", dist.Uniform(-top, top).expand([2, 1]).to_event(2))
        numpyro.deterministic("gap", means[1] - means[0])
        numpyro.factor("soft", -0.5 * jnp.sum(means**2))
        with numpyro.plate("observation", rows.shape[0]):
            numpyro.sample("x", bgmm.GaussianMixture(jnp.ones(2) / 2, means, jnp.ones((2, 1, 1))), obs=rows)

    x = rng.normal(size=(10, 1))
    target = target_of(program, x)
    z = jnp.array([0.3, -0.2, 0.9])
    potential = potential_energy(program, (x,), {}, {"top": z[0], "means": z[1:, None]})
    np.testing.assert_allclose(target.log_posterior(z, jacobian=True), -potential, rtol=1e-10)
    sites = target.constrain(z)
    np.testing.assert_allclose(sites["gap"], sites["means"][1] - sites["means"][0])
    assert set(sites) == {"top", "means", "gap"}


def mixture_of(w, rows):
    return bgmm.GaussianMixture(w, jnp.zeros((2, 1)), jnp.ones((2, 1, 1)))


def discrete(rows):
    numpyro.sample("z", dist.Categorical(jnp.ones(2) / 2))
    numpyro.sample("x", mixture_of(jnp.ones(2) / 2, rows), obs=rows)


def with_parameter(rows):
    w = numpyro.param("w", jnp.ones(2) / 2)
    numpyro.sample("x", mixture_of(w, rows), obs=rows)


def nothing_observed(rows):
    numpyro.sample("a", dist.Normal())


def observed_twice(rows):
    for name in ("x", "y"):
        numpyro.sample(name, mixture_of(jnp.ones(2) / 2, rows), obs=rows)


def other_rows(rows):
    numpyro.sample("x", mixture_of(jnp.ones(2) / 2, rows), obs=rows + 1)


def subsampled(rows):
    with numpyro.plate("observation", rows.shape[0], subsample_size=3):
        numpyro.sample("x", mixture_of(jnp.ones(2) / 2, rows), obs=rows[:3])


def scaled(rows):
    with numpyro.handlers.scale(scale=2.0):
        numpyro.sample("x", mixture_of(jnp.ones(2) / 2, rows), obs=rows)


def per_row(rows):
    means = jnp.zeros((rows.shape[0], 2, 1))
    numpyro.sample("x", bgmm.GaussianMixture(jnp.ones(2) / 2, means, jnp.ones((2, 1, 1))), obs=rows)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (discrete, "'z' is discrete"),
        (with_parameter, "'w' is a numpyro.param"),
        (nothing_observed, "0 such sites"),
        (observed_twice, "2 such sites"),
        (other_rows, "'x' must observe the rows"),
        (subsampled, "'observation' subsamples"),
        (scaled, "'x' is under a scale handler"),
        (per_row, "'x' has its own parameters for each row"),
    ],
)
def test_programs_that_no_engine_can_fit_are_refused_in_one_sentence(rng, program, says):
    with pytest.raises(ValueError, match=says) as refusal:
        target_of(program, rng.normal(size=(8, 1)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("weights", "empty"),
    [
        (models.Dirichlet(3, 0.5), True),
        (models.Dirichlet(3, 1.0), False),
        (models.Dirichlet(8, models.Gamma(10.0, 80.0)), True),
        (models.Dirichlet(8, models.Gamma(80.0, 10.0)), False),
        (models.RandomK(), True),
    ],
)
def test_a_prior_that_leaves_components_empty_is_known(rng, weights, empty):
    assert target_of(models.Mixture(weights, models.Gaussian()), rng.normal(size=(20, 2)), np.zeros(2)).leaves_empty is empty
