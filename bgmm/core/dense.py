"""The dense factor: a lower triangular L, and T(x) = [1, x, x_i x_j for i <= j] with P = (D + 1)(D + 2) / 2 entries.

The products stand in the order of ``_pairs``, which a block computes without a gather. Off-diagonal entries of -Lambda / 2
count twice in eta.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular
from jax.scipy.special import multigammaln
from jaxtyping import Array, Float

from bgmm.core.factor import LOG_2PI, AnyArray, Conditional, Factor


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dense(Factor):
    """A lower triangular matrix: P = (D + 1)(D + 2) / 2 statistics."""

    L: Float[AnyArray, "*s d d"]

    @staticmethod
    def statistics(x):
        products = [x * jnp.roll(x, -s, axis=0) if 2 * s != len(x) else x[:s] * x[s:] for s in range(len(x) // 2 + 1)]
        return jnp.concatenate([jnp.ones_like(x[:1]), x, *products])  # contiguous row products: no gather

    @classmethod
    def inner(cls, eta, y):
        a, h, precision = _unpack(eta, len(y))
        return a + h @ y - 0.5 * (y * (precision @ y)).sum(0)  # products of matrices: three times as fast as T(y)

    def natural(self, log_w, mean):
        white = solve_triangular(self.L, jnp.eye(mean.size, dtype=self.L.dtype), lower=True)
        precision = white.T @ white
        h = precision @ mean
        a = log_w - 0.5 * (mean.size * LOG_2PI + h @ mean) - jnp.log(jnp.diagonal(self.L)).sum()
        return _pack(a, h, precision)

    @staticmethod
    def marginal(eta, observed):
        a, h, precision = _unpack(eta, observed.size)
        o, m = observed, 1 - observed
        factor = cho_factor(precision * jnp.outer(m, m) + jnp.diag(o), lower=True)
        coupling, shift = precision * jnp.outer(o, m), cho_solve(factor, m * h)
        log_det = 2 * jnp.log(jnp.diagonal(factor[0])).sum()
        schur = precision - coupling @ cho_solve(factor, coupling.T)
        a = a + 0.5 * (m.sum() * LOG_2PI - log_det + (m * h) @ shift)
        return _pack(a, o * (h - coupling @ shift), schur * jnp.outer(o, o))

    @staticmethod
    def conditional(eta, observed):
        o, m = observed, 1 - observed

        def of_component(eta):
            # with Lambda_mm = G G' the mean is Lambda_mm^-1 (h_m - Lambda_mo x_o), and the covariance G^-T G^-1
            _, h, precision = _unpack(eta, o.size)
            G = jnp.linalg.cholesky(precision * jnp.outer(m, m) + jnp.diag(o))
            solve = partial(cho_solve, (G, True))
            return m * solve(m * h), -solve(precision * jnp.outer(m, o)), solve_triangular(G.T, jnp.diag(m), lower=False)

        return DenseConditional(*jax.vmap(of_component)(eta))

    @staticmethod
    def moments(statistics):
        d = _n_features(statistics.shape[0])
        n = jnp.maximum(statistics[0], jnp.finfo(statistics.dtype).tiny)
        mean = statistics[1 : d + 1] / n
        return statistics[0], mean, _symmetric(statistics[d + 1 :] / n, d, diagonal=1.0) - jnp.outer(mean, mean)

    @classmethod
    def of_covariance(cls, covariance):
        return cls(jnp.linalg.cholesky(covariance))

    def covariance(self):
        return self.L @ self.L.T

    def variances(self, d):
        return (self.L * self.L).sum(-1)

    def dense(self, d):
        return self.L

    @classmethod
    def of(cls, other, d):
        return cls(other.dense(d))

    def whiten(self, y):
        return solve_triangular(self.L, y, lower=True)

    def colour(self, y):
        return self.L @ y

    def log_det(self, d):
        return jnp.log(jnp.diagonal(self.L)).sum()

    def plus_diagonal(self, variances):
        return Dense(jnp.linalg.cholesky(self.L @ self.L.T + jnp.diag(variances)))

    @staticmethod
    def least_rows(d):
        return d

    def rescale(self, scale):
        return Dense(self.L / scale[:, None])

    def relative(self, origin, d):
        # B = L0^-1 L with coordinates sqrt(2) log b_ii and b_ij for i > j
        B = solve_triangular(origin.L, self.L, lower=True)
        i, j = np.tril_indices(d, -1)
        return jnp.concatenate([jnp.sqrt(2.0) * jnp.log(jnp.diagonal(B)), B[i, j]])

    def displaced(self, u, d):
        i, j = np.tril_indices(d, -1)
        B = jnp.diag(jnp.exp(u[:d] / np.sqrt(2.0))).at[i, j].set(u[d:])
        return Dense(self.L @ B)

    @staticmethod
    def n_relative(d):
        return d * (d + 1) // 2

    @classmethod
    def at_least(cls, covariance, r):
        # In units of r the objective splits over the eigenvalues s of the covariance, log l + s / l each, whose minimum over
        # l >= 1 is at l = max(s, 1).
        values, vectors = jnp.linalg.eigh(covariance / (r[:, None] * r[None]))
        lifted = jnp.einsum("ij,j,kj->ik", vectors, jnp.maximum(values, 1.0), vectors)
        return cls(r[:, None] * jnp.linalg.cholesky(lifted))

    def is_exceeded(self, covariance, times):
        half = solve_triangular(self.L, covariance, lower=True)
        white = solve_triangular(self.L, half.T, lower=True)
        return ~jnp.isnan(jnp.linalg.cholesky(white - times * jnp.eye(white.shape[0]))).any()

    def narrowest(self):
        return np.linalg.svd(np.asarray(self.L), compute_uv=False)[..., -1]

    def posterior_scale(self, n, prior_precision):
        inverse = solve_triangular(self.L, jnp.eye(self.L.shape[0]), lower=True)
        return inverse_root(n * inverse.T @ inverse + jnp.diag(prior_precision))

    @classmethod
    def log_evidence(cls, n, covariance, prior, d):
        L = jnp.linalg.cholesky(jnp.stack([d * prior, d * prior + n * covariance]))
        before, after = jnp.log(jnp.diagonal(L, axis1=1, axis2=2)).sum(1)
        gamma = multigammaln((d + n) / 2, d) - multigammaln(d / 2, d)
        return gamma + d * before - (d + n) * after - 0.5 * n * d * jnp.log(jnp.pi)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DenseConditional(Conditional):
    """x_m = (a + B x + C noise)_m of each component."""

    a: Float[Array, "k d"]
    B: Float[Array, "k d d"]
    C: Float[Array, "k d d"]

    def fill(self, x, assigned, noise):
        missing = self.a[:, :, None] + jnp.einsum("kij,jb->kib", self.B, x) + jnp.einsum("kij,jb->kib", self.C, noise)
        return x + jnp.einsum("kb,kib->ib", assigned, missing)


def inverse_root(precision: Float[Array, "q q"]) -> Float[Array, "q q"]:
    """A with A A' = precision^-1: from precision = M M', A = M'^-1."""
    M = jnp.linalg.cholesky(precision)
    return solve_triangular(M, jnp.eye(M.shape[0]), lower=True).T


@lru_cache
def _pairs(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs (i, j) of the quadratic statistics: j = i + shift (mod d) for shift = 0 .. d // 2, each pair once."""
    shifts = [(i, (i + s) % d) for s in range(d // 2 + 1) for i in range(d if 2 * s != d else d // 2)]
    i, j = np.array(shifts, np.int32).T  # an index that is right with and without double precision
    return i, j


def _n_features(p: int) -> int:
    """D such that (D + 1)(D + 2) / 2 = p."""
    return round((np.sqrt(8 * p + 1) - 3) / 2)


def _pack(a: Float[Array, ""], h: Float[Array, " d"], precision: Float[Array, "d d"]) -> Float[Array, " p"]:
    i, j = _pairs(h.size)
    return jnp.concatenate([a[None], h, jnp.where(i == j, -0.5, -1.0) * precision[i, j]])


def _unpack(eta: Float[Array, " p"], d: int) -> tuple[Float[Array, ""], Float[Array, " d"], Float[Array, "d d"]]:
    return eta[0], eta[1 : d + 1], -_symmetric(eta[d + 1 :], d, diagonal=2.0)


def _symmetric(quadratic: Float[Array, " q"], d: int, diagonal: float) -> Float[Array, "d d"]:
    """The symmetric matrix with ``diagonal`` times the entries on the diagonal, and the entries themselves off it."""
    i, j = _pairs(d)
    entries = jnp.where(i == j, diagonal, 1.0) * quadratic
    return jnp.zeros((d, d), quadratic.dtype).at[i, j].set(entries).at[j, i].set(entries)
