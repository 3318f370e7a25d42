"""Draws in batches: every draw comes once, and keys do not depend on how many are split off."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from bgmm.core.batches import in_batches, split_keys, taken
from tests.programs import compiled


@pytest.mark.parametrize("n", [1, 2, 64, 65, 600])
def test_every_draw_comes_once_and_in_its_place(n):
    x, keys = np.arange(3.0 * n).reshape(n, 3), jax.random.split(jax.random.key(1), n)
    found = in_batches(lambda of: (2 * of[0], jax.random.key_data(of[1])), (x, keys))
    np.testing.assert_array_equal(found[0], 2 * x)
    np.testing.assert_array_equal(found[1], jax.random.key_data(keys))


@pytest.mark.parametrize("n", [1, 2, 5, 8, 100])
def test_keys_are_those_of_jax_whatever_their_number(n):
    key = jax.random.key(7)
    np.testing.assert_array_equal(jax.random.key_data(split_keys(key, n)), jax.random.key_data(jax.random.split(key, n)))


def test_other_numbers_of_keys_compile_nothing():
    split_keys(jax.random.key(0), 70_000)  # numbers that no other test has
    with compiled() as programs:
        taken(np.array([3, 7]), split_keys(jax.random.key(0), 80_000))
        same = len(programs)
        split_keys(jax.random.key(0), 140_000)
    assert same == 0
    assert len(programs) > 0  # the count can rise
