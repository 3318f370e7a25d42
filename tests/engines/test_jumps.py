"""Jumps leave the posterior as it is: with them and without, the sampler answers the same, unless a fault is planted."""

from __future__ import annotations

from dataclasses import replace

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.core.in_memory import in_memory
from bgmm.engines.chains import after_warmup
from bgmm.engines.gibbs import engine
from bgmm.engines.gibbs import jumps as jumps_module
from bgmm.engines.gibbs.engine import Chains, first_states
from bgmm.engines.gibbs.jumps import Jumps, OfSize
from bgmm.engines.gibbs.reference import summarise_prior
from bgmm.program.declare import make_target
from bgmm.program.parts import from_parts, parts_of

CHAINS = 8


@pytest.fixture(scope="module")
def target():
    """Twelve rows of two clusters that can be told apart or not, or of three; the components share their scale."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(-1.2, 0.7, 7), rng.normal(1.5, 0.7, 5)])[:, None]
    model = models.random_k(components=models.Gaussian(tied=True), max_components=4)
    return make_target(model, x[:1], rows=in_memory(x)[0], scaling=None, recording_step=np.zeros(1))


@pytest.fixture(scope="module")
def chains(target):
    """Chains with one sweep between two jumps, so that a fault in these shows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CONSTANTS", replace(engine.CONSTANTS, chunk=1))
        yield settled(target)


def settled(target) -> Chains:
    prior = summarise_prior(target, key=jax.random.key(0))
    states = first_states(target, prior, CHAINS, key=jax.random.key(1))
    chains = Chains(target, prior, bgmm.Gibbs(sweeps_per_draw=3), states, key=jax.random.key(2))
    for _ in chains.draw(200, 0):
        pass
    return chains


@pytest.fixture(scope="module")
def expected(chains):
    return functionals(chains, 3000)


def functionals(chains: Chains, n: int, jumps: Jumps | None = None) -> np.ndarray:
    """Quantities that no naming of the components changes: (chain, draw, 7)."""
    (record,) = after_warmup(chains.draw(0, n, jumps=jumps), 0, [n])
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


def largest_z(found: np.ndarray, expected: np.ndarray) -> float:
    z = []
    for j in range(found.shape[-1]):
        errors = [float(az.mcse(values[..., j], method="mean")) for values in (found, expected)]
        z.append(abs(found[..., j].mean() - expected[..., j].mean()) / np.hypot(*errors))
    return max(z)


def test_jumps_leave_the_posterior_as_it_is(target, chains, expected):
    jumps = Jumps(target, key=jax.random.key(5))
    found = functionals(chains, 600, jumps)
    assert largest_z(found, expected) < 4.0  # of 7: over 4 with probability 5e-4
    assert found[..., 2].std() > 0.3  # else nothing was tested


def _unlabelled(monkeypatch):
    monkeypatch.setattr(jumps_module, "log_n_labellings", lambda target, domain: 0.0)


def _probabilities_of_sizes_upside_down(monkeypatch):
    original = Jumps._log_ratio

    def log_ratio(self, *given):
        probability, self._probability = self._probability, 1 / self._probability
        value = original(self, *given)
        self._probability = probability
        return value

    monkeypatch.setattr(Jumps, "_log_ratio", log_ratio)


@pytest.mark.parametrize(
    ("fault", "n"), [(_unlabelled, 300), (_probabilities_of_sizes_upside_down, 700)], ids=["labels", "sizes"]
)
def test_planted_faults_are_found(target, chains, expected, fault, n, monkeypatch):
    jumps = Jumps(target, key=jax.random.key(5))
    fault(monkeypatch)
    assert largest_z(functionals(chains, n, jumps), expected) > 6.0


def test_a_vector_is_its_parts(target, rng):
    of_three = jumps_module.with_components(target, 3)
    z = rng.normal(size=(5, of_three.n_dim))
    each, h = parts_of(of_three, z)
    for i in range(5):
        log_w = np.asarray(of_three.mixture(jnp.asarray(z[i])).log_weights)
        np.testing.assert_allclose(from_parts(of_three, log_w, each[i], h[i]), z[i], rtol=1e-9)


def test_a_proposal_is_not_used_twice(target):
    jumps = Jumps(target, key=jax.random.key(6))
    assert isinstance(jumps._sizes[0], OfSize)
    taken = np.concatenate([jumps._next(50).h[:, 0] for _ in range(60)])
    assert len(np.unique(taken)) == len(taken)


@pytest.mark.filterwarnings("ignore:in .* of the draws all", "ignore:the chains do not agree")
def test_a_fit_with_jumps_tells_of_them(rng):
    x = np.concatenate([rng.normal(-2, 1, (20, 1)), rng.normal(2, 1, (20, 1))])
    model = models.random_k(components=models.Gaussian(tied=True), max_components=2)
    tree = bgmm.fit(model, x, bgmm.Gibbs(n_draws=100, n_warmup=60, n_chains=2, jumps=True))
    assert 0.1 < float(tree["sample_stats"]["jump_accepted"].mean()) <= 1.0
