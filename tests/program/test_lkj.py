"""Correlation factors against NumPyro's transform and density, and where NumPyro's lose their digits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpyro.distributions import LKJCholesky
from numpyro.distributions.transforms import CorrCholeskyTransform

from bgmm.program.lkj import LKJ, CorrelationFactor
from bgmm.program.trace import bijection


@pytest.mark.parametrize("d", [2, 5])
def test_factor_inverse_and_jacobian_are_numpyros(d):
    x = jnp.asarray(2 * np.random.default_rng(d).normal(size=(3, d * (d - 1) // 2)))
    ours, theirs = CorrelationFactor(), CorrCholeskyTransform()
    L = ours(x)
    assert_allclose(L, theirs(x), rtol=1e-8, atol=1e-14)
    assert_allclose(ours.inv(L), x, rtol=1e-10)
    assert_allclose(ours.log_abs_det_jacobian(x, L), theirs.log_abs_det_jacobian(x, L), rtol=1e-9)


@pytest.mark.parametrize("eta", [0.7, 1.0, 2.5])
def test_density_is_numpyros(eta):
    L = CorrelationFactor()(jnp.asarray(np.random.default_rng(0).normal(size=(3, 6))))
    prior = LKJ(4, eta)
    assert_allclose(prior.log_prob(L), LKJCholesky(4, eta).log_prob(L), rtol=1e-12)
    assert_allclose(prior.expand([3]).to_event(1).log_prob(L), prior.log_prob(L).sum(), rtol=1e-14)


def test_far_from_zero_no_digit_is_lost():
    x = np.array([20.0, -30.0, 5.0])  # rows: (20), (-30, 5)
    L = np.asarray(CorrelationFactor()(jnp.asarray(x)))
    sech = 1 / np.cosh(x)
    expected = [[1, 0, 0], [np.tanh(20), sech[0], 0], [np.tanh(-30), np.tanh(5) * sech[1], sech[1] * sech[2]]]
    assert_allclose(L, expected, rtol=1e-13)
    assert_allclose(CorrelationFactor().inv(jnp.asarray(expected)), x, rtol=1e-13)
    slope = jax.grad(lambda x: jnp.log(jnp.diagonal(CorrelationFactor()(x))).sum())(jnp.asarray(x))
    assert_allclose(slope, -np.tanh(x), rtol=1e-13)  # log L_ii is minus the sum of log cosh


def test_values_and_slopes_stay_finite_where_a_sampler_may_stray():
    x = jnp.array([1e4, -800.0, 3.0])

    def log_jacobian(x):
        return CorrelationFactor().log_abs_det_jacobian(x, jnp.zeros((3, 3)))

    L, (value, slope) = CorrelationFactor()(x), jax.value_and_grad(log_jacobian)(x)
    assert np.isfinite(L).all()
    assert_allclose(value, -(2e4 + 3 * 800 + 2 * 3) + 7 * np.log(2), rtol=1e-6)
    assert_allclose(slope, [-2, 3, -2 * np.tanh(3)], rtol=1e-12)


def test_curvature_at_the_identity_is_exact():
    hessian = jax.hessian(lambda x: CorrelationFactor().log_abs_det_jacobian(x, jnp.zeros((4, 4))))(jnp.zeros(6))
    assert_allclose(hessian, -np.diag([2, 3, 2, 4, 3, 2.0]), atol=1e-14)


def test_sites_in_plates_have_our_transform():
    for prior in (LKJCholesky(3), LKJCholesky(3).expand([2]), LKJCholesky(3).expand([2]).to_event(1)):
        transform = bijection(prior.support)
        x = np.random.default_rng(1).normal(size=(2, 3))
        assert isinstance(getattr(transform, "base_transform", transform), CorrelationFactor)
        assert_allclose(transform.inv(np.asarray(transform(jnp.asarray(x)))), x, rtol=1e-12)
