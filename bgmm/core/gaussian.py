"""Gaussian mixtures in natural form.

The log joint density of a row x and its component k is linear in the statistics T(x) = [1, x, x_i x_j for i <= j],

    log w_k + log N(x | mu_k, Sigma_k) = <eta_k, T(x)>,    eta_k = (a_k, Lambda_k mu_k, -Lambda_k / 2),

with Lambda_k the precision matrix, off-diagonal entries counted twice, and
a_k = log w_k - (D log 2 pi + log|Sigma_k| + mu_k' Lambda_k mu_k) / 2 (Wainwright and Jordan 2008, example 3.4).
A packed eta_k has P = (D+1)(D+2)/2 entries. The quadratic ones stand in the order of ``features``.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float
from numpy.typing import DTypeLike

LOG_2PI = float(np.log(2 * np.pi))
AnyArray = Array | np.ndarray  # of draws on their way between JAX and a tree
_LOST = {np.dtype(np.float64): 5e-11, np.dtype(np.float32): 1e-5}  # relative error that shared features may cost


class Parameters(NamedTuple):
    """A mixture of K Gaussians in D dimensions; Sigma_k = scale_tril_k scale_tril_k'. Leading axes are draws."""

    log_weights: Float[AnyArray, "*s k"]
    means: Float[AnyArray, "*s k d"]
    scale_tril: Float[AnyArray, "*s k d d"]


@lru_cache
def _pairs(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs (i, j) of the quadratic statistics: j = i + shift (mod d) for shift = 0 .. d // 2, each pair once."""
    shifts = [(i, (i + s) % d) for s in range(d // 2 + 1) for i in range(d if 2 * s != d else d // 2)]
    i, j = np.array(shifts, np.int32).T  # an index that is right with and without double precision
    return i, j


def features(x: Float[Array, "d b"]) -> Float[Array, "p b"]:
    """T(x) of each column of x: one, the coordinates, and their products as contiguous row products."""
    d = x.shape[0]
    products = [x * jnp.roll(x, -s, axis=0) if 2 * s != d else x[:s] * x[s:] for s in range(d // 2 + 1)]
    return jnp.concatenate([jnp.ones_like(x[:1]), x, *products])


def _pack(constant: Float[Array, " k"], linear: Float[Array, "k d"], precision: Float[Array, "k d d"]) -> Float[Array, "k p"]:
    i, j = _pairs(linear.shape[1])
    quadratic = jnp.where(i == j, -0.5, -1.0)[None] * precision[:, i, j]
    return jnp.concatenate([constant[:, None], linear, quadratic], axis=1)


def n_statistics(d: int) -> int:
    """P = (D+1)(D+2)/2."""
    return (d + 1) * (d + 2) // 2


def _n_features(p: int) -> int:
    """D such that (D+1)(D+2)/2 = p."""
    return round((np.sqrt(8 * p + 1) - 3) / 2)


def _symmetric(quadratic: Float[Array, "k q"], d: int, diagonal: float) -> Float[Array, "k d d"]:
    """The symmetric matrices with ``diagonal`` times the entries on the diagonal and the entries themselves off it."""
    i, j = _pairs(d)
    entries = jnp.where(i == j, diagonal, 1.0)[None] * quadratic
    upper = jnp.zeros((quadratic.shape[0], d, d), quadratic.dtype)
    return upper.at[:, i, j].set(entries).at[:, j, i].set(entries)


def natural(mixture: Parameters, centres: Float[Array, "k d"] | None = None) -> Float[Array, "k p"]:
    """Packed natural parameters eta of a mixture, log weights included; of x - centre_k when centres are given."""
    log_w, mu, L = (jnp.asarray(a) for a in mixture)
    d = mu.shape[-1]
    mu = mu if centres is None else mu - centres
    whiten = solve_triangular(L, jnp.broadcast_to(jnp.eye(d, dtype=L.dtype), L.shape), lower=True)
    precision = jnp.einsum("kij,kil->kjl", whiten, whiten)
    linear = jnp.einsum("kij,kj->ki", precision, mu)
    log_det = 2 * jnp.log(jnp.diagonal(L, axis1=-2, axis2=-1)).sum(-1)
    constant = log_w - 0.5 * (d * LOG_2PI + log_det + jnp.einsum("ki,ki->k", linear, mu))
    return _pack(constant, linear, precision)


def own_centres(mixture: Parameters, wanted: bool) -> Float[Array, "k d"] | None:
    """Each component's mean as the point about which its features are taken, or None for features shared by all."""
    return jax.lax.stop_gradient(jnp.asarray(mixture.means)) if wanted else None


def needs_own_centres(mixture: Parameters, dtype: DTypeLike = np.float64) -> bool:
    """Whether shared features of type ``dtype`` would cost digits: they lose about eps * (distance / sd)^2."""
    narrowest = np.linalg.svd(np.asarray(mixture.scale_tril), compute_uv=False)[..., -1]
    distance = np.linalg.norm(np.asarray(mixture.means), axis=-1)
    return bool(np.any(np.finfo(dtype).eps * np.square(distance / narrowest) > _LOST[np.dtype(dtype)]))


def marginal(eta: Float[Array, "k p"], observed: Bool[Array, " d"]) -> Float[Array, "k p"]:
    """Natural parameters of the observed coordinates, the others integrated out, in a layout of unchanged size.

    With o the observed and m the missing coordinates of a component (h = Lambda mu):

        Lambda_o - Lambda_om Lambda_mm^-1 Lambda_mo,    h_o - Lambda_om Lambda_mm^-1 h_m,
        a + (|m| log 2 pi - log|Lambda_mm| + h_m' Lambda_mm^-1 h_m) / 2.

    Entries of missing coordinates are zero, so rows may hold zeros there. By Fisher's identity the derivative of the
    marginal log likelihood with respect to ``eta`` is the conditional expectation of T(x) given what was observed.
    """
    d = observed.shape[0]
    constant, linear, quadratic = eta[:, 0], eta[:, 1 : d + 1], eta[:, d + 1 :]
    precision = -_symmetric(quadratic, d, diagonal=2.0)
    o = observed.astype(eta.dtype)
    m = 1 - o
    missing_block = precision * jnp.outer(m, m)[None] + jnp.diag(o)[None]

    def integrate(block, coupling, h, full):
        factor = cho_factor(block, lower=True)
        log_det = 2 * jnp.log(jnp.diagonal(factor[0])).sum()
        shift = cho_solve(factor, m * h)
        schur = full - coupling @ cho_solve(factor, coupling.T)
        return 0.5 * (m.sum() * LOG_2PI - log_det + (m * h) @ shift), o * (h - coupling @ shift), schur

    coupling = precision * jnp.outer(o, m)[None]
    added, linear_o, schur = jax.vmap(integrate)(missing_block, coupling, linear, precision)
    return _pack(constant + added, linear_o, schur * jnp.outer(o, o)[None])


def conditional(eta: Float[Array, "k p"], observed: Bool[Array, " d"]) -> tuple[Array, Array, Array]:
    """The missing coordinates given the observed ones, as a (K, D), B and C (K, D, D): x_m = (a + B x + C noise)_m.

    With the notation of ``marginal`` and Lambda_mm = G G', they are normal with mean Lambda_mm^-1 (h_m - Lambda_mo x_o) and
    covariance Lambda_mm^-1 = G^-T G^-1. Entries of observed coordinates are zero.
    """
    d = observed.shape[0]
    precision = -_symmetric(eta[:, d + 1 :], d, diagonal=2.0)
    o = observed.astype(eta.dtype)
    m = 1 - o

    def of_component(h, full):
        factor = jnp.linalg.cholesky(full * jnp.outer(m, m) + jnp.diag(o))
        solve = partial(cho_solve, (factor, True))
        return m * solve(m * h), -solve(full * jnp.outer(m, o)), solve_triangular(factor.T, jnp.diag(m), lower=False)

    return jax.vmap(of_component)(eta[:, 1 : d + 1], precision)


def moments(statistics: Float[Array, "k p"]) -> tuple[Float[Array, " k"], Float[Array, "k d"], Float[Array, "k d d"]]:
    """Counts, means and covariances (about the means) held in expected sufficient statistics sum_n c_n r_nk T(x_n)."""
    d = _n_features(statistics.shape[1])
    counts = statistics[:, 0]
    n = jnp.maximum(counts, jnp.finfo(statistics.dtype).tiny)[:, None]
    means = statistics[:, 1 : d + 1] / n
    second = _symmetric(statistics[:, d + 1 :] / n, d, diagonal=1.0)
    return counts, means, second - means[:, :, None] * means[:, None, :]
