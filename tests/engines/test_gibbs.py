"""The sampler of an unknown number of components: its joint distribution (Geweke 2004), its parts, and its trees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bgmm
from bgmm import models
from bgmm.core import one_pass, scaling
from bgmm.core.gaussian import Parameters, natural
from bgmm.core.slots import Slots, make_slots
from bgmm.engines import gibbs, telescope
from bgmm.engines.frame import make_frame
from bgmm.engines.gibbs import State, Steps

N = 8  # rows of the joint-distribution test


@dataclass(frozen=True)
class Hierarchical:
    """Normals whose precisions share a hyperparameter, as a user would declare them."""

    def declare(self, k, recording_step):
        beta = numpyro.sample("beta", dist.Gamma(3.0, 2.0))
        means = numpyro.sample("means", dist.Normal(0.0, 1.5).expand([k, 1]).to_event(2))
        precisions = numpyro.sample("precisions", dist.Gamma(3.0, beta).expand([k, 1]).to_event(2))
        return means, 1 / jnp.sqrt(precisions)[:, :, None]


def slots_of(model: models.Mixture, x: np.ndarray) -> Slots:
    d = x.shape[1]
    blocks, _ = one_pass.make_blocks(x)
    return make_slots(model, blocks=blocks, scaling=scaling.identity(d), recording_step=np.zeros(d), log_volume=jnp.zeros(()))


def small() -> Slots:
    weights = models.RandomK(models.Uniform(), concentration=models.Gamma(4.0, 3.0), max_components=4)
    return slots_of(models.Mixture(weights, Hierarchical()), np.zeros((N, 1)))


def from_prior(slots: Slots, key) -> State:
    weights = slots.model.weights
    key_h, key_z, key_k, key_alpha, key_w = jax.random.split(key, 5)
    _, h = slots.draw(None, key=key_h)
    z = jax.vmap(lambda key: slots.draw(h, key=key)[0])(jax.random.split(key_z, weights.size))
    k = 1 + jax.random.categorical(key_k, weights.log_prior_k())
    alpha = weights.concentration.distribution().sample(key_alpha)
    w = weights.given(alpha, k).sample(key_w)
    return State(k, jnp.log(w), z, h, jnp.log(alpha))


def data_of(slots: Slots, state: State, key) -> jax.Array:
    key_z, key_x = jax.random.split(key)
    components = jax.vmap(lambda z: slots.component(z, state.h))(state.z)
    z = jax.random.categorical(key_z, state.log_w, shape=(N,))
    return components.mean[z] + components.scale_tril[z, :, 0] * jax.random.normal(key_x, (N, 1))


def functionals(slots: Slots, state: State, x) -> jax.Array:
    """Twelve quantities that no naming of the components changes."""
    components = jax.vmap(lambda z: slots.component(z, state.h))(state.z)
    w, mu, log_sd = jnp.exp(state.log_w), components.mean[:, 0], jnp.log(components.scale_tril[:, 0, 0])
    spread = jnp.log(x.std())
    return jnp.stack(
        [state.k, state.k == 1, state.log_alpha, state.h[0], state.h[0] * spread, w @ w, w @ mu, w @ mu**2, w @ log_sd,
         w @ log_sd**2, x.mean() * (w @ mu), spread]
    )  # fmt: skip


@pytest.fixture(scope="module")
def joint():
    """Means of the functionals over independent draws of prior and data, and the chains that alternate sweeps and data."""
    slots = small()
    frame = make_frame(slots, key=jax.random.key(0))
    steps = Steps(jnp.full(4, -0.5), jnp.array(-0.7))

    @jax.jit
    @jax.vmap
    def independent(key):
        key_state, key_x = jax.random.split(key)
        state = from_prior(slots, key_state)
        return functionals(slots, state, data_of(slots, state, key_x))

    def chains(n: int):
        def of_chain(key):
            key_state, key_x, key_steps = jax.random.split(key, 3)
            state = from_prior(slots, key_state)

            def step(carry, key):
                state, x = carry
                key_sweep, key_x = jax.random.split(key)
                there = replace(slots, blocks=slots.blocks._replace(x=x.T[None]))
                state, *_ = gibbs.sweep(there, frame, state, steps, jnp.ones(()), jnp.zeros(()), 1, key=key_sweep)
                x = data_of(slots, state, key_x)
                return (state, x), functionals(slots, state, x)

            return jax.lax.scan(step, (state, data_of(slots, state, key_x)), jax.random.split(key_steps, n))[1]

        return np.asarray(jax.jit(jax.vmap(of_chain))(jax.random.split(jax.random.key(1), 4)))

    return np.asarray(independent(jax.random.split(jax.random.key(2), 50_000))), chains


def largest_z(joint, n: int) -> float:
    expected, chains = joint[0], joint[1](n)
    z = []
    for j in range(expected.shape[1]):
        error = np.hypot(expected[:, j].std() / np.sqrt(len(expected)), float(az.mcse(chains[..., j], method="mean")))
        z.append(abs(expected[:, j].mean() - chains[..., j].mean()) / error)
    return max(z)


def test_sweeps_that_alternate_with_new_data_leave_the_joint_distribution(joint):
    assert largest_z(joint, 5000) < 4.0  # of 12: over 4 with probability 8e-4


def test_the_probability_of_a_partition_sums_to_one_over_all_partitions():
    """Brute force over all assignments of five rows to K components, K of four, for dynamic and static weights."""
    for dynamic in (False, True):
        weights = models.RandomK(models.Uniform(), concentration=0.8, dynamic=dynamic, max_components=4)
        for k in (1, 2, 3, 4):
            seen = set()
            for z in product(range(k), repeat=5):
                first = {}
                seen.add(tuple(first.setdefault(label, len(first)) for label in z))
            counts = np.stack([np.bincount(blocks, minlength=4) for blocks in seen]).astype(float)
            at = jnp.array([float(k)])
            log_p = jax.vmap(partial(telescope.log_partition, weights), in_axes=(0, None, None))(counts, jnp.array(0.8), at)
            assert float(jnp.exp(log_p).sum()) == pytest.approx(1.0, rel=1e-9)


def test_drawn_missing_values_have_the_conditional_moments(rng):
    mixture = Parameters(
        np.zeros(1),
        np.array([[1.0, -1.0, 0.5]]),
        np.linalg.cholesky(np.array([[[2.0, 0.8, 0.3], [0.8, 1.0, 0.4], [0.3, 0.4, 0.7]]])),
    )
    row = np.array([[1.8, np.nan, np.nan]])
    blocks, _ = one_pass.make_blocks(np.repeat(row, 20_000, axis=0))
    x = one_pass.drawn(natural(mixture), blocks, key=jax.random.key(0)).x
    x = np.asarray(x).transpose(0, 2, 1).reshape(-1, 3)[np.asarray(blocks.weights).reshape(-1) > 0]
    np.testing.assert_array_equal(x[:, 0], 1.8)
    covariance = mixture.scale_tril[0] @ mixture.scale_tril[0].T
    slope = covariance[1:, 0] / covariance[0, 0]
    mean = mixture.means[0, 1:] + slope * 0.8
    within = covariance[1:, 1:] - np.outer(slope, covariance[0, 1:])
    np.testing.assert_allclose(x[:, 1:].mean(0), mean, atol=4 * np.sqrt(within.max() / 20_000))
    np.testing.assert_allclose(np.cov(x[:, 1:].T), within, atol=0.04)


@pytest.fixture(scope="module")
def tree(faithful):
    settings = bgmm.Gibbs(n_draws=300, n_warmup=200, sweeps_per_draw=4)
    return bgmm.fit(models.random_k(max_components=8), faithful, engine=settings, seed=0)


def test_a_fit_answers_how_many_with_a_tree_that_arviz_takes_as_it_is(tree, faithful):
    assert {"n_components", "n_occupied", "concentration"} == set(tree["posterior"].data_vars)
    assert np.isfinite(az.summary(tree, round_to="none")["mean"].astype(float)).all()
    components = tree["components"]
    k, k_plus = (tree["posterior"][name] for name in ("n_components", "n_occupied"))
    np.testing.assert_allclose(components["weights"].sum("cluster"), 1.0)
    np.testing.assert_array_equal((components["weights"] > 0).sum("cluster"), k)
    np.testing.assert_array_equal(components["occupied"].sum("cluster"), k_plus)
    assert all(np.isfinite(variable).all() for variable in components.data_vars.values())
    p = bgmm.n_occupied(tree)
    assert float(p.sum()) == pytest.approx(1.0)
    assert float(p.sel(n_occupied=3)) > 0.4  # .70 in long runs
    assert float(p.sel(n_occupied=1)) < 0.05
    mean = (components["weights"] * components["means"]).sum("cluster").mean(["chain", "draw"])
    np.testing.assert_allclose(mean, faithful.mean(), rtol=0.03)


def test_its_log_likelihood_is_that_of_the_draws_and_adds_up_to_lp(tree):
    total = tree["log_likelihood"]["x"].sum("observation") + 272 * np.log(tree["constant_data"]["scale"]).sum()
    np.testing.assert_allclose(tree["log_prior"]["log_prior"] + total, tree["sample_stats"]["lp"], rtol=1e-6)


def test_the_summary_says_whether_chains_from_different_starts_agree(tree):
    from bgmm.show.summary import summary_text

    text = summary_text(bgmm.relabel(tree))
    assert "occupied components: " in text
    assert "The chains" in text


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        (models.random_k(), {"engine": "nuts"}, "NUTS needs a given number of components, .* use gibbs"),
        (models.random_k(), {"engine": "em"}, "EM needs a given number"),
        (models.finite(2).__call__, {"engine": "gibbs"}, "Gibbs fits a models.Mixture"),
        (models.random_k(), {"weights": np.full(272, 0.5)}, "Gibbs assigns whole rows"),
    ],
)
def test_what_gibbs_cannot_do_is_refused_in_one_sentence(faithful, model, options, says):
    with pytest.raises(ValueError, match=says) as refusal:
        bgmm.fit(model, faithful, **options)
    assert "\n" not in str(refusal.value)


@dataclass(frozen=True)
class Ordered:
    """Components that are not alike: each mean is above the one before it."""

    def declare(self, k, recording_step):
        gaps = numpyro.sample("gaps", dist.HalfNormal(1.0).expand([k, 1]).to_event(2))
        return jnp.cumsum(gaps, axis=0), jnp.ones((k, 1, 1))


def test_components_that_are_not_alike_are_refused():
    with pytest.raises(ValueError, match="components that are alike"):
        slots_of(models.Mixture(models.Dirichlet(2), Ordered()), np.zeros((5, 1)))
