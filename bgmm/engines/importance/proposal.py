"""A proposal for importance sampling: a mixture of multivariate t distributions at the modes of the posterior.

    q(z) = sum_m pi_m t_nu(z | c_m, L_m L_m')

The t distributions have heavy tails, so that the importance weights p / q have light ones. The proposal covers one labelling
of the components (``labelling``). Every mode is permuted into the domain. Where the distribution of a mode reaches beyond the
boundary of the domain, the proposal also has copies of the mode, permuted so that they cover the mass beyond it. Where a
permutation of components may change the posterior, or cannot be written down, the whole space is the domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, Int

from bgmm.core.factor import AnyArray
from bgmm.engines.importance.labelling import Domain, domain_around, permutations_into, permute
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the proposal."""

    n_test_draws: int = 200  # draws that show whether a mode reaches beyond the boundary of the domain
    min_share: float = 0.02  # share of these draws in another labelling from which the mode gets a copy in that labelling
    multiple: int = 8  # the number of terms is filled up to a multiple of this, so that few shapes are compiled
    batch_size: int = 256  # points whose density is evaluated in parallel


_CONSTANTS = Constants()
NU = 8.0  # degrees of freedom of the t distributions


class Normals(NamedTuple):
    """Normal approximations around modes: centres, square roots of covariances (any A with A A' = C), log masses."""

    centre: Float[np.ndarray, "m z"]
    factor: Float[np.ndarray, "m z z"]
    log_mass: Float[np.ndarray, " m"]


class Proposal(NamedTuple):
    """The terms of q; terms that fill up the arrays have weight zero."""

    log_weights: Float[AnyArray, " m"]
    centre: Float[AnyArray, "m z"]
    factor: Float[AnyArray, "m z z"]  # L_m, lower triangular
    whitening: Float[AnyArray, "m z z"]  # L_m^-1

    def draw(self, n: int, *, rng: np.random.Generator) -> tuple[Float[np.ndarray, "n z"], Int[np.ndarray, " n"]]:
        """``n`` draws, and the term that each comes from."""
        m = rng.choice(len(self.log_weights), n, p=np.exp(self.log_weights))
        scale = np.sqrt(NU / rng.chisquare(NU, n))
        z = scale[:, None] * rng.standard_normal((n, self.centre.shape[1]))
        for term in np.unique(m):
            z[m == term] = self.centre[term] + z[m == term] @ np.asarray(self.factor[term]).T
        return z, m

    def log_density(self, z: Float[Array, " z"]) -> Float[Array, ""]:
        """log q(z)."""
        p, nu = z.shape[0], NU
        u = jnp.einsum("mij,mj->mi", self.whitening, z[None] - self.centre)
        log_det = jnp.log(jnp.abs(jnp.diagonal(self.whitening, axis1=1, axis2=2))).sum(1)
        constant = gammaln((nu + p) / 2) - gammaln(nu / 2) - 0.5 * p * np.log(nu * np.pi)
        log_t = constant + log_det - 0.5 * (nu + p) * jnp.log1p(jnp.square(u).sum(1) / nu)
        return logsumexp(self.log_weights + log_t)


class Cover(NamedTuple):
    """A proposal that covers one labelling."""

    proposal: Proposal
    domain: Domain | None  # None: the whole space
    mode: Int[np.ndarray, " m"]  # of each term
    order: Int[np.ndarray, "m k"]  # in which the term has the components of the mode


def from_factors(
    log_weights: Float[np.ndarray, " m"], centre: Float[np.ndarray, "m z"], factor: Float[np.ndarray, "m z z"]
) -> Proposal:
    """The proposal with these terms, filled up; ``factor`` is any A with A A' = L L': from A' = Q R, L = R'."""
    n_empty = -len(log_weights) % _CONSTANTS.multiple
    L = np.swapaxes(np.linalg.qr(np.swapaxes(factor, 1, 2))[1], 1, 2)
    whitening = np.tril(np.linalg.inv(L))
    centre, L, whitening = (np.concatenate([a, np.repeat(a[:1], n_empty, axis=0)]) for a in (centre, L, whitening))
    log_weights = np.pad(log_weights - np.logaddexp.reduce(log_weights), (0, n_empty), constant_values=-np.inf)
    return Proposal(log_weights, centre, L, whitening)


def cover(target: Target, normals: Normals, *, inflation: float, rng: np.random.Generator) -> Cover:
    """The proposal with a t distribution for each normal, ``inflation`` times as wide; the domain's pivot is the heaviest."""
    pivot = int(normals.log_mass.argmax())
    domain = domain_around(target, normals.centre[pivot], normals.factor[pivot]) if target.exchangeable else None
    log_w, centres, factors, modes, orders = [], [], [], [], []
    for mode, (centre, factor, log_mass) in enumerate(zip(*normals, strict=True)):
        for order, share in _orders(target, domain, centre, inflation * factor, rng=rng):
            copy, J = (centre, np.eye(len(centre))) if domain is None else permute(target, centre, order)
            log_w.append(log_mass + np.log(share))
            centres.append(copy)
            factors.append(inflation * J @ factor)
            modes.append(mode)
            orders.append(order)
    proposal = from_factors(np.array(log_w), np.stack(centres), np.stack(factors))
    return Cover(proposal, domain, np.array(modes), np.stack(orders))


def _orders(target: Target, domain: Domain | None, centre, factor, *, rng) -> list[tuple[Int[np.ndarray, " k"], float]]:
    """The permutations that take some part of a mode into the domain, and their shares of it."""
    if domain is None:
        return [(np.arange(target.n_components), 1.0)]
    test_draws, _ = from_factors(np.zeros(1), centre[None], factor[None]).draw(_CONSTANTS.n_test_draws, rng=rng)
    orders, counts = np.unique(permutations_into(target, domain, test_draws), axis=0, return_counts=True)
    common = counts >= min(_CONSTANTS.min_share * _CONSTANTS.n_test_draws, int(counts.max()))
    return list(zip(orders[common], counts[common] / counts[common].sum(), strict=True))


def log_densities(proposal: Proposal, z: Float[AnyArray, "s z"]) -> Float[np.ndarray, " s"]:
    """log q of each point."""
    return np.asarray(_log_densities(jax.tree.map(jnp.asarray, proposal), jnp.asarray(z)))


@jax.jit
def _log_densities(proposal: Proposal, z):
    return jax.lax.map(proposal.log_density, z, batch_size=_CONSTANTS.batch_size)
