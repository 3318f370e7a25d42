"""The NumPyro distribution: densities against NumPyro's own mixture, shapes under plates, expand and vmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import bgmm
from tests.marks import also_slow
from tests.mixtures import random_mixture


def ours_and_numpyros(rng, batch=(), k=3, d=2):
    draws = [random_mixture(rng, k, d) for _ in range(int(np.prod(batch)))]
    w, mu, L = (np.stack(a).reshape(*batch, *a[0].shape) for a in zip(*draws, strict=True))
    components = dist.MultivariateNormal(mu, scale_tril=L)
    return bgmm.GaussianMixture(np.exp(w), mu, L), dist.MixtureSameFamily(dist.Categorical(logits=w), components)


@pytest.mark.parametrize(
    ("batch", "sample_shape"), also_slow([((), ()), ((4,), (2, 5)), ((2, 3), (2, 5))], [((), ()), ((2, 3), (2, 5))])
)
def test_log_prob_equals_numpyros_mixture(rng, batch, sample_shape):
    ours, theirs = ours_and_numpyros(rng, batch)
    x = theirs.sample(jax.random.key(0), sample_shape)
    assert ours.log_prob(x).shape == sample_shape + batch
    np.testing.assert_allclose(ours.log_prob(x), theirs.log_prob(x), rtol=1e-9)
    assert ours.sample(jax.random.key(1), sample_shape).shape == sample_shape + batch + (2,)


def test_mean_variance_and_samples_agree(rng):
    ours, theirs = ours_and_numpyros(rng)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-12)
    np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-9)
    x = np.asarray(ours.sample(jax.random.key(2), (100_000,)))
    error = np.sqrt(ours.variance / 100_000)
    assert np.all(np.abs(x.mean(0) - ours.mean) < 4.5 * error)
    np.testing.assert_allclose(x.var(0), ours.variance, rtol=0.05)


def test_gradient_with_respect_to_rows_and_parameters_equals_numpyros(rng):
    ours, theirs = ours_and_numpyros(rng)
    x = theirs.sample(jax.random.key(0), (7,))
    np.testing.assert_allclose(
        jax.grad(lambda x: ours.log_prob(x).sum())(x), jax.grad(lambda x: theirs.log_prob(x).sum())(x), rtol=1e-8
    )

    def ours_of(mu):
        return bgmm.GaussianMixture(ours.weights, mu, ours.scale_tril).log_prob(x).sum()

    def theirs_of(mu):
        components = dist.MultivariateNormal(mu, scale_tril=ours.scale_tril)
        return dist.MixtureSameFamily(dist.Categorical(ours.weights), components).log_prob(x).sum()

    np.testing.assert_allclose(jax.grad(ours_of)(ours.means), jax.grad(theirs_of)(ours.means), rtol=1e-8, atol=1e-10)


def test_expand_and_plates_give_one_value_a_row(rng):
    ours, theirs = ours_and_numpyros(rng)
    rows = theirs.sample(jax.random.key(0), (11,))
    assert ours.expand([11]).log_prob(rows).shape == (11,)

    def program(rows):
        with numpyro.plate("observation", 11):
            numpyro.sample("x", ours, obs=rows)

    density, trace = numpyro.infer.util.log_density(program, (rows,), {}, {})
    np.testing.assert_allclose(density, theirs.log_prob(rows).sum(), rtol=1e-9)
    assert trace["x"]["fn"].batch_shape == (11,)


def test_vmap_over_distributions(rng):
    ours, theirs = ours_and_numpyros(rng, (4,))
    x = theirs.sample(jax.random.key(0), (6,))
    per_draw = jax.vmap(lambda one, x: one.log_prob(x), in_axes=(0, 1))(
        jax.vmap(bgmm.GaussianMixture)(ours.weights, ours.means, ours.scale_tril), x
    )
    np.testing.assert_allclose(per_draw, theirs.log_prob(x).T, rtol=1e-9)


def test_single_precision_stays_single(rng):
    ours, _ = ours_and_numpyros(rng)
    single = bgmm.GaussianMixture(*(jnp.asarray(a, jnp.float32) for a in (ours.weights, ours.means, ours.scale_tril)))
    assert single.log_prob(jnp.zeros((3, 2), jnp.float32)).dtype == jnp.float32


def test_the_density_works_in_single_precision_after_double_has_been_used(rng):
    ours, _ = ours_and_numpyros(rng)
    ours.log_prob(jnp.zeros((3, 2)))
    with jax.enable_x64(False):
        plain = bgmm.GaussianMixture(jnp.array([0.3, 0.7]), jnp.array([[0.0], [1.0]]), jnp.ones((2, 1, 1)))
        density = plain.log_prob(jnp.array([[0.5], [2.0]]))
        assert density.dtype == jnp.float32
        assert jax.grad(lambda x: plain.log_prob(x).sum())(jnp.array([[0.5]])).dtype == jnp.float32
    np.testing.assert_allclose(density, np.log(0.3 * norm.pdf([0.5, 2.0]) + 0.7 * norm.pdf([0.5, 2.0], 1)), rtol=1e-5)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"not shapes \(2,\), \(3, 1\) and \(2, 1, 1\)"):
        bgmm.GaussianMixture(jnp.ones(2) / 2, jnp.zeros((3, 1)), jnp.ones((2, 1, 1)))


def test_wrong_weights_are_refused_when_validated():
    with pytest.raises(ValueError, match="weights"):
        bgmm.GaussianMixture(jnp.ones(2), jnp.zeros((2, 1)), jnp.ones((2, 1, 1)), validate_args=True)
