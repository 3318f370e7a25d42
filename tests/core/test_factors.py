"""Every structure of covariances against the dense computation by NumPy and scipy, and its methods against each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, multivariate_t, t

from bgmm.core.dense import Dense
from bgmm.core.uncorrelated import Diagonal, Spherical

D = 3
STRUCTURES = {"dense": Dense, "diagonal": Diagonal, "spherical": Spherical}


@pytest.fixture(params=STRUCTURES)
def structure(request):
    return STRUCTURES[request.param]


def random_factor(rng, structure):
    if structure is Dense:
        noise = rng.normal(size=(D, D + 3))
        return Dense(jnp.linalg.cholesky(noise @ noise.T / (D + 3)))
    return structure(jnp.asarray(rng.uniform(0.5, 2.0, size=D if structure is Diagonal else ())))


def matrix(factor) -> np.ndarray:
    L = np.asarray(factor.dense(D))
    return L @ L.T


def in_shape(structure, covariance: np.ndarray) -> np.ndarray:
    """A dense covariance in the shape of the structure."""
    if structure is Dense:
        return covariance
    return np.diag(covariance) if structure is Diagonal else np.diag(covariance).mean()


def test_natural_parameters_give_scipys_density(rng, structure):
    factor, mean, x = random_factor(rng, structure), rng.normal(size=D), rng.normal(size=(5, D))
    eta = factor.natural(jnp.log(0.3), jnp.asarray(mean))
    expected = np.log(0.3) + multivariate_normal(mean, matrix(factor)).logpdf(x)
    np.testing.assert_allclose(eta @ factor.statistics(jnp.asarray(x.T)), expected, rtol=1e-12)
    np.testing.assert_allclose(factor.inner(eta, jnp.asarray(x.T)), expected, rtol=1e-12)


@pytest.mark.parametrize("observed", [[1, 0, 1], [0, 0, 1], [0, 0, 0]])
def test_marginal_is_scipys_density_of_the_observed_coordinates(rng, structure, observed):
    factor, mean, x = random_factor(rng, structure), rng.normal(size=D), rng.normal(size=(5, D))
    o = np.flatnonzero(observed)
    eta = factor.marginal(factor.natural(jnp.zeros(()), jnp.asarray(mean)), jnp.asarray(observed, float))
    seen = np.where(np.array(observed) > 0, x, 0.0)
    expected = multivariate_normal(mean[o], matrix(factor)[np.ix_(o, o)]).logpdf(x[:, o]) if o.size else np.zeros(5)
    np.testing.assert_allclose(eta @ factor.statistics(jnp.asarray(seen.T)), expected, rtol=1e-11, atol=1e-12)


def test_missing_coordinates_are_filled_from_the_conditional_law(rng, structure):
    factor, mean = random_factor(rng, structure), rng.normal(size=D)
    observed, n = jnp.array([1.0, 0.0, 0.0]), 40_000
    eta = factor.natural(jnp.zeros(()), jnp.asarray(mean))[None]
    x = jnp.zeros((D, n)).at[0].set(1.3)
    noise = jnp.asarray(rng.normal(size=(D, n)))
    filled = np.asarray(structure.conditional(eta, observed).fill(x, jnp.ones((1, n)), noise))
    sigma = matrix(factor)
    slope = sigma[1:, 0] / sigma[0, 0]
    within = sigma[1:, 1:] - np.outer(slope, sigma[0, 1:])
    np.testing.assert_array_equal(filled[0], 1.3)
    error = 4.5 * np.sqrt(np.diag(within) / n)
    assert (np.abs(filled[1:].mean(1) - (mean[1:] + slope * (1.3 - mean[0]))) < error).all()
    spread = np.sqrt((np.outer(np.diag(within), np.diag(within)) + within**2) / n)  # of a sample covariance
    assert (np.abs(np.cov(filled[1:]) - within) < 4.5 * spread).all()


def test_moments_are_those_of_the_rows(rng, structure):
    x, c = rng.normal(size=(20, D)), rng.uniform(size=20)
    n, mean, covariance = structure.moments(structure.statistics(jnp.asarray(x.T)) @ c)
    expected = np.cov(x.T, aweights=c, ddof=0)
    np.testing.assert_allclose(n, c.sum(), rtol=1e-12)
    np.testing.assert_allclose(mean, np.average(x, axis=0, weights=c), rtol=1e-12)
    np.testing.assert_allclose(covariance, in_shape(structure, expected), rtol=1e-12)


def test_displacing_undoes_relative_coordinates(rng, structure):
    one, other = random_factor(rng, structure), random_factor(rng, structure)
    u = other.relative(one, D)
    assert u.shape == (structure.n_relative(D),)
    np.testing.assert_allclose(matrix(one.displaced(u, D)), matrix(other), rtol=1e-12)
    np.testing.assert_allclose(one.relative(one, D), 0.0, atol=1e-14)


def test_relative_coordinates_have_the_identity_as_fisher_information(rng, structure):
    """The negative expected Hessian of log N at the origin, from the moments of the origin itself."""
    factor, mean = random_factor(rng, structure), jnp.asarray(rng.normal(size=D))
    exact = jax.vmap(factor.colour, in_axes=1, out_axes=1)(np.sqrt(D) * jnp.concatenate([jnp.eye(D), -jnp.eye(D)], axis=1))
    statistics = factor.statistics(mean[:, None] + exact).mean(1)  # of rows with exactly this mean and covariance

    def log_density(u):
        return statistics @ factor.displaced(u[D:], D).natural(jnp.zeros(()), mean + factor.colour(u[:D]))

    hessian = jax.hessian(log_density)(jnp.zeros(D + structure.n_relative(D)))
    np.testing.assert_allclose(hessian, -np.eye(len(hessian)), atol=1e-10)


def test_covariance_at_least_a_floor_is_the_likeliest(rng, structure):
    """Against scipy, which maximises over the raw numbers of the structure; one direction of the rows is under the floor."""
    r = np.array([0.5, 0.8, 0.6])
    sigma = matrix(random_factor(rng, Dense)) * np.outer([1, 0.1, 1], [1, 0.1, 1])
    c = in_shape(structure, sigma)
    found = structure.at_least(jnp.asarray(c), jnp.asarray(r))
    floor = np.diag(r**2) if structure is not Spherical else np.eye(D) * r.max() ** 2
    assert np.linalg.eigvalsh(matrix(found) - floor).min() > -1e-12
    np.testing.assert_allclose(matrix(structure.at_least(jnp.asarray(1e-3 * c), jnp.asarray(r))), floor, rtol=1e-9, atol=1e-12)
    S = matrix(structure.of_covariance(jnp.asarray(c)))

    def loss(above):  # Sigma = floor + B B'
        B = np.zeros((D, D))
        if structure is Dense:
            B[np.tril_indices(D)] = above
        else:
            B = np.diag(np.broadcast_to(above, D))
        total = floor + B @ B.T
        return np.linalg.slogdet(total)[1] + np.trace(np.linalg.solve(total, S))

    size = {Dense: 6, Diagonal: 3, Spherical: 1}[structure]
    best = min(minimize(loss, rng.normal(size=size), tol=1e-12).fun for _ in range(8))
    ours = np.linalg.slogdet(matrix(found))[1] + np.trace(np.linalg.solve(matrix(found), S))
    assert ours < best + 1e-7


def test_other_methods_are_those_of_the_matrix(rng, structure):
    factor, y = random_factor(rng, structure), jnp.asarray(rng.normal(size=D))
    sigma = matrix(factor)
    np.testing.assert_allclose(factor.colour(factor.whiten(y)), y, rtol=1e-12)
    np.testing.assert_allclose(factor.whiten(y) @ factor.whiten(y), y @ np.linalg.solve(sigma, y), rtol=1e-12)
    np.testing.assert_allclose(factor.log_det(D), 0.5 * np.linalg.slogdet(sigma)[1], rtol=1e-12)
    np.testing.assert_allclose(factor.variances(D), np.diag(sigma), rtol=1e-12)
    np.testing.assert_allclose(factor.narrowest(), np.sqrt(np.linalg.eigvalsh(sigma).min()), rtol=1e-12)
    np.testing.assert_allclose(in_shape(structure, sigma), factor.covariance(), rtol=1e-12)
    scale = np.array([2.0, 0.5, 3.0])
    np.testing.assert_allclose(matrix(factor.rescale(scale)), sigma / np.outer(scale, scale), rtol=1e-12)
    added = factor.plus_diagonal(jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(matrix(added), sigma + np.diag([0.1, 0.2, 0.3]), rtol=1e-12)
    A = np.asarray(factor.posterior_scale(jnp.array(7.0), jnp.array([1.0, 2.0, 3.0])))
    A = np.diag(A) if A.ndim == 1 else A
    np.testing.assert_allclose(A @ A.T, np.linalg.inv(7 * np.linalg.inv(sigma) + np.diag([1.0, 2.0, 3.0])), rtol=1e-11)
    assert bool(factor.is_exceeded(1.01 * factor.covariance(), 1.0))
    assert not bool(factor.is_exceeded(0.99 * factor.covariance(), 1.0))


def test_evidence_of_rows_is_that_of_one_after_the_other(rng, structure):
    """Given the rows before, each row has t distributions: one for the row, or one for each of its numbers."""
    rows = rng.normal(size=(6, D))
    rows = np.concatenate([rows, -rows])  # their mean is the known one
    prior = in_shape(structure, matrix(random_factor(rng, structure)))
    n, covariance = len(rows), in_shape(structure, rows.T @ rows / len(rows))
    found = structure.log_evidence(jnp.array(float(n)), jnp.asarray(covariance), jnp.asarray(prior), D)
    m, expected = structure.least_rows(D), 0.0
    if structure is Dense:
        S = m * prior
        for i, row in enumerate(rows):
            expected += multivariate_t(np.zeros(D), S / (m + i - D + 1), df=m + i - D + 1).logpdf(row)
            S = S + np.outer(row, row)
    else:
        variances, count = np.broadcast_to(m * prior, D).copy(), np.full(D, float(m))
        for row in rows:
            for j, value in enumerate(row):
                expected += t(count[j], scale=np.sqrt(variances[j] / count[j])).logpdf(value)
                which = j if structure is Diagonal else slice(None)
                variances[which] += value**2
                count[which] += 1
    np.testing.assert_allclose(found, expected, rtol=1e-10)
