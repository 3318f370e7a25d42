"""Blocks on two devices (tests/conftest.py) say what the same blocks say on one."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bgmm.core import devices, kernel
from bgmm.core.in_memory import in_memory
from tests.mixtures import random_mixture, sample


@pytest.fixture(params=["complete", "missing"])
def spread_and_not(request, rng):
    mixture = random_mixture(rng, 3, 2)
    x = sample(rng, mixture, 500)[0]
    if request.param == "missing":
        x[rng.random(x.shape) < 0.3] = np.nan
    rows, position = in_memory(x, rng.uniform(0, 2, 500), size=8)
    assert rows.devices.n == len(rows.x.sharding.device_set) == 2
    gathered = rows.on_one_device()
    assert gathered.devices.n == len(gathered.x.sharding.device_set) == 1
    return mixture.mixture.natural(), rows, gathered, position


def test_value_and_statistics_are_those_of_one_device(spread_and_not):
    natural, *both, _ = spread_and_not
    found, expected = (jax.tree.leaves(kernel.expected_statistics(natural, rows)) for rows in both)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("spread_and_not", ["complete"], indirect=True)
def test_second_derivatives_are_those_of_one_device_either_way_they_are_taken(spread_and_not):
    natural, spread, gathered, _ = spread_and_not

    def of(rows):
        return lambda a: kernel.log_likelihood(replace(natural, eta=(1 + a) * natural.eta), rows)

    expected = jax.grad(jax.grad(of(gathered)))(0.1)
    for twice in (jax.hessian, lambda f: jax.grad(jax.grad(f)), lambda f: jax.jvp(jax.grad(f), (0.1,), (1.0,))[1]):
        found = twice(of(spread))
        np.testing.assert_allclose(found(0.1) if callable(found) else found, expected, rtol=1e-9)


def test_rows_come_back_in_their_places(spread_and_not):
    natural, *both, position = spread_and_not
    for function in (kernel.log_likelihood_of_rows, kernel.responsibilities):
        found, expected = (np.asarray(jax.jit(function)(natural, rows))[position] for rows in both)
        np.testing.assert_allclose(found, expected, rtol=1e-11)
    z, expected = (kernel.assignments(natural, rows, key=jax.random.key(0)) for rows in both)
    np.testing.assert_array_equal(z, expected)


@pytest.mark.parametrize("spread_and_not", ["complete"], indirect=True)
def test_a_batch_of_mixtures_is_one_after_the_other(spread_and_not):
    natural, spread, gathered, _ = spread_and_not
    etas = jnp.stack([natural.eta, natural.eta[::-1], 0.9 * natural.eta])

    def of(rows):
        return lambda eta: kernel.log_likelihood(replace(natural, eta=eta), rows)

    np.testing.assert_allclose(jax.vmap(of(spread))(etas), [of(gathered)(eta) for eta in etas], rtol=1e-11)


def test_few_blocks_stay_on_one_device(rng):
    assert in_memory(rng.normal(size=(200, 2)))[0].devices.n == 1


@pytest.mark.parametrize("n", [1, 3, 4])
def test_items_shared_out_come_back_in_order(n):
    np.testing.assert_array_equal(devices.map_on_each(jnp.square, jnp.arange(n)), np.arange(n) ** 2)
    keys = jax.random.split(jax.random.key(0), n)
    found = devices.map_on_each(lambda item: item["i"] + jax.random.bits(item["key"]), {"i": jnp.arange(n), "key": keys})
    np.testing.assert_array_equal(found, jnp.arange(n) + jax.vmap(jax.random.bits)(keys))
