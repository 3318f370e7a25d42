"""The number of occupied components K+ that a prior expects of n rows, whatever the components look like.

With the weights summed out, rows choose among K components as from an urn: row n + 1, when the n before it occupy k of them,

    begins a new one with probability alpha (K - k) / (n + alpha K),    else joins an occupied one,

where alpha is the concentration of the symmetric Dirichlet prior, so that K+ is a Markov chain in the number of rows. Its
probabilities follow in n steps without a logarithm or a cancellation. K has a prior of its own; alpha is static, the same for
every K, or dynamic, alpha / K (Fruehwirth-Schnatter, Malsiner-Walli and Gruen 2021; Greve, Gruen, Malsiner-Walli and
Fruehwirth-Schnatter 2022, "Spying on the prior of the number of data clusters", who compute the same by other recursions).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bgmm.core.gaussian import AnyArray


def n_occupied_probabilities(
    n: int, p_components: Float[AnyArray, " k"], concentration: Float[AnyArray, " a"], *, dynamic: bool = False
) -> Float[Array, " k"]:
    """P(K+ = 1), ..., P(K+ = k_max) for n rows.

    :param p_components: P(K = 1), ..., P(K = k_max).
    :param concentration: alpha; of several values, such as draws from a hyperprior, the mean of the answers is taken.
    :param dynamic: whether a mixture of K components has the concentration alpha / K.
    """
    p_k, alpha = jnp.asarray(p_components), jnp.asarray(concentration)
    k = jnp.arange(1, p_k.shape[0] + 1)
    return _after(n, p_k, alpha[:, None] / k[None] if dynamic else jnp.broadcast_to(alpha[:, None], (len(alpha), len(k))))


@jax.jit
def _after(n: int | Int[Array, ""], p_k: Float[Array, " k"], alpha: Float[Array, "a k"]) -> Float[Array, " k"]:
    n_components = jnp.arange(1, p_k.shape[0] + 1)[None, :, None]
    occupied = jnp.arange(1, p_k.shape[0] + 1)[None, None, :]
    fresh = alpha[:, :, None] * jnp.maximum(n_components - occupied, 0)
    total = alpha[:, :, None] * n_components
    start = jnp.zeros(fresh.shape).at[:, :, 0].set(1.0)  # the first row occupies one

    def another_row(rows, p):
        new = p * fresh / (rows + total)
        return p - new + jnp.pad(new, ((0, 0), (0, 0), (1, 0)))[:, :, :-1]

    each = jax.lax.fori_loop(1, n, another_row, start)
    return jnp.einsum("akj,k->j", each, p_k) / alpha.shape[0]
