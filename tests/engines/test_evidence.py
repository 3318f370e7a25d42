"""The evidence against a brute-force sum over all assignments of a few rows, where one integral a component is left."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import product

import jax
import numpy as np
import pytest
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

import bgmm
from bgmm import models
from bgmm.core import scaling
from bgmm.core.in_memory import in_memory
from bgmm.engines.evidence import tempered_smc as smc
from bgmm.engines.evidence.estimate import Estimate
from bgmm.engines.evidence.tempered_smc import tempered_smc
from bgmm.engines.importance.labelling import domain_around, in_domain, permutations_into, permute
from bgmm.engines.importance.proposal import Normals, cover, from_factors
from bgmm.engines.optimise.modes import find_modes
from bgmm.evidence import combine, log_partition_factors
from bgmm.program.declare import make_target
from bgmm.program.target import Target

ALPHA = 1.5
ROWS = 10 + 3 * np.array([[-1.31], [-0.92], [-1.13], [-1.02], [1.23], [0.84], [1.08], [1.37]])
OPTIONS = {"concentration": ALPHA, "components": models.Gaussian(recording_step=0.0)}


def log_marginals(x: np.ndarray) -> np.ndarray:
    """Log density of each subset of rows under one component, subsets in binary: mu in closed form, the scale by quadrature.

    x_S given the variance v is normal with covariance v I + m^2 1 1'.
    """
    g = models.Gaussian()
    u = np.linspace(-9, 9, 4001)
    log_prior = norm.logpdf(u) + np.log(u[1] - u[0])
    v = np.square(np.exp(g.log_scale_mean + g.log_scale_sd * u)) + g.floor**2
    log_m = np.zeros(2 ** len(x))
    for mask in range(1, len(log_m)):
        y = x[[n for n in range(len(x)) if mask >> n & 1]]
        n, wide = len(y), v + len(y) * g.mean_scale**2
        squares = np.square(y - y.mean()).sum() / v + n * y.mean() ** 2 / wide
        log_m[mask] = logsumexp(log_prior - 0.5 * (n * np.log(2 * np.pi) + (n - 1) * np.log(v) + np.log(wide) + squares))
    return log_m


def log_joint_by_hand(largest: int) -> np.ndarray:
    """log p(x, K+ = m | K) of K = 1 .. largest and m = 1 .. largest: the sum over all K^N assignments."""
    units = scaling.scaling_of(ROWS)
    x = units.standardise(ROWS)[:, 0]
    n, log_m = len(x), log_marginals(x)
    answer = np.full((largest, largest), -np.inf)
    for k in range(1, largest + 1):
        z = np.array(list(product(range(k), repeat=n)))
        holds = z[:, None, :] == np.arange(k)[None, :, None]
        counts, masks = holds.sum(2), holds @ (2 ** np.arange(n))
        log_p = gammaln(ALPHA * k) - gammaln(ALPHA * k + n) + (gammaln(counts + ALPHA) - gammaln(ALPHA)).sum(1)
        log_p = log_p + log_m[masks].sum(1) - n * np.log(units.scale[0])
        for m in range(1, k + 1):
            answer[k - 1, m - 1] = logsumexp(log_p[(counts > 0).sum(1) == m])
    return answer


@pytest.fixture(scope="module")
def by_hand():
    return log_joint_by_hand(4)


@pytest.fixture(scope="module")
def found():
    model = models.random_k(models.Uniform(), dynamic=False, max_components=2, **OPTIONS)
    return bgmm.log_evidence(model, ROWS, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["laplace", "vi"])
def test_evidence_by_an_approximation_equals_the_sum_over_all_assignments(engine, by_hand):
    settings = {"laplace": bgmm.Laplace(), "vi": bgmm.VI()}[engine]
    model = models.random_k(models.Uniform(), dynamic=False, max_components=2, **OPTIONS)
    found = bgmm.log_evidence(model, ROWS, settings=settings, seed=1)
    error = found["log_evidence_error"].to_numpy()
    assert (error < 0.06).all()
    assert (np.abs(found["log_evidence"].to_numpy() - logsumexp(by_hand[:2, :2], axis=1)) < 4 * error + 0.005).all()
    np.testing.assert_allclose(found["filled"], np.exp(np.diagonal(by_hand)[:2] - logsumexp(by_hand[:2], axis=1)), atol=0.02)


@pytest.mark.slow
def test_draws_with_empty_components_have_the_probabilities_of_all_assignments(by_hand):
    """P(K), P(K+) and the evidence of a tree by Laplace."""
    model = models.random_k(models.Uniform(), dynamic=False, max_components=2, **OPTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that both components may hold rows, and eight rows are hard
        tree = bgmm.fit(model, ROWS, bgmm.Laplace(), seed=2)
    joint = np.exp(by_hand[:2, :2] - logsumexp(by_hand[:2, :2]))
    effective = float(tree["sample_stats"]["effective_draws"])
    for found, expected in ((bgmm.n_components(tree), joint.sum(1)), (bgmm.n_occupied(tree), joint.sum(0))):
        assert (np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / effective) + 0.002).all()
    log_evidence = float(tree["sample_stats"]["log_evidence"]) - len(ROWS) * np.log(scaling.scaling_of(ROWS).scale[0])
    expected = logsumexp(by_hand[:2, :2]) - np.log(2)
    assert abs(log_evidence - expected) < 4 * float(tree["sample_stats"]["log_evidence_error"]) + 0.01


@pytest.fixture(scope="module")
def target() -> Target:
    """Two components on standardised rows."""
    units = scaling.scaling_of(ROWS)
    rows, _ = in_memory(ROWS, scaling=units)
    one = units.standardise(ROWS)[:1]
    return make_target(models.finite(2, **OPTIONS), one, rows=rows, scaling=None, recording_step=np.zeros(1))


def test_evidence_equals_the_sum_over_all_assignments(found, by_hand):
    for name, expected in (("log_evidence", by_hand[:2]), ("log_evidence_alone", by_hand[:2])):
        error = found[f"{name}_error"].to_numpy()
        assert (error < 0.06).all()
        assert (np.abs(found[name].to_numpy() - logsumexp(expected, axis=1)) < 4 * error + 0.005).all()


def test_posterior_of_the_numbers_equals_that_of_all_assignments(found, by_hand):
    joint = np.exp(by_hand[:2, :2] - logsumexp(by_hand[:2, :2]))
    for name, expected in (("posterior_n_components", joint.sum(1)), ("posterior_n_occupied", joint.sum(0))):
        error = found[f"{name}_error"].to_numpy()
        assert (np.abs(found[name].to_numpy() - expected) < 4 * error + 0.001).all()
    np.testing.assert_allclose(found["filled"], np.exp(np.diagonal(by_hand)[:2] - logsumexp(by_hand[:2], axis=1)), atol=0.02)


def test_partitions_that_fill_all_components_tell_the_evidence_of_every_number(by_hand):
    log_factors = log_partition_factors(len(ROWS), 4, ALPHA)
    exact = [Estimate(np.full(2, logsumexp(row)), np.full(2, row[m]), 0.0, 0, 1) for m, row in enumerate(by_hand[:3])]
    log_prior = np.log([0.4, 0.3, 0.2, 0.1])
    answer = combine(log_prior, log_factors, exact)
    known = by_hand[:, :3]  # partitions into four are left out, of K = 4 alone
    np.testing.assert_allclose(answer.log_evidence, logsumexp(known, axis=1), rtol=1e-9)
    joint = np.exp(log_prior[:, None] + known - logsumexp(log_prior[:, None] + known))
    np.testing.assert_allclose(answer.n_components, joint.sum(1), rtol=1e-8)
    np.testing.assert_allclose(answer.n_occupied[:3], joint.sum(0), rtol=1e-8)


def test_errors_of_the_posterior_are_those_of_repeated_estimates(by_hand, rng):
    log_factors, log_prior = log_partition_factors(len(ROWS), 3, ALPHA), np.full(3, -np.log(3))
    diagonal, error = np.diagonal(by_hand)[:3], 0.05

    def once():
        noisy = [np.log(1 + error * np.sqrt(8) * rng.standard_normal(8)) + value for value in diagonal]
        return combine(log_prior, log_factors, [Estimate(each, each, 0.0, 0, 1) for each in noisy])

    answers = [once() for _ in range(400)]
    for of in (lambda a: a.log_evidence, lambda a: a.n_components, lambda a: a.n_occupied):
        which = int(np.argmax(np.std([of(a) for a in answers], axis=0)))
        place = next(i for i, f in enumerate(answers[0][:3]) if f is of(answers[0]))
        stated = np.mean([a.errors[place][which] for a in answers])
        np.testing.assert_allclose(stated, np.std([of(a)[which] for a in answers]), rtol=0.15)


def test_tempered_smc_equals_the_sum_over_all_assignments_or_says_that_it_has_no_end(target, by_hand, monkeypatch):
    rng = np.random.default_rng(3)
    target, modes = find_modes(target, 32, key=jax.random.key(0))
    proposal, domain, *_ = cover(target, Normals(modes.z, modes.factor, np.log(modes.mass)), inflation=1.2, rng=rng)
    poor = from_factors(
        proposal.log_weights, proposal.centre + 0.7, 0.8 * proposal.factor
    )  # importance weights alone would fail
    particles = tempered_smc(target, poor, domain, 8, 128, rng=rng)
    assert particles.n_temperatures > 1
    assert in_domain(target, domain, particles.z.reshape(-1, particles.z.shape[-1])).all()
    each = np.exp(particles.log_evidence - particles.log_evidence.max())
    error = each.std(ddof=1) / each.mean() / np.sqrt(8)
    expected = logsumexp(by_hand[1]) + len(ROWS) * np.log(scaling.scaling_of(ROWS).scale[0])
    value = np.log(each.mean()) + particles.log_evidence.max() + np.log(2)
    assert error < 0.15
    assert abs(value - expected) < 4 * error

    def with_a_spike(*given):
        log_p, log_q = densities(*given)
        return log_p.at[5].add(1e5), log_q

    densities = smc._log_densities
    monkeypatch.setattr(smc, "_log_densities", with_a_spike)
    monkeypatch.setattr(smc, "_CONSTANTS", replace(smc._CONSTANTS, most=12))
    with pytest.raises(ValueError, match="in 12 steps, and not to one"):
        tempered_smc(target, poor, domain, 8, 128, rng=rng)


def test_each_mixture_has_one_of_its_labellings_in_the_domain(target, rng):
    centre = np.array([0.1, -1.0, 1.0, -0.5, -0.7])
    domain = domain_around(target, centre, 0.3 * np.eye(target.n_dim))
    points = 2 * rng.normal(size=(50, target.n_dim))
    swapped = np.stack([permute(target, z, np.array([1, 0]))[0] for z in points])
    assert (in_domain(target, domain, points) ^ in_domain(target, domain, swapped)).all()
    orders = permutations_into(target, domain, points)
    moved = np.stack([permute(target, z, order)[0] for z, order in zip(points, orders, strict=True)])
    assert in_domain(target, domain, moved).all()
    log_p = jax.jit(lambda z: target.log_posterior(z, jacobian=True))
    for z, other in zip(points[:5], swapped[:5], strict=True):
        np.testing.assert_allclose(log_p(z), log_p(other), rtol=1e-10)


def test_other_units_change_the_evidence_by_their_volume(found):
    model = models.random_k(models.Uniform(), dynamic=False, max_components=2, **OPTIONS)
    other = bgmm.log_evidence(model, 7 - 10 * ROWS, seed=1)
    change = len(ROWS) * np.log(10)
    error = 4 * np.hypot(found["log_evidence_error"], other["log_evidence_error"])
    assert (np.abs(other["log_evidence"] + change - found["log_evidence"]) < error + 0.005).all()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (models.random_k(concentration=1.0), "dynamic=False"),
        (models.dirichlet_process(4), "the same for every K"),
        (models.random_k(dynamic=False), "a number as concentration"),
        (lambda rows: None, r"one of bgmm\.models"),
        (models.finite(9, concentration=1.0), "at least as many rows"),
    ],
)
def test_models_without_an_evidence_are_refused(model, sentence):
    with pytest.raises(ValueError, match=sentence):
        bgmm.log_evidence(model, ROWS)
