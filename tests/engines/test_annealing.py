"""Weights of annealed paths have the distributions, forwards and backwards, that make acceptances with them exact."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from bgmm import models
from bgmm.core.in_memory import in_memory
from bgmm.engines.gibbs import annealing
from bgmm.engines.gibbs.reference import conditions_at, log_density, one, summarise_prior
from bgmm.program.declare import make_target

ROWS = np.array([[-0.5, 0.4], [0.9, -0.3], [0.3, 1.0]])


@pytest.fixture(scope="module")
def cluster():
    """Conditions, statistics of the rows, draws of the posterior and the evidence, both from a million draws of the prior."""
    model = models.random_k(max_components=3, components=models.Gaussian())
    target = make_target(model, ROWS[:1], rows=in_memory(ROWS)[0], scaling=None, recording_step=np.zeros(2))
    prior = summarise_prior(target, key=jax.random.key(0))
    fixed = conditions_at(target, prior, prior.shared, jnp.ones(()))
    statistics = one(fixed.reference.origin).statistics(jnp.asarray(ROWS).T).sum(1)

    @jax.jit
    @jax.vmap
    def from_prior(key):
        z, _ = target.draw_component(fixed.h, key=key)
        return z, log_density(fixed, z, statistics) - target.component(z, fixed.h).log_density

    z, log_w = (np.asarray(a) for a in from_prior(jax.random.split(jax.random.key(1), 1_000_000)))
    w = np.exp(log_w - log_w.max())
    assert np.square(w.sum()) / np.square(w).sum() > 10_000  # effective draws
    chosen = np.random.default_rng(2).choice(len(z), 4000, p=w / w.sum())
    return fixed, statistics, jnp.asarray(z[chosen]), np.log(w.mean()) + log_w.max()


@pytest.mark.slow
@pytest.mark.parametrize(("numbers", "paths"), [(5, 1), (1, 10)], ids=["one factor", "two paths of five factors"])
def test_weights_forwards_and_backwards_are_distributed_as_one_another(cluster, numbers, paths, monkeypatch):
    """With r = w / evidence, the mean of g(r) backwards is that of r g(r) forwards, for any g (Crooks 1999)."""
    fixed, statistics, posterior, log_evidence = cluster
    monkeypatch.setattr(annealing, "CONSTANTS", replace(annealing.CONSTANTS, numbers=numbers, paths=paths))

    @jax.jit
    def log_weights(exists):
        keys = jax.random.split(jax.random.key(3), len(posterior))
        return jax.vmap(lambda z, key: annealing.annealed(fixed, statistics, z, exists, key=key)[1][0])(posterior, keys)

    forwards, backwards = (np.asarray(log_weights(jnp.array(exists))) - log_evidence for exists in (False, True))
    for shift in (-1.0, 0.0, 1.0):
        f, b = expit(forwards - shift) * np.exp(shift), expit(shift - backwards)  # g = 1 / (1 + r exp(-shift))
        error = np.hypot(f.std(), b.std()) / np.sqrt(len(f))
        assert abs(f.mean() - b.mean()) < 4 * error + 0.005  # the evidence is known to 1 %
