"""The laws of every weights prior, against brute force over partitions: a new prior is one line in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.special import gammaln
from scipy import stats

import bgmm
from bgmm import models
from bgmm.models.hyperpriors import declare_concentration
from bgmm.program.weights import Count, PaddedDirichlet
from bgmm.program.weights_prior import WeightsPrior

ALPHA = jnp.array(0.8)


@dataclass(frozen=True)
class Equal:
    """A user's own, of all the protocol's members: known equal weights, the limit of Dirichlet weights."""

    size: int
    concentration = 1.0
    exchangeable = True
    size_is_bound = False

    def log_prior_k(self):
        return jnp.full(self.size, -jnp.inf).at[-1].set(0.0)

    def declare(self):
        return jnp.full(self.size, 1 / self.size)

    def log_density(self, log_w, concentration, k):
        return jnp.zeros(())

    def log_partition(self, counts, concentration, k):
        k_plus = (counts > 0).sum()
        labellings = gammaln(k + 1.0) - gammaln(jnp.maximum(k - k_plus, 0) + 1.0)
        return jnp.where(k >= k_plus, labellings - counts.sum() * jnp.log(k), -jnp.inf)

    def new_component(self, n, occupied, concentration, k):
        return jnp.maximum(k - occupied, 0) / k

    def draw_log_weights(self, counts, concentration, k, *, key):
        return jnp.where(jnp.arange(counts.size) < k, -jnp.log(k), -jnp.inf)


@dataclass(frozen=True)
class Declining(models.SymmetricDirichlet):
    """A user's own, of a Dirichlet parameter that declines faster than the dynamic one: alpha / K^2."""

    size: int
    concentration: models.Hyperprior | float = 0.8
    size_is_bound = True

    def dirichlet_parameter(self, concentration, k):
        return concentration / k**2

    def log_prior_k(self):
        return -jnp.log(jnp.arange(1.0, self.size + 1))

    def declare(self):
        concentration = declare_concentration(self.concentration)
        k = numpyro.sample("n_components", Count(self.log_prior_k()))
        return numpyro.sample("weights", PaddedDirichlet(self.dirichlet_parameter(concentration, k), k, self.size))


CATALOGUE = {
    "dirichlet": models.Dirichlet(4, 0.8),
    "static": models.RandomK(models.Uniform(), 0.8, dynamic=False, max_components=4),
    "dynamic": models.RandomK(models.Poisson(1.0), 0.8, max_components=4),
    "stick-breaking": models.StickBreaking(6, 0.8),
    "declining": Declining(4),
    "equal": Equal(4),
}
every_prior = pytest.mark.parametrize("prior", CATALOGUE.values(), ids=CATALOGUE)


def numbers_of_components(prior: WeightsPrior) -> np.ndarray:
    """Those of positive prior probability."""
    return 1 + np.flatnonzero(np.isfinite(np.asarray(prior.log_prior_k())))


def partitions(n: int, prior: WeightsPrior) -> np.ndarray:
    """The counts of every partition of n rows into at most ``size`` blocks."""
    first = (range(i + 1) for i in range(n))
    labels = (z for z in product(*first) if all(z[i] <= max(z[:i], default=-1) + 1 for i in range(n)))
    return np.array([np.bincount(z, minlength=prior.size) for z in labels if max(z) < prior.size], float)


@partial(jax.jit, static_argnums=0)
def log_partition(prior: WeightsPrior, counts, k) -> jax.Array:
    """Log probabilities, one a row of counts."""
    return jax.vmap(lambda one: prior.log_partition(one, ALPHA, k))(counts)


@partial(jax.jit, static_argnums=(0, 3))
def draws(prior: WeightsPrior, counts, k, n: int) -> jax.Array:
    """Logarithms of weights given the counts."""
    keys = jax.random.split(jax.random.key(7), n)
    return jax.vmap(lambda key: prior.draw_log_weights(counts, ALPHA, k, key=key))(keys)


@partial(jax.jit, static_argnums=0)
def log_density(prior: WeightsPrior, log_w, k) -> jax.Array:
    """Log densities, one a row of logarithms of weights."""
    return jax.vmap(lambda one: prior.log_density(one, ALPHA, k))(log_w)


@every_prior
def test_it_satisfies_the_protocol(prior):
    assert isinstance(prior, WeightsPrior)


@every_prior
def test_the_probabilities_of_all_partitions_sum_to_one_for_every_k(prior):
    counts = partitions(5, prior)
    assert len(counts) == {4: 51, 6: 52}[prior.size]  # of Bell's 52
    for k in numbers_of_components(prior):
        assert np.exp(log_partition(prior, counts, k)).sum() == pytest.approx(1.0, rel=1e-9)


@every_prior
def test_the_prior_of_occupied_components_is_that_of_all_partitions(prior):
    counts, expected = partitions(6, prior), np.zeros(prior.size)
    p_k = np.exp(np.asarray(prior.log_prior_k()))
    for k in numbers_of_components(prior):
        p = np.exp(log_partition(prior, counts, k)) * p_k[k - 1] / p_k.sum()
        expected += np.bincount((counts > 0).sum(1) - 1, p, minlength=prior.size)
    np.testing.assert_allclose(bgmm.prior_n_occupied(models.Mixture(prior), 6), expected, rtol=1e-9)


@every_prior
def test_more_rows_than_components_occupy_some_number_of_them(prior):
    assert float(bgmm.prior_n_occupied(models.Mixture(prior), 40).sum()) == pytest.approx(1.0, rel=1e-9)


@every_prior
def test_weights_given_counts_have_the_moments_that_more_rows_imply(prior):
    """E[w_1^a w_2^b w_empty^c | C] is the probability of a partition with more rows, over that of C."""
    k = int(numbers_of_components(prior)[-1])
    counts = np.pad([3.0, 1.0], (0, prior.size - 2))
    w = np.exp(np.asarray(draws(prior, counts, k, 20_000)))
    np.testing.assert_allclose(w.sum(1), 1.0)
    assert not w[:, k:].any()
    parts = np.stack([w[:, 0], w[:, 1], w[:, 2:].sum(1)], axis=1)
    log_p = log_partition(prior, counts[None], k)
    for powers in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (0, 2, 0), (1, 1, 0), (1, 0, 1)):
        expected = np.exp(log_partition(prior, (counts + np.pad(powers, (0, prior.size - 3)))[None], k) - log_p)[0]
        values = np.prod(parts**powers, axis=1)
        assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(len(values)) + 1e-9, powers


@pytest.mark.parametrize("prior", [p for name, p in CATALOGUE.items() if name != "equal"], ids=lambda p: type(p).__name__)
def test_weights_without_rows_are_drawn_from_the_density(prior):
    """For weights drawn from p, the mean of q(w) / p(w) is the integral of q: one, of q = Dirichlet(2, ..., 2)."""
    for k in numbers_of_components(prior)[-2:]:
        log_w = draws(prior, np.zeros(prior.size), k, 40_000)
        log_p = log_density(prior, log_w, k)
        ratio = np.exp(np.asarray(gammaln(2.0 * k) + log_w[:, :k].sum(1) - log_p))
        assert abs(ratio.mean() - 1) < 4.5 * ratio.std() / np.sqrt(len(ratio)) + 1e-9


@every_prior
def test_the_declared_program_has_the_density_and_the_prior_of_k_that_engines_use(prior):
    for seed in range(5):
        with numpyro.handlers.trace() as trace, numpyro.handlers.seed(rng_seed=seed):
            w = prior.declare()
        k = trace["n_components"]["value"] if "n_components" in trace else jnp.asarray(prior.size)
        declared = trace["weights"]["fn"].log_prob(w) if "weights" in trace else 0.0
        np.testing.assert_allclose(prior.log_density(jnp.log(w), ALPHA, k), declared, rtol=1e-9)
        np.testing.assert_allclose(w.sum(), 1.0)
        log_p = trace["n_components"]["fn"].log_prob(k) if "n_components" in trace else 0.0
        np.testing.assert_allclose(jax.nn.log_softmax(prior.log_prior_k())[k - 1], log_p, atol=1e-12)


@every_prior
def test_the_order_of_counts_never_matters_and_that_of_weights_only_where_they_are_not_exchangeable(prior):
    k = int(numbers_of_components(prior)[-1])
    counts = np.array([np.pad(order, (0, prior.size - 3)) for order in permutations((3.0, 1.0, 2.0))])
    np.testing.assert_allclose(np.ptp(log_partition(prior, counts, k)), 0.0, atol=1e-12)
    log_w = draws(prior, np.zeros(prior.size), k, 1)[0]
    moved = (prior.log_density(order, ALPHA, jnp.asarray(k)) for order in (log_w, jnp.flip(log_w[:k])))
    assert bool(jnp.isclose(*moved)) == prior.exchangeable


def test_partitions_of_a_dirichlet_process_are_the_limit_of_dynamic_weights():
    process, dynamic = models.StickBreaking(6, 0.8), models.RandomK(concentration=0.8, max_components=6)
    counts = np.array([[4.0, 2.0, 1.0, 0, 0, 0]])
    np.testing.assert_allclose(log_partition(process, counts, 6), log_partition(dynamic, counts, 1e7), rtol=1e-5)


def test_weights_of_a_dirichlet_process_given_a_partition_are_those_of_its_occupied_blocks_and_sticks():
    """Dirichlet(n_1, ..., n_K+, alpha), the last broken up as the process itself is."""
    process, alpha = models.StickBreaking(6), float(ALPHA)
    w = np.exp(np.asarray(draws(process, np.array([5.0, 2.0, 0, 0, 0, 0]), 6, 3000)))
    for k, n in ((0, 5.0), (1, 2.0)):
        assert stats.kstest(w[:, k], stats.beta(n, 7 + alpha - n).cdf).pvalue > 1e-3
    empty = w[:, 2:].sum(1)
    assert stats.kstest(empty, stats.beta(alpha, 7.0).cdf).pvalue > 1e-3
    assert stats.kstest(w[:, 2] / empty, stats.beta(1, alpha).cdf).pvalue > 1e-3
    assert stats.kstest(w[:, 3] / (empty - w[:, 2]), stats.beta(1, alpha).cdf).pvalue > 1e-3


@dataclass(frozen=True)
class Zipf:
    """A user's own prior of K, which SciPy evaluates."""

    def log_prob(self, above):
        return stats.zipf(2.0).logpmf(np.asarray(above) + 1)


@dataclass(frozen=True)
class LogNormal:
    """A user's own prior of the concentration."""

    def distribution(self):
        return dist.LogNormal(0.0, 1.0)


@pytest.mark.filterwarnings("ignore:in .* of the draws all")
@pytest.mark.parametrize(
    ("weights", "variables"),
    [
        pytest.param(Equal(3), {"n_occupied"}, marks=pytest.mark.slow),
        # what is Declining's own: its laws above; its concentration moves as zipf's does, its weights' prior is used as equal's
        pytest.param(Declining(8, LogNormal()), {"n_components", "n_occupied", "concentration"}, marks=pytest.mark.slow),
        pytest.param(
            models.RandomK(Zipf(), LogNormal(), max_components=8),
            {"n_components", "n_occupied", "concentration"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["equal", "declining", "zipf"],
)
def test_priors_of_ones_own_are_fitted(weights, variables, faithful):
    model, x = models.Mixture(weights, models.Spherical()), faithful.to_numpy()[:60]
    counted = np.repeat([1.0, 0.0], [50, 10])
    tree = bgmm.fit(model, x, engine=bgmm.Gibbs(n_draws=20, n_warmup=20, n_chains=2, jumps=0), weights=counted)
    holds = {name for group in ("posterior", "sample_stats") for name in tree[group].data_vars}
    assert variables <= holds
    assert np.isfinite(tree["sample_stats"]["lp"]).all()
    np.testing.assert_allclose(bgmm.n_occupied(tree)["prior"], bgmm.prior_n_occupied(model, 50))
    if "concentration" in variables:
        assert len(np.unique(tree["posterior"]["concentration"])) > 5  # the sampler moves it
    if isinstance(weights, Equal):
        np.testing.assert_allclose(tree["posterior"]["weights"], 1 / 3)
