"""Calls side by side give what calls in turn give."""

import threading

import jax
import jax.numpy as jnp
import pytest

from bgmm.core.threads import side_by_side


@jax.jit
def _third(x):
    return x / 3


def test_the_first_round_is_in_turn_and_later_ones_are_in_threads_with_the_same_settings_and_results():
    where = []

    def function(x, y):
        where.append(threading.get_ident())
        return _third(jnp.asarray(x)) + y

    with jax.enable_x64(True), side_by_side() as each:
        rounds = [[float(value) for value in each(function, [1.0, 2.0], [0.0, 1.0])] for _ in range(2)]
    assert rounds == [[1.0 / 3, 2.0 / 3 + 1]] * 2  # in double precision
    assert where[:2] == [threading.get_ident()] * 2
    assert threading.get_ident() not in where[2:]


def test_an_error_in_a_thread_reaches_the_caller():
    def function(x):
        return 1 / x

    with side_by_side() as each:
        each(function, [1])
        with pytest.raises(ZeroDivisionError):
            each(function, [1, 0])
