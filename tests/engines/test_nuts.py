"""NUTS against integration on a grid, against NumPyro's own mixture, and as a user gets it."""

from __future__ import annotations

import warnings

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS
from scipy import stats

import bgmm
from bgmm import models
from bgmm.posterior.diagnose import verdicts


def diagnostics(tree, names=("weights", "means", "scales")):
    table = az.summary(tree, var_names=list(names), kind="diagnostics", round_to="none")
    return table["r_hat"].astype(float).max(), table["ess_bulk"].astype(float).min()


def test_one_component_equals_the_posterior_integrated_on_a_grid(rng):
    x = rng.normal(3.0, 2.0, size=25)
    model = models.finite(1, floor=0.2)
    tree = bgmm.fit(model, x, engine=bgmm.NUTS(n_draws=4000), seed=0)
    centre, scale = x.mean(), x.std()
    g, standard = model.components, (x - centre) / scale

    mu = np.linspace(-1.2, 1.2, 400)[:, None]
    log_s = np.linspace(-3, 1.5, 400)[None, :]
    sd = np.sqrt(np.exp(2 * log_s) + g.floor**2)
    log_p = stats.norm(0, g.mean_scale).logpdf(mu) + stats.norm(g.log_scale_mean, g.log_scale_sd).logpdf(log_s)
    log_p = log_p + stats.norm(mu[..., None], sd[..., None]).logpdf(standard).sum(-1)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()

    posterior = tree["posterior"]
    for draws, values in (
        (posterior["means"].to_numpy()[..., 0, 0], centre + scale * mu * np.ones_like(sd)),
        (posterior["scales"].to_numpy()[..., 0, 0], scale * sd * np.ones_like(mu)),
    ):
        mean = (p * values).sum()
        deviation = np.sqrt((p * (values - mean) ** 2).sum())
        error = float(az.mcse(draws, method="mean"))
        assert abs(draws.mean() - mean) < 4 * error
        assert error < 0.05 * deviation
        np.testing.assert_allclose(draws.std(), deviation, rtol=0.05)
        for q in (0.1, 0.9):
            below = (p * (values < np.quantile(draws, q))).sum()
            assert abs(below - q) < 0.02


def test_two_separated_components_mix_without_divergence(faithful_tree):
    tree = bgmm.relabel(faithful_tree)
    r_hat, effective = diagnostics(tree)
    assert r_hat < 1.01
    assert effective > 1000
    assert not tree["sample_stats"]["diverging"].any()
    assert tree["sample_stats"]["tree_depth"].max() < 10
    assert float(tree["sample_stats"]["agreement"].mean()) > 0.99


@pytest.mark.slow
def test_iris_chains_agree_or_the_summary_says_that_they_do_not(iris_tree):
    """A region with weights of .14, .33, .53 has 1 to 4 % of the posterior by Gibbs; a chain that crosses to it stays there."""
    tree = bgmm.relabel(iris_tree)
    r_hat, _ = diagnostics(tree, ("weights", "means", "scales"))
    assert verdicts(tree)[0].startswith("The chains agree") == (r_hat <= 1.01)


@pytest.mark.slow
def test_iris_chains_that_stay_at_the_mode_agree(iris_tree):
    """At most one of four leaves; it is about 16 lower in log density, which varies by 4 within a chain."""
    lp = iris_tree["sample_stats"]["lp"].mean("draw").to_numpy()
    at_mode = np.flatnonzero(lp > lp.max() - 8)
    assert len(at_mode) >= 3
    tree = bgmm.relabel(iris_tree.map_over_datasets(lambda data: data.isel(chain=at_mode, missing_dims="ignore")))
    r_hat, effective = diagnostics(tree, ("weights", "means", "covariances", "scales"))
    assert r_hat < 1.01
    assert effective > 300
    assert float(iris_tree["sample_stats"]["mode_mass"].sum()) == pytest.approx(1.0)


def ordered_program(rows):
    """Ordered means, half-normal scales, a Beta weight: none of ours."""
    p = numpyro.sample("p", dist.Beta(5.0, 5.0))
    mu = numpyro.sample(
        "mu", dist.TransformedDistribution(dist.Normal(0, 2).expand([2]).to_event(1), dist.transforms.OrderedTransform())
    )
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    with numpyro.plate("observation", rows.shape[0]):
        mixture = bgmm.GaussianMixture(jnp.stack([p, 1 - p]), mu[:, None], sigma[:, None, None])
        numpyro.sample("x", mixture, obs=rows)


def same_program_by_numpyro(rows):
    p = numpyro.sample("p", dist.Beta(5.0, 5.0))
    mu = numpyro.sample(
        "mu", dist.TransformedDistribution(dist.Normal(0, 2).expand([2]).to_event(1), dist.transforms.OrderedTransform())
    )
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    with numpyro.plate("observation", rows.shape[0]):
        mixture = dist.MixtureSameFamily(dist.Categorical(jnp.stack([p, 1 - p])), dist.Normal(mu, sigma))
        numpyro.sample("x", mixture, obs=rows[:, 0])


@pytest.mark.slow
def test_a_users_own_program_agrees_with_numpyros_own_mixture(rng):
    z = rng.uniform(size=1000) < 0.35
    x = np.where(z, rng.normal(-1.5, 1.0, size=1000), rng.normal(1.2, 0.8, size=1000))[:, None]
    tree = bgmm.fit(ordered_program, x, engine="nuts", seed=0)
    assert not tree["sample_stats"]["diverging"].any()

    run = MCMC(NUTS(same_program_by_numpyro), num_warmup=500, num_samples=1000, num_chains=2, progress_bar=False,
               chain_method="vectorized")  # fmt: skip
    run.run(jax.random.key(1), jnp.asarray(x))
    theirs = run.get_samples(group_by_chain=True)
    ours = tree["posterior"]
    for name in ("p", "mu", "sigma"):
        a = ours[name].to_numpy().reshape(*ours[name].shape[:2], -1)
        b = np.asarray(theirs[name]).reshape(*theirs[name].shape[:2], -1)
        for j in range(a.shape[2]):
            for method, statistic in (("mean", np.mean), ("sd", np.std)):
                errors = [float(az.mcse(draws[..., j], method=method)) for draws in (a, b)]
                assert abs(statistic(a[..., j]) - statistic(b[..., j])) < 4 * np.hypot(*errors)


@pytest.mark.slow
def test_canonical_variables_are_read_off_a_users_program(rng):
    x = rng.normal(size=(60, 1)) + 3.0 * (rng.uniform(size=(60, 1)) < 0.5)
    posterior = bgmm.fit(ordered_program, x, engine="em", seed=0)["posterior"].isel(chain=0, draw=0)
    np.testing.assert_allclose(posterior["weights"], [posterior["p"], 1 - posterior["p"]], rtol=1e-9)
    np.testing.assert_allclose(posterior["means"][:, 0], posterior["mu"], rtol=1e-9)
    np.testing.assert_allclose(posterior["scales"][:, 0], posterior["sigma"], rtol=1e-9)


def test_equal_seeds_give_equal_trees_and_other_seeds_others(faithful):
    settings = bgmm.NUTS(n_draws=50, n_warmup=50, n_chains=2)
    one, same, other = (bgmm.fit(models.finite(2), faithful, engine=settings, seed=s) for s in (4, 4, 5))
    assert one["posterior"].equals(same["posterior"])
    assert not one["posterior"]["means"].equals(other["posterior"]["means"])


def test_divergences_and_tree_depth_are_reported(faithful):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # divergences are told of as well
        bgmm.fit(models.finite(2), faithful, engine=bgmm.NUTS(n_draws=20, n_warmup=20, max_tree_depth=1), seed=0)
    assert any("maximum tree depth" in str(warning.message) for warning in said)
