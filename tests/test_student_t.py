"""The proof of the seam: a family in a file of a user's own (``student_t.py``) runs wherever a family can."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.tree_util import tree_map
from scipy import optimize, special, stats
from sklearn.mixture import GaussianMixture

import bgmm
from bgmm import models
from bgmm.tree.schema import violations
from tests.student_t import StudentT, StudentTs

MODEL = models.finite(2, components=StudentT())
TRUTH = np.array([[0.0, 0.0], [6.0, 3.0]])


@pytest.fixture(scope="module")
def x():
    """Two round clusters of sd 1, and one row in ten anywhere in a box 80 wide."""
    rng = np.random.default_rng(7)
    rows = TRUTH[(rng.random(200) < 0.6).astype(int)] + rng.normal(size=(200, 2))
    rows[::10] = rng.uniform(-40, 40, (20, 2))
    return rows


@pytest.fixture(scope="module")
def mode(x):
    return bgmm.fit(MODEL, x, bgmm.EM(), seed=0)


def one(tree, chain=0, draw=0):
    """Weights, means, scale_tril and nu of a draw."""
    found = tree["posterior"].isel(chain=chain, draw=draw)
    return [found[name].to_numpy() for name in ("weights", "means", "scale_tril", "nu")]


def log_density(weights, means, scale_tril, nu, x):
    """By scipy."""
    of_each = [stats.multivariate_t(m, L @ L.T, df).logpdf(x) for m, L, df in zip(means, scale_tril, nu, strict=True)]
    return special.logsumexp(np.log(weights) + np.stack(of_each, axis=1), axis=1)


def test_density_is_that_of_scipy_and_of_numpyro(rng):
    k, d = 3, 4
    L = np.linalg.cholesky((a := rng.normal(size=(k, d, d + 2))) @ a.transpose(0, 2, 1))
    w, mu, nu, x = rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)), rng.uniform(0.5, 30, k), 5 * rng.normal(size=(20, d))
    components = tree_map(jnp.asarray, StudentTs(mu, L, nu))
    found = components.log_density(jnp.asarray(x.T))
    for of_component, df, m, tril in zip(found, nu, mu, L, strict=True):
        np.testing.assert_allclose(of_component, stats.multivariate_t(m, tril @ tril.T, df).logpdf(x), rtol=1e-12)
        np.testing.assert_allclose(of_component, dist.MultivariateStudentT(df, m, tril).log_prob(x), rtol=1e-12)
    np.testing.assert_allclose(bgmm.ComponentMixture(w, components).log_prob(x), log_density(w, mu, L, nu, x), rtol=1e-12)


def test_mode_is_where_scipy_finds_the_maximum_of_the_same_posterior(x, mode):
    standard = (x - x.mean(0)) / x.std(0)

    def unpacked(u):
        w, mu, s, rho, nu = (
            special.expit(u[0]),
            u[1:5].reshape(2, 2),
            np.exp(u[5:9]).reshape(2, 2),
            np.tanh(u[9:11]),
            np.exp(u[11:]),
        )
        L = s[:, :, None] * np.array([[[1, 0], [r, np.sqrt(1 - r * r)]] for r in rho])
        return (np.array([1 - w, w]), mu, L, nu), s, rho

    def log_posterior(u):
        (w, mu, L, nu), s, rho = unpacked(u)
        log_prior = stats.norm(0, 2).logpdf(mu).sum() + stats.lognorm(1, scale=np.exp(-1)).logpdf(s).sum()
        log_prior += np.log(0.75 * (1 - rho**2)).sum() + stats.gamma(2, scale=10).logpdf(nu).sum()
        return log_prior + log_density(w, mu, L, nu, standard).sum()

    # the rows far away belong to either of the two clusters: two modes
    starts = [
        np.r_[0.3, ((TRUTH - x.mean(0)) / x.std(0)).ravel(), np.full(4, -2.0), 0, 0, log_nu] for log_nu in ([0, 3], [3, 0])
    ]
    ends = [optimize.minimize(lambda u: -log_posterior(u), u, method="BFGS", options={"gtol": 1e-4}) for u in starts]
    found = min(ends, key=lambda end: end.fun)
    (w, mu, L, nu), _, _ = unpacked(found.x)
    assert bool(mode["sample_stats"]["converged"].all())
    np.testing.assert_allclose(mode["sample_stats"]["lp"].item(), log_posterior(found.x), atol=1e-6)
    order = np.argsort(one(mode)[1][:, 0])  # square roots of what a height to 1e-6 leaves open
    for of_mode, expected in zip(one(mode), (w, x.mean(0) + x.std(0) * mu, x.std(0)[:, None] * L, nu), strict=True):
        np.testing.assert_allclose(of_mode[order], expected, rtol=2e-3, atol=2e-3)


def test_outliers_do_not_move_the_clusters_as_they_do_those_of_gaussians(x, mode):
    gaussian, found = GaussianMixture(2, n_init=5, random_state=0).fit(x).means_, one(mode)[1]
    found, gaussian = (means[np.argsort(means[:, 0])] for means in (found, gaussian))
    assert np.abs(found - TRUTH).max() < 4 / np.sqrt(70)  # four standard errors of the smaller cluster
    assert np.abs(gaussian - TRUTH).max() > 1


def test_tree_holds_to_the_schema_and_is_asked_like_any_other(x, mode, tmp_path):
    assert violations(mode) == [] == violations(bgmm.relabel(mode))
    bgmm.save(mode, tmp_path / "mode.nc")
    loaded = bgmm.load(tmp_path / "mode.nc")
    np.testing.assert_allclose(bgmm.log_density(loaded, x), log_density(*one(mode), x), rtol=1e-10)
    assert bgmm.membership(mode).sizes == {"observation": 200, "cluster": 2}
    assert set(mode["posterior"].data_vars) == {"weights", "means", "scale_tril", "nu"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the chains")  # 200 draws suffice for the means
def test_nuts_draws_it(x, mode):
    tree = bgmm.fit(MODEL, x, bgmm.NUTS(n_draws=100, n_warmup=100, n_chains=2, n_starts=4), seed=1)
    assert violations(tree) == []
    assert not tree["sample_stats"]["diverging"].any()
    np.testing.assert_allclose(tree["log_likelihood"]["x"][1, 50], log_density(*one(tree, 1, 50), x), rtol=1e-10)
    means = tree["posterior"]["means"].sortby(tree["posterior"]["means"].mean(["chain", "draw"]).isel(feature=0))
    assert np.abs(means.mean(["chain", "draw"]) - TRUTH).max() < 4 / np.sqrt(70)
    assert set(tree["posterior"].data_vars) == set(mode["posterior"].data_vars)


@pytest.mark.slow
def test_em_from_a_stream_reaches_the_mode_that_it_reaches_in_memory(x, mode, tmp_path):
    np.save(tmp_path / "rows.npy", x)
    streamed = bgmm.fit(MODEL, bgmm.stream(tmp_path / "rows.npy"), bgmm.EM(), seed=0)
    np.testing.assert_allclose(streamed["sample_stats"]["lp"], mode["sample_stats"]["lp"], atol=1e-8)


def test_what_needs_more_of_the_family_says_so_in_one_sentence(x, mode):
    with pytest.raises(
        ValueError, match=r"^Gibbs needs components with sufficient statistics, which those of StudentT have not"
    ):
        bgmm.fit(MODEL, x, "gibbs")
    missing = np.where(np.arange(400).reshape(200, 2) == 5, np.nan, x)
    with pytest.raises(ValueError, match=r"leave those rows out, or define marginal\(observed\)"):
        bgmm.fit(MODEL, missing, bgmm.EM())
    with pytest.raises(ValueError, match=r"define sample\(assignments, key=...\)"):
        bgmm.sample(mode, 5, seed=0)
    with pytest.raises(ValueError, match="this tree has neither scales nor covariances"):
        bgmm.plot_clusters(mode)
