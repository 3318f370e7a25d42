"""Jumps leave the posterior as it is: with them and without, the sampler answers the same, unless a fault is planted."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import gammaln

import bgmm
from bgmm import models
from bgmm.core.in_memory import in_memory
from bgmm.engines.chains import after_warmup
from bgmm.engines.gibbs import jumps, modes, sampler
from bgmm.engines.gibbs.landmarks import of_each
from bgmm.engines.gibbs.modes import seen_under
from bgmm.engines.gibbs.partitions import Partition
from bgmm.engines.gibbs.reference import summarise_prior
from bgmm.engines.gibbs.sampler import Chains, _advance, first_states
from bgmm.engines.gibbs.sweep import no_record
from bgmm.program.declare import make_target

CHAINS = 4


@pytest.fixture(scope="module")
def target():
    """Twelve rows of two clusters that can be told apart or not, or of three; the components share their scale."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(-1.2, 0.7, 7), rng.normal(1.5, 0.7, 5)])[:, None]
    model = models.random_k(components=models.Gaussian(tied=True), max_components=4)
    return make_target(model, x[:1], rows=in_memory(x)[0], scaling=None, recording_step=np.zeros(1))


def first(target) -> Chains:
    """Chains before warm-up."""
    prior = summarise_prior(target, key=jax.random.key(0))
    states = first_states(target, prior, CHAINS, key=jax.random.key(1))
    return Chains(target, prior, states, sweeps_per_draw=1, split_merge=1, key=jax.random.key(2))


@pytest.fixture(scope="module")
def chains(target):
    """Chains after a warm-up in which they found landmarks."""
    chains = first(target)
    for _ in chains.draw(400, 0):
        pass
    assert np.isfinite(chains._landmarks.log_probability).sum() > 8
    return chains


def functionals(chains: Chains, n: int, *, n_jumps: int, n_tries: int, n_warmup: int = 0) -> np.ndarray:
    """Quantities that no naming of the components changes: (chain, draw, 7)."""
    chains._n_jumps, chains._n_tries = n_jumps, n_tries
    (record,) = after_warmup(chains.draw(n_warmup, n), n_warmup, [n])
    k_plus, w, mu = record.occupied.sum(-1), np.exp(record.state.log_w), record.state.z[..., 0]
    each = [
        k_plus == 1,
        k_plus == 2,
        k_plus,
        record.state.k,
        record.state.log_alpha,
        record.state.h[..., 0],
        (w * mu**2).sum(-1),
    ]
    return np.stack([np.asarray(value, float) for value in each], axis=-1)


@pytest.fixture(scope="module")
def expected(chains):
    """Without jumps."""
    return functionals(chains, 6000, n_jumps=0, n_tries=1)


def largest_z(found: np.ndarray, expected: np.ndarray) -> float:
    z = []
    for j in range(found.shape[-1]):
        errors = [float(az.mcse(values[..., j], method="mean")) for values in (found, expected)]
        z.append(abs(found[..., j].mean() - expected[..., j].mean()) / np.hypot(*errors))
    return max(z)


@pytest.mark.slow
def test_jumps_leave_the_posterior_as_it_is(chains, expected):
    found = functionals(chains, 4000, n_jumps=2, n_tries=0)
    assert largest_z(found, expected) < 4.0  # of 7: over 4 with probability 5e-4
    assert found[..., 2].std() > 0.3  # else nothing was tested


@pytest.mark.slow
def test_landmarks_found_among_the_draws_leave_the_posterior_as_it_is(target, expected, monkeypatch):
    monkeypatch.setattr(sampler, "CONSTANTS", replace(sampler.CONSTANTS, later=(50, 100, 200, 400, 800)))
    found = functionals(first(target), 4000, n_jumps=2, n_tries=0, n_warmup=400)
    assert largest_z(found, expected) < 4.0


def as_labelled(original):
    """Permanents with a factor too many: the number of names that m clusters may have."""
    return lambda log_a, m: original(log_a, m) + gammaln(m + 1.0)


def uniform(landmarks, c, assignments, m):
    """Probabilities as if all partitions were proposed alike."""
    return jnp.where(m <= len(landmarks.log_probability), 0.0, -jnp.inf)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["names", "proposal"])
def test_planted_faults_are_found(chains, expected, fault, monkeypatch):
    if fault == "names":
        monkeypatch.setattr(jumps, "log_permanents", as_labelled(jumps.log_permanents))
    else:
        monkeypatch.setattr(jumps, "log_probability", uniform)
    sampler._advance.clear_cache()
    try:
        assert largest_z(functionals(chains, 3000, n_jumps=2, n_tries=0), expected) > 6.0
    finally:
        sampler._advance.clear_cache()


@pytest.mark.parametrize("m", [1, 3, 5])
def test_permanents_are_sums_over_permutations(rng, m):
    log_a = 30 * rng.normal(size=(5, 5, 4))
    found = jumps.log_permanents(jnp.asarray(log_a), jnp.array(m))
    each = [log_a[np.arange(m), list(order), :].sum(0) for order in permutations(range(m))]
    np.testing.assert_allclose(found, np.logaddexp.reduce(each, axis=0), rtol=1e-12)


def partitions_of(n: int):
    """All partitions of n rows, as the cluster of each, clusters in the order of their first rows."""
    if n == 0:
        yield []
        return
    for smaller in partitions_of(n - 1):
        for cluster in range(max(smaller, default=-1) + 2):
            yield [*smaller, cluster]


def test_probabilities_of_all_partitions_sum_to_that_of_leaving_no_cluster_without_rows(rng):
    n, size = 6, 3
    r = rng.dirichlet(np.ones(size), size=(2, n))
    r[1, :, 2], clusters = 0.0, np.array([3, 2])
    r /= r.sum(2, keepdims=True)
    log_r = [
        jumps.log_responsibilities(jnp.asarray(one), jnp.array(m), jnp.array(n)) for one, m in zip(r, clusters, strict=True)
    ]
    rho = np.array([0.3, 0.7])
    table, log_rho = np.zeros((size, size, n, 1)), np.full((size, 1), -np.inf)
    for one, m, probability in zip(log_r, clusters, rho, strict=True):
        table[m - 1, :, :, 0], log_rho[m - 1] = one.T, np.log(probability)
    landmarks = jumps.Landmarks(jnp.asarray(table), jnp.asarray(log_rho))
    log_q = jax.jit(lambda z, m: jumps.log_probability(landmarks, jnp.ones((1, n)), z[None], m))
    total = sum(np.exp(float(log_q(jnp.asarray(z), jnp.array(max(z) + 1)))) for z in partitions_of(n) if max(z) < size)

    whole = 0.0
    for probability, one, m in zip(rho, np.exp(np.stack(log_r)), clusters, strict=True):
        for names in np.ndindex(*[m] * n):
            if len(set(names)) == m:
                whole += probability * one[np.arange(n), list(names)].prod()
    assert total == pytest.approx(whole, rel=1e-10)
    assert whole < 0.95


def test_modes_of_each_number_of_clusters_are_found(rng, monkeypatch):
    """Three groups in a row: a cut of the whole, then of the wider part; merging brings the two back that are closest."""
    x = np.concatenate([rng.normal(at, 0.3, (40, 1)) for at in (-3.0, 0.0, 1.6)])
    target = make_target(
        models.random_k(max_components=4), x[:1], rows=in_memory(x)[0], scaling=None, recording_step=np.zeros(1)
    )
    prior = summarise_prior(target, key=jax.random.key(0))
    states = first_states(target, prior, 2, key=jax.random.key(1))
    seen = seen_under(target, prior, jax.tree.map(lambda a: a[0], states), jax.random.key(2))
    monkeypatch.setattr(modes, "CONSTANTS", replace(modes.CONSTANTS, worth=np.inf))
    found = modes.partition_modes(seen, np.zeros((1, 4, 3)))
    counts = [sorted(S[S[:, 0] > 0][:, 0].round().astype(int).tolist()) for S in found]
    assert counts[0] == [40, 40, 40]
    assert [one for one in counts if len(one) == 1] == [[120]]
    assert [40, 80] in counts


def test_landmarks_of_a_common_number_leave_room_for_those_of_a_rare_one(rng):
    n_clusters = np.array([0] * 5 + [3] * 40 + [4] * 2 + [7] * 9)
    chosen = of_each(n_clusters, 4, rng)
    assert len(set(chosen)) == len(chosen)
    np.testing.assert_array_equal(np.bincount(n_clusters[chosen]), [0, 0, 0, 4, 2, 0, 0, 4])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:in .* of the draws all", "ignore:the chains do not agree")
def test_a_fit_tells_of_its_jumps(rng):
    x = np.concatenate([rng.normal(-2, 1, (20, 1)), rng.normal(2, 1, (20, 1))])
    model = models.random_k(components=models.Gaussian(tied=True), max_components=2)
    settings = bgmm.Gibbs(n_draws=50, n_warmup=60, n_chains=2, sweeps_per_draw=1)
    before = _advance._cache_size()
    assert 0 < float(bgmm.fit(model, x, settings)["sample_stats"]["jump_accepted"].mean()) <= 1
    assert _advance._cache_size() == before + 1, "the sweep is compiled once, with landmarks and without"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_warmup", [3, 9, 24])
def test_landmarks_are_sought_in_warm_up_and_a_few_times_after_it_and_then_no_more(target, n_warmup, monkeypatch):
    def stays(target, prior, carried, inverse_temperatures, *given, key):
        return carried, jax.tree.map(lambda a: np.stack([a] * len(inverse_temperatures)), no_record(carried[0]))

    monkeypatch.setattr(sampler, "_advance", stays)
    chains = first(target)
    looks, chunks = [], chains.draw(n_warmup, 40)
    monkeypatch.setattr(chains, "_look", lambda recent: looks.append(5 * done))
    monkeypatch.setattr(sampler, "CONSTANTS", replace(sampler.CONSTANTS, later=(10, 20)))
    for done, _ in enumerate(chunks, start=1):  # noqa: B007
        pass
    assert sum(look <= n_warmup for look in looks) <= 2
    assert [look for look in looks if look > n_warmup] == [5 * ((n_warmup + n) // 5) for n in (10, 20)]


def test_clusters_that_both_partitions_have_keep_their_components():
    now = np.array([[0, 0, 2, 2, 3, 3, 3, 0]])  # component 1 is empty, and the last row does not count
    new = np.array([[1, 1, 0, 2, 3, 3, 3, 0]])
    c, m = np.array([[1.0] * 7 + [0.0]]), 5

    def statistics(z):
        return jnp.asarray([[c[z == k].sum(), (c * np.arange(8.0))[z == k].sum()] for k in range(m)])

    given = Partition(jnp.asarray(now), statistics(now), jnp.zeros((m, 2)))
    renamed, kept = jumps.named_as(given, jumps.Assigned(jnp.asarray(new), statistics(new), jnp.array(0.0)), jnp.asarray(c))
    np.testing.assert_array_equal(kept, [True, False, False, True, False])
    np.testing.assert_array_equal(renamed.assignments[0, :7], [0, 0, 1, 2, 3, 3, 3])
    np.testing.assert_array_equal(renamed.statistics, statistics(np.asarray(renamed.assignments)))
