"""Draws in batches of few sizes, so that any number of draws runs in programs that are compiled already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

DRAWS_AT_ONCE = (1, 64, 512)


def batches(draws: Any, sizes: tuple[int, ...] = DRAWS_AT_ONCE) -> Iterator[tuple[int, Any]]:
    """The draws of a pytree of arrays, which have them on the first axis: how many, and these, padded to one of the sizes.

    All batches but the last have the largest size. The last draw fills what is left of the last one.
    """
    n, low = len(jax.tree.leaves(draws)[0]), 0
    while low < n:
        size = next((size for size in sizes if n - low <= size), sizes[-1])
        some = np.minimum(np.arange(low, low + size), n - 1)
        yield min(n - low, size), jax.tree.map(partial(taken, some), draws)
        low += size


def in_batches(function: Callable[[Any], Any], draws: Any) -> Any:
    """``function``, which keeps the axis of draws, of all of them."""
    parts = [jax.tree.map(lambda a: a[:n], jax.device_get(function(some))) for n, some in batches(draws)]  # noqa: B023
    return jax.tree.map(lambda *parts: np.concatenate(parts), *parts)


def split_keys(key: Array, n: int) -> Array:
    """``n`` keys, by programs for powers of two: a key does not depend on how many more are split off."""
    return taken(np.arange(n), jax.random.split(key, 1 << (n - 1).bit_length()))


def taken(some: Int[np.ndarray, " b"], a: Any) -> Any:
    """The draws at these places of an array, keys among them, on the host: indexing by JAX compiles for every number."""
    if isinstance(a, Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(np.asarray(jax.random.key_data(a))[some], impl=jax.random.key_impl(a))
    return np.asarray(a)[some]
