"""The prior of the number of occupied components K+ among n rows.

With the weights summed out, row n + 1 opens a new component with a probability p(n, j, alpha, K) that depends on the first n
rows only through the number j of components that they occupy. So K+ is a Markov chain in the number of rows,

    P_n+1(j) = P_n(j) (1 - p(n, j, alpha, K)) + P_n(j - 1) p(n, j - 1, alpha, K),    P_1(1) = 1,

and its probabilities follow in n steps without a logarithm or a cancellation. Greve, Gruen, Malsiner-Walli and
Fruehwirth-Schnatter (2022), "Spying on the prior of the number of data clusters", compute the same by other recursions.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bgmm.core.factor import AnyArray


def n_occupied_probabilities(
    new_component: Callable[..., Array],
    n: int | Int[Array, ""],
    k: Int[AnyArray, " k"],
    p_k: Float[AnyArray, " k"],
    concentration: Float[AnyArray, " a"],
    *,
    size: int,
) -> Float[Array, " size"]:
    """P(K+ = 1), ..., P(K+ = size) for n rows.

    :param new_component: p as a function of n, j, alpha and K.
    :param n: rows.
    :param k: numbers of components K.
    :param p_k: their probabilities.
    :param concentration: equally probable values of alpha.
    :param size: the largest K.
    """
    alpha, k, p_k = jnp.asarray(concentration), jnp.asarray(k), jnp.asarray(p_k)
    occupied = jnp.arange(1, size + 1)
    of_each = jax.vmap(new_component, in_axes=(None, 0, None, None))
    of_each = jax.vmap(of_each, in_axes=(None, None, None, 0))
    of_each = jax.vmap(of_each, in_axes=(None, None, 0, None))  # axes alpha, K, j

    def another_row(rows, p):
        new = p * of_each(rows, occupied, alpha, k)
        return p - new + jnp.pad(new, ((0, 0), (0, 0), (1, 0)))[:, :, :-1]

    start = jnp.zeros((alpha.size, k.size, size)).at[:, :, 0].set(1.0)
    return jnp.einsum("akj,k->j", jax.lax.fori_loop(1, n, another_row, start), p_k) / alpha.size
