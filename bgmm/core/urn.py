"""The number of occupied components K+ that a prior expects of n rows, whatever the components look like.

With the weights summed out, rows choose among K components as from an urn: row n + 1, when the n before it occupy k of them,

    begins a new one with probability gamma (K - k) / (n + gamma K),    else joins an occupied one,

where gamma is the parameter of the symmetric Dirichlet prior: alpha for every K (static), or alpha / K (dynamic). The limit of
the latter is the Dirichlet process, where a new one begins with probability alpha / (n + alpha), here while k < K. So K+ is a
Markov chain in the number of rows, and its probabilities follow in n steps without a logarithm or a cancellation
(Fruehwirth-Schnatter, Malsiner-Walli and Gruen 2021; Greve, Gruen, Malsiner-Walli and Fruehwirth-Schnatter 2022, "Spying on
the prior of the number of data clusters", who compute the same by other recursions).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bgmm.core.gaussian import AnyArray
from bgmm.core.weights import Law


def n_occupied_probabilities(
    n: int, p_components: Float[AnyArray, " k"], concentration: Float[AnyArray, " a"], *, law: Law = "static"
) -> Float[Array, " k"]:
    """P(K+ = 1), ..., P(K+ = k_max) for n rows.

    :param p_components: P(K = 1), ..., P(K = k_max).
    :param concentration: alpha; of several values, such as draws from a hyperprior, the mean of the answers is taken.
    :param law: how the weights follow from alpha.
    """
    p_k, alpha = jnp.asarray(p_components), jnp.asarray(concentration)[:, None, None]
    k, occupied = (jnp.arange(1, len(p_k) + 1).reshape(shape) for shape in ((1, -1, 1), (1, 1, -1)))
    gamma = alpha if law == "static" else alpha / k
    fresh = alpha * (occupied < k) if law == "process" else gamma * jnp.maximum(k - occupied, 0)
    return _after(n, p_k, fresh, alpha if law == "process" else gamma * k)


@jax.jit
def _after(
    n: int | Int[Array, ""], p_k: Float[Array, " k"], fresh: Float[Array, "a k j"], total: Float[Array, "a _ 1"]
) -> Float[Array, " k"]:
    start = jnp.zeros(fresh.shape).at[:, :, 0].set(1.0)  # the first row occupies one

    def another_row(rows, p):
        new = p * fresh / (rows + total)
        return p - new + jnp.pad(new, ((0, 0), (0, 0), (1, 0)))[:, :, :-1]

    each = jax.lax.fori_loop(1, n, another_row, start)
    return jnp.einsum("akj,k->j", each, p_k) / fresh.shape[0]
