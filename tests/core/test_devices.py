"""Blocks on two devices (tests/conftest.py) say what the same blocks say on one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bgmm.core import devices, gaussian, one_pass
from bgmm.core.blocks import make_blocks
from bgmm.core.gaussian import Parameters
from tests.mixtures import random_mixture, sample


@pytest.fixture(params=["complete", "missing"])
def spread_and_not(request, rng):
    mixture = random_mixture(rng, 3, 2)
    x = sample(rng, mixture, 500)[0]
    if request.param == "missing":
        x[rng.random(x.shape) < 0.3] = np.nan
    blocks, position = make_blocks(x, rng.uniform(0, 2, 500), block_size=8)
    assert blocks.devices.n == len(blocks.x.sharding.device_set) == 2
    gathered = {name: jnp.asarray(np.asarray(getattr(blocks, name))) for name in ("x", "weights", "pattern")}
    eta = gaussian.natural(Parameters(*(jnp.asarray(a) for a in mixture)))
    return eta, blocks, blocks._replace(devices=devices.Devices(1), **gathered), position


def test_value_and_statistics_are_those_of_one_device(spread_and_not):
    eta, spread, gathered, _ = spread_and_not
    for found, expected in zip(*(one_pass.expected_statistics(eta, blocks) for blocks in (spread, gathered)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("spread_and_not", ["complete"], indirect=True)
def test_second_derivatives_are_those_of_one_device_either_way_they_are_taken(spread_and_not):
    eta, spread, gathered, _ = spread_and_not

    def of(blocks):
        return lambda a: one_pass.log_likelihood((1 + a) * eta, blocks)

    expected = jax.grad(jax.grad(of(gathered)))(0.1)
    for twice in (jax.hessian, lambda f: jax.grad(jax.grad(f)), lambda f: jax.jvp(jax.grad(f), (0.1,), (1.0,))[1]):
        found = twice(of(spread))
        np.testing.assert_allclose(found(0.1) if callable(found) else found, expected, rtol=1e-9)


def test_rows_come_back_in_their_places(spread_and_not):
    eta, spread, gathered, position = spread_and_not
    for function in (one_pass.log_likelihood_places, one_pass.responsibilities):
        found, expected = (np.asarray(jax.jit(function)(eta, blocks))[position] for blocks in (spread, gathered))
        np.testing.assert_allclose(found, expected, rtol=1e-11)
    z, expected = (one_pass.assignments(eta, blocks, key=jax.random.key(0)) for blocks in (spread, gathered))
    np.testing.assert_array_equal(z, expected)


@pytest.mark.parametrize("spread_and_not", ["complete"], indirect=True)
def test_a_batch_of_mixtures_is_one_after_the_other(spread_and_not):
    eta, spread, gathered, _ = spread_and_not
    etas = jnp.stack([eta, eta[::-1], 0.9 * eta])
    found = jax.vmap(lambda e: one_pass.log_likelihood(e, spread))(etas)
    np.testing.assert_allclose(found, [one_pass.log_likelihood(e, gathered) for e in etas], rtol=1e-11)


def test_few_blocks_stay_on_one_device(rng):
    assert make_blocks(rng.normal(size=(200, 2)))[0].devices.n == 1


@pytest.mark.parametrize("n", [1, 3, 4])
def test_items_shared_out_come_back_in_order(n):
    np.testing.assert_array_equal(devices.map_on_each(jnp.square, jnp.arange(n)), np.arange(n) ** 2)
    keys = jax.random.split(jax.random.key(0), n)
    found = devices.map_on_each(lambda item: item["i"] + jax.random.bits(item["key"]), {"i": jnp.arange(n), "key": keys})
    np.testing.assert_array_equal(found, jnp.arange(n) + jax.vmap(jax.random.bits)(keys))
