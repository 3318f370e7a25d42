"""The kernel against scipy, against brute force, and against its own invariances."""

from __future__ import annotations

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from jax.scipy.stats import multivariate_normal

from bgmm.core import kernel
from bgmm.core.dense import Dense
from bgmm.core.gaussians import Linear
from bgmm.core.in_memory import InMemory, in_memory
from bgmm.core.scaling import scaling_of
from bgmm.posterior.evaluate import at_rows, log_likelihoods
from tests.marks import also_slow
from tests.mixtures import Parameters, log_density, log_joint, random_mixture, sample

QUICK = {(1, 1), (2, 3), (5, 10), (20, 3)}  # each shape is compiled anew
SHAPES = also_slow(product((1, 2, 5, 20), (1, 3, 10)), QUICK)


places_of = jax.jit(kernel.log_likelihood_of_rows)
expected_statistics = jax.jit(kernel.expected_statistics)
responsibilities_of = jax.jit(kernel.responsibilities)


def rows_of(x, weights=None, **options) -> InMemory:
    return in_memory(x, weights, **options)[0]


@partial(jax.jit, static_argnames="centred")
def natural(mixture: Parameters, centred: bool = False) -> Linear:
    return mixture.mixture.natural(centred=centred)


def statistics_of(mixture: Linear, rows: InMemory) -> tuple[jax.Array, jax.Array]:
    """Log likelihood and S."""
    value, derivative = expected_statistics(mixture, rows)
    return value, derivative.eta


def density_of(mixture: Linear, x, **options) -> np.ndarray:
    """log p of each row, in their order."""
    rows, position = in_memory(x, **options)
    return np.asarray(places_of(mixture, rows))[position]


moments = jax.jit(jax.vmap(Dense.moments))


@pytest.mark.parametrize("block_size", [1, 7, 50, 64, 100, 1000, None])
def test_block_size_changes_nothing(rng, block_size):
    mixture = random_mixture(rng, 3, 2)
    x = sample(rng, mixture, 100)[0]
    expected = log_density(mixture, x)
    np.testing.assert_allclose(density_of(natural(mixture), x, size=block_size), expected, rtol=1e-9)
    np.testing.assert_allclose(statistics_of(natural(mixture), rows_of(x, size=block_size))[0], expected.sum(), rtol=1e-9)


@pytest.mark.parametrize(("d", "k"), SHAPES)
@pytest.mark.parametrize("centred", [False, True])
def test_sum_and_statistics_equal_brute_force(rng, d, k, centred):
    mixture = random_mixture(rng, k, d)
    x = sample(rng, mixture, 130)[0]
    weights = rng.uniform(0, 2, size=130)
    joint = log_joint(mixture, x)
    log_p = log_density(mixture, x)
    np.testing.assert_allclose(density_of(natural(mixture, centred), x, size=32), log_p, rtol=1e-9)
    value, statistics = statistics_of(natural(mixture, centred), rows_of(x, weights, size=32))
    np.testing.assert_allclose(value, weights @ log_p, rtol=1e-9)

    r = weights[:, None] * np.exp(joint - log_p[:, None])
    counts, means, covariances = moments(statistics)
    about = mixture.means if centred else np.zeros((k, d))
    shifted = x[:, None, :] - about[None]
    expected_means = np.einsum("nk,nkd->kd", r, shifted) / r.sum(0)[:, None]
    deviation = shifted - expected_means[None]
    np.testing.assert_allclose(counts, r.sum(0), rtol=1e-9)
    np.testing.assert_allclose(means, expected_means, rtol=1e-9, atol=1e-10)
    expected_covariances = np.einsum("nk,nki,nkj->kij", r, deviation, deviation) / r.sum(0)[:, None, None]
    np.testing.assert_allclose(covariances, expected_covariances, rtol=1e-9, atol=1e-10)


def naive(flat, x, k, d):
    """Log likelihood of rows by jax's own normal density, in the coordinates of ``flatten``."""
    log_w, mu, L = flat[:k], flat[k : k + k * d].reshape(k, d), flat[k + k * d :].reshape(k, d, d)
    joint = jax.vmap(lambda w, m, c: w + multivariate_normal.logpdf(x, m, c @ c.T))(log_w, mu, jnp.tril(L))
    return logsumexp(joint, axis=0).sum()


def ours(flat, rows, k, d, centred):
    mixture = Parameters(flat[:k], flat[k : k + k * d].reshape(k, d), jnp.tril(flat[k + k * d :].reshape(k, d, d)))
    return kernel.log_likelihood(natural(mixture, centred), rows)


@pytest.mark.parametrize(("d", "k"), SHAPES)
@pytest.mark.parametrize("centred", [False, True])
def test_gradient_equals_automatic_differentiation_of_the_naive_density(rng, d, k, centred):
    mixture = random_mixture(rng, k, d)
    x = sample(rng, mixture, 60)[0]
    flat = jnp.concatenate([jnp.ravel(jnp.asarray(a)) for a in mixture])
    with jax.numpy_rank_promotion("allow"):  # jax's own density promotes ranks
        expected = jax.jit(jax.grad(naive), static_argnums=(2, 3))(flat, jnp.asarray(x), k, d)
    rows = rows_of(x, size=25)
    gradient = jax.jit(jax.grad(ours), static_argnums=(2, 3, 4))(flat, rows, k, d, centred)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(("d", "k"), also_slow([(1, 1), (1, 10), (2, 3), (5, 3)], {(2, 3)}))
def test_hessian_equals_automatic_differentiation_of_the_naive_density(rng, d, k):
    mixture = random_mixture(rng, k, d)
    x = sample(rng, mixture, 40)[0]
    flat = jnp.concatenate([jnp.ravel(jnp.asarray(a)) for a in mixture])
    with jax.numpy_rank_promotion("allow"):
        expected = jax.jit(jax.hessian(naive), static_argnums=(2, 3))(flat, jnp.asarray(x), k, d)
    rows = rows_of(x, size=25)
    hessian = jax.jit(jax.hessian(ours), static_argnums=(2, 3, 4))(flat, rows, k, d, False)
    np.testing.assert_allclose(hessian, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def in_the_users_units(mixture: Parameters, x: np.ndarray) -> np.ndarray:
    """Row log likelihoods as every question to a tree computes them: scaled, about own centres when need be."""
    scaling = scaling_of(x)
    standard = jax.tree.map(lambda a: np.asarray(a)[None], scaling.into(mixture.mixture))
    return log_likelihoods(at_rows(standard, scaling, x))[0]


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e7])
def test_an_offset_of_the_data_costs_no_digits(rng, offset):
    mixture = random_mixture(rng, 3, 5)
    mixture = mixture._replace(means=mixture.means + offset)
    x = sample(rng, mixture, 100)[0]
    np.testing.assert_allclose(in_the_users_units(mixture, x), log_density(mixture, x), rtol=1e-9)


@pytest.mark.parametrize("tightness", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_tight_components_far_apart_cost_no_digits(rng, tightness):
    mixture = random_mixture(rng, 4, 3, spread=1.0, scale=tightness)
    x = sample(rng, mixture, 100)[0]
    np.testing.assert_allclose(in_the_users_units(mixture, x), log_density(mixture, x), rtol=1e-9)


def test_shared_statistics_lose_digits_where_centred_ones_do_not(rng):
    """The fault that the guard is for: it must be there to be guarded against."""
    mixture = random_mixture(rng, 4, 3, spread=1.0, scale=1e-5)
    x = sample(rng, mixture, 100)[0]
    expected = log_density(mixture, x)
    shared, own = (density_of(natural(mixture, centred), x) for centred in (False, True))
    assert np.abs(shared / expected - 1).max() > 1e-7
    assert np.abs(own / expected - 1).max() < 1e-9
    assert mixture.mixture.components.needs_centres()


def test_weight_two_equals_the_row_twice_and_weight_zero_its_absence(rng):
    mixture = random_mixture(rng, 3, 2)
    x = sample(rng, mixture, 50)[0]
    counts = rng.integers(0, 3, size=50)
    weighted = statistics_of(natural(mixture), rows_of(x, counts.astype(float)))
    repeated = statistics_of(natural(mixture), rows_of(np.repeat(x, counts, axis=0)))
    for a, b in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)


def with_gaps(rng, x: np.ndarray, share: float = 0.3) -> np.ndarray:
    return np.where(rng.uniform(size=x.shape) < share, np.nan, x)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("centred", [False, True])
def test_missing_values_are_marginalised(rng, d, centred):
    mixture = random_mixture(rng, 3, d)
    x = with_gaps(rng, sample(rng, mixture, 80)[0])
    rows, position = in_memory(x)
    joint, expected = log_joint(mixture, x), log_density(mixture, x)
    np.testing.assert_allclose(density_of(natural(mixture, centred), x), expected, rtol=1e-9, atol=1e-9)
    found = responsibilities_of(natural(mixture, centred), rows)[position]
    np.testing.assert_allclose(found, np.exp(joint - expected[:, None]), rtol=1e-9, atol=1e-12)


def test_statistics_of_missing_values_are_their_conditional_expectations(rng):
    mixture = random_mixture(rng, 2, 3)
    x = with_gaps(rng, sample(rng, mixture, 40)[0])
    _, statistics = statistics_of(natural(mixture), rows_of(x))
    r = np.exp(log_joint(mixture, x) - log_density(mixture, x)[:, None])
    first, second = np.zeros((2, 3)), np.zeros((2, 3, 3))
    for row, r_n in zip(x, r, strict=True):
        o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        for k in range(2):
            mu, sigma = mixture.means[k], mixture.scale_tril[k] @ mixture.scale_tril[k].T
            gain = sigma[np.ix_(m, o)] @ np.linalg.inv(sigma[np.ix_(o, o)]) if o.size else np.zeros((m.size, 0))
            filled, spread = row.copy(), np.zeros((3, 3))
            filled[m] = mu[m] + gain @ (row[o] - mu[o])
            spread[np.ix_(m, m)] = sigma[np.ix_(m, m)] - gain @ sigma[np.ix_(o, m)]
            first[k] += r_n[k] * filled
            second[k] += r_n[k] * (np.outer(filled, filled) + spread)
    counts, means, covariances = moments(statistics)
    np.testing.assert_allclose(counts, r.sum(0), rtol=1e-9)
    np.testing.assert_allclose(means * counts[:, None], first, rtol=1e-8, atol=1e-9)
    uncentred = covariances + means[:, :, None] * means[:, None, :]
    np.testing.assert_allclose(uncentred * counts[:, None, None], second, rtol=1e-8, atol=1e-9)


def test_assignments_are_drawn_from_the_responsibilities(rng):
    mixture = random_mixture(rng, 3, 2, spread=1.0)
    x = with_gaps(rng, sample(rng, mixture, 30)[0])
    rows, position = in_memory(x)
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.vmap(lambda key: kernel.assignments(natural(mixture), rows, key=key))(keys)
    frequency = (np.asarray(draws)[:, position, None] == np.arange(3)).mean(0)
    p = np.asarray(kernel.responsibilities(natural(mixture), rows))[position]
    z = (frequency - p) / np.sqrt(np.maximum(p * (1 - p), 1e-6) / 20_000)
    assert np.abs(z).max() < 4.5  # 90 z scores: over 4.5 with probability 6e-4


def test_permuting_components_changes_nothing(rng):
    mixture = random_mixture(rng, 4, 3)
    x = sample(rng, mixture, 50)[0]
    order = rng.permutation(4)
    permuted = Parameters(*(a[order] for a in mixture))
    one, other = (kernel.log_likelihood(natural(m), rows_of(x)) for m in (mixture, permuted))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_neither_responsibilities_nor_statistics_of_the_rows_are_held_in_memory(rng):
    n, d, k = 200_000, 8, 16
    mixture, rows = random_mixture(rng, k, d), rows_of(rng.normal(size=(n, d)))
    compiled = expected_statistics.lower(natural(mixture), rows).compile()
    needed = compiled.memory_analysis().temp_size_in_bytes
    assert needed < 4e6 < 8 * n * k  # 26 MB of responsibilities, 72 MB of T(x)
