"""The prior of the number of occupied components, against all assignments of a few rows and against draws of weights."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.special import gammaln

import bgmm
from bgmm import models
from bgmm.core.prior_occupied import n_occupied_probabilities
from bgmm.prior import count_prior


def probabilities(weights, n: int, p_k: np.ndarray, *alpha: float) -> np.ndarray:
    """P(K+) of a prior whose p(K) and concentrations are these."""
    k = np.arange(1, len(p_k) + 1)
    return np.asarray(n_occupied_probabilities(weights.new_component, n, k, p_k, np.array(alpha), size=len(p_k)))


def by_enumeration(n: int, k: int, alpha: float) -> np.ndarray:
    """P(K+) from the Dirichlet-multinomial probability of each of the k^n assignments."""
    p = np.zeros(k)
    for z in product(range(k), repeat=n):
        counts = np.bincount(z, minlength=k)
        log_p = gammaln(k * alpha) - gammaln(n + k * alpha) + (gammaln(counts + alpha) - gammaln(alpha)).sum()
        p[np.count_nonzero(counts) - 1] += np.exp(log_p)
    return p


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("alpha", [0.01, 0.7, 3.0])
def test_probabilities_are_those_of_all_assignments(alpha, dynamic):
    p_k = np.array([0.1, 0.3, 0.4, 0.2])
    expected = np.zeros(4)
    for k, p in enumerate(p_k, start=1):
        expected[:k] += p * by_enumeration(6, k, alpha / k if dynamic else alpha)
    found = probabilities(models.RandomK(dynamic=dynamic), 6, p_k, alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.05, 1.0, 4.0])
def test_probabilities_of_a_dirichlet_process_are_those_of_its_restaurant(alpha):
    """With Stirling numbers |s(n, k)|: P(K+ = k) = |s(n, k)| alpha^k / (alpha (alpha + 1) ... (alpha + n - 1))."""
    n = 7
    rising = np.poly1d([1.0])
    for i in range(n):
        rising *= np.poly1d([1.0, i])  # a (a + 1) ... (a + n - 1), whose coefficients are the numbers
    expected = rising.coeffs[::-1][1:] * alpha ** np.arange(1, n + 1) / rising(alpha)
    found = probabilities(models.StickBreaking(), n, np.eye(n)[n - 1], alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_several_concentrations_are_averaged():
    p_k = np.array([0.2, 0.5, 0.3])
    each = [probabilities(models.RandomK(), 9, p_k, a) for a in (0.2, 5.0)]
    np.testing.assert_allclose(probabilities(models.RandomK(), 9, p_k, 0.2, 5.0), np.mean(each, axis=0))


def test_the_prior_of_a_model_is_that_of_simulated_rows(rng):
    k, alpha, n, times = 6, 0.3, 80, 20_000
    w = rng.dirichlet(np.full(k, alpha), size=times)
    z = (rng.uniform(size=(times, n, 1)) > np.cumsum(w, axis=1)[:, None, :-1]).sum(2)
    occupied = np.array([len(set(own)) for own in z])
    prior = bgmm.prior_n_occupied(models.finite(k, concentration=alpha), n)
    for count in range(1, k + 1):
        p = float(prior.sel(n_occupied=count))
        assert abs(np.mean(occupied == count) - p) < 4 * np.sqrt(p * (1 - p) / times) + 1e-4


def test_a_million_rows_cost_a_moment_and_no_digits():
    p = bgmm.prior_n_occupied(models.sparse(8), 1_000_000).to_numpy()
    assert p.sum() == pytest.approx(1, abs=1e-9)
    # all rows in the first m of 8 components has the probability E[W^n], W ~ Beta(m a, (8 - m) a): of one component exactly
    one = 8 * np.exp(gammaln(0.01 + 1e6) - gammaln(0.01) + gammaln(0.08) - gammaln(0.08 + 1e6))
    assert p[0] == pytest.approx(one, rel=1e-6)


def test_a_tree_holds_the_prior_unless_the_rows_are_so_many_that_it_takes_long():
    assert "prior_n_occupied" in count_prior(models.RandomK(), 1000)
    assert list(count_prior(models.RandomK(), 10_000_000)) == ["prior_n_components"]
    assert "prior_n_occupied" in count_prior(models.Dirichlet(3), 1_000_000)


def test_programs_of_ones_own_and_no_rows_are_refused():
    with pytest.raises(ValueError, match=r"one of bgmm.models"):
        bgmm.prior_n_occupied(lambda rows: None, 10)
    with pytest.raises(ValueError, match="n must be a whole number"):
        bgmm.prior_n_occupied(models.finite(2), 0)
