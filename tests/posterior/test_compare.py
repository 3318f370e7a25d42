"""Information criteria against scikit-learn and by hand, and the table that compares fits."""

from __future__ import annotations

import arviz as az
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from sklearn.mixture import GaussianMixture

import bgmm
from bgmm import models
from tests.marks import also_slow

ML = bgmm.EM(prior=False)
FAMILIES = {
    "full": models.Gaussian(),
    "tied": models.Gaussian(tied=True),
    "diag": models.Diagonal(),
    "spherical": models.Spherical(),
}


def statistic(tree, name: str) -> float:
    return tree["sample_stats"][name].item()


def peer(tree, kind: str, x) -> GaussianMixture:
    """scikit-learn's mixture at the parameters of the tree."""
    posterior = tree["posterior"].isel(chain=0, draw=0)
    mixture = GaussianMixture(posterior.sizes["cluster"], covariance_type=kind)
    mixture.weights_, mixture.means_ = posterior["weights"].to_numpy(), posterior["means"].to_numpy()
    if kind in ("full", "tied"):
        covariances = posterior["covariances"].to_numpy()
        covariances = covariances if kind == "full" else covariances.reshape(-1, *covariances.shape[-2:])[0]
        mixture.precisions_cholesky_ = np.swapaxes(np.linalg.inv(np.linalg.cholesky(covariances)), -1, -2)
    else:
        covariances = posterior["scales"].to_numpy() ** 2
        mixture.precisions_cholesky_ = 1 / np.sqrt(covariances)
    mixture.covariances_ = covariances
    return mixture


@pytest.mark.parametrize("kind", also_slow(FAMILIES, ("full", "spherical")))
def test_criteria_are_those_of_scikit_learn(iris, kind):
    tree = bgmm.fit(models.finite(3, components=FAMILIES[kind]), iris, ML, seed=0)
    x = iris.to_numpy()
    mixture = peer(tree, "diag" if kind == "spherical" else kind, x)  # spheres in standardised units are ellipsoids in these
    too_many = 9 if kind == "spherical" else 0  # three of twelve scales are free
    assert statistic(tree, "n_parameters") == mixture._n_parameters() - too_many
    bic = mixture.bic(x) - too_many * np.log(150)
    assert statistic(tree, "bic") == pytest.approx(bic, rel=1e-9)
    assert statistic(tree, "aic") == pytest.approx(mixture.aic(x) - 2 * too_many, rel=1e-9)
    certainty = 2 * np.log(mixture.predict_proba(x).max(1)).sum()
    assert statistic(tree, "icl") == pytest.approx(bic - certainty, rel=1e-9)


def test_units_move_the_criteria_by_the_change_of_the_density_alone(faithful):
    one, other = (bgmm.fit(models.finite(2), x, ML, seed=0) for x in (faithful, faithful * [60.0, 1.0]))
    moved = 2 * len(faithful) * np.log(60.0)
    for name in ("aic", "bic", "icl"):
        assert statistic(other, name) == pytest.approx(statistic(one, name) + moved, rel=1e-7)


@pytest.mark.slow
def test_weight_two_equals_the_row_twice_and_missing_values_count_less(faithful):
    x = faithful.to_numpy().copy()
    x[3, 0] = np.nan
    weighted = bgmm.fit(models.finite(2), x, ML, weights=np.full(272, 2.0), seed=0, standardise=True)
    twice = bgmm.fit(models.finite(2), np.concatenate([x, x]), ML, seed=0)
    for name in ("aic", "bic", "icl"):
        assert statistic(weighted, name) == pytest.approx(statistic(twice, name), rel=1e-6)


@pytest.mark.slow
def test_under_a_prior_the_log_likelihood_at_the_mode_counts(faithful):
    tree = bgmm.fit(models.finite(2, concentration=models.Gamma(2.0, 1.0)), faithful, bgmm.EM(n_starts=2))
    assert statistic(tree, "n_parameters") == 11  # the concentration is none
    expected = -2 * float(bgmm.log_density(tree, faithful).sum()) + 11 * np.log(272)
    assert statistic(tree, "bic") == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore:values of .* repeat")
def test_the_parameters_of_a_users_program_are_its_unconstrained_ones(faithful):
    def program(rows):
        w = numpyro.sample("w", dist.Dirichlet(jnp.ones(2)))
        mu = numpyro.sample("mu", dist.Normal(0, 100).expand([2, 1]).to_event(2))
        sigma = numpyro.sample("sigma", dist.HalfNormal(20.0))
        with numpyro.plate("observation", rows.shape[0]):
            numpyro.sample("x", bgmm.GaussianMixture(w, mu, scale_tril=jnp.broadcast_to(sigma, (2, 1, 1))), obs=rows)

    tree = bgmm.fit(program, faithful[["waiting"]], bgmm.EM(n_starts=2))
    assert statistic(tree, "n_parameters") == 4


def test_a_table_of_modes_is_sorted_by_bic(faithful):
    trees = {str(k): bgmm.fit(models.finite(k), faithful, ML, seed=0) for k in (1, 2, 3)}
    trees["diagonal"] = bgmm.fit(models.finite(2, components=models.Diagonal()), faithful, ML, seed=0)
    table = bgmm.compare(trees)
    assert list(table.columns) == ["log_likelihood", "n_parameters", "aic", "bic", "icl"]
    assert table["bic"].is_monotonic_increasing
    assert set(table.index) == set(trees)
    assert table.loc["diagonal", "n_parameters"] == 9
    best = table.loc["2"]
    assert best["log_likelihood"] == pytest.approx(-best["bic"] / 2 + 11 / 2 * np.log(272))


def test_a_table_of_draws_has_loo_and_evidence(faithful, faithful_tree):
    laplace = bgmm.fit(models.finite(1, components=models.Diagonal()), faithful, bgmm.Laplace(n_draws=400, n_starts=2), seed=0)
    table = bgmm.compare({"one": laplace, "two": faithful_tree})
    assert list(table.index) == ["two", "one"]
    loo = az.loo(faithful_tree, pointwise=True)
    assert table.loc["two", "elpd_loo"] == pytest.approx(loo.elpd)
    assert table.loc["two", "largest_pareto_k"] == pytest.approx(float(loo.pareto_k.max()))
    assert np.isfinite(table.loc["one", "log_evidence"])
    assert np.isnan(table.loc["two", "log_evidence"])
    em = bgmm.fit(models.finite(2), faithful, ML, seed=0)
    assert list(bgmm.compare({"draws": faithful_tree, "mode": em}).index) == ["draws", "mode"]  # nothing that both have


def test_what_cannot_be_compared_is_refused_in_one_sentence(faithful, faithful_tree):
    half = bgmm.fit(models.finite(2), faithful[::2], ML, seed=0)
    renamed = bgmm.fit(models.finite(2), faithful.rename(columns={"waiting": "pause"}), ML, seed=0)
    for trees, says in (
        ({"all": faithful_tree, "half": half}, "fits 'all' and 'half' are of different rows or weights"),
        ({"all": faithful_tree, "renamed": renamed}, "fit 'renamed' has the features eruption, pause"),
        (faithful_tree, "compare needs fits by name"),
        ({}, "compare needs fits by name"),
        ({"bare": faithful_tree.drop_nodes("log_likelihood")}, "or 21 draws; fit it with log_likelihood=True"),
        ({"few": faithful_tree.isel(chain=[0], draw=slice(5))}, "or 21 draws; fit it with"),
    ):
        with pytest.raises(ValueError, match=says) as refusal:
            bgmm.compare(trees)
        assert "\n" not in str(refusal.value)
