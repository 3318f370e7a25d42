"""A proposal for importance sampling: a mixture of multivariate t distributions at the modes of the posterior.

    q(z) = sum_m pi_m t_nu(z | z_m, A_m A_m'),    A_m = 1.2 H_m^(-1/2), H_m the Hessian at mode z_m.

The t distributions have heavy tails, so that the importance weights p / q have light ones. The proposal covers one labelling
of the components (``labelling``). Every mode is permuted into the domain. Where the distribution of a mode reaches beyond the
boundary of the domain, the proposal also has copies of the mode, permuted so that they cover the mass beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float

from bgmm.core.factor import AnyArray
from bgmm.engines.evidence.labelling import Domain, domain_around, permutations_into, permute
from bgmm.engines.optimise.modes import Modes, laplace
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the proposal."""

    nu: float = 8.0  # degrees of freedom of the t distributions
    inflation: float = 1.2  # of the Laplace scales, whose tails are too short where a component holds few rows
    min_mass: float = 1e-6  # modes with a smaller Laplace mass are left out
    n_test_draws: int = 200  # draws that show whether a mode reaches beyond the boundary of the domain
    min_share: float = 0.02  # share of these draws in another labelling from which the mode gets a copy in that labelling
    multiple: int = 8  # the number of terms is filled up to a multiple of this, so that few shapes are compiled
    batch_size: int = 256  # points whose density is evaluated in parallel


_CONSTANTS = Constants()


class Proposal(NamedTuple):
    """The terms of q; terms that fill up the arrays have weight zero."""

    log_weights: Float[AnyArray, " m"]
    centre: Float[AnyArray, "m z"]
    factor: Float[AnyArray, "m z z"]  # A_m, with orthogonal columns

    def draw(self, n: int, *, rng: np.random.Generator) -> tuple[Float[np.ndarray, "n z"], np.ndarray]:
        """``n`` draws, and the term that each comes from."""
        m = rng.choice(len(self.log_weights), n, p=np.exp(self.log_weights))
        normal = rng.standard_normal((n, self.centre.shape[1]))
        scale = np.sqrt(_CONSTANTS.nu / rng.chisquare(_CONSTANTS.nu, n))
        z = self.centre[m] + scale[:, None] * np.einsum("nij,nj->ni", np.asarray(self.factor)[m], normal)
        return z, m

    def log_density(self, z: Float[Array, " z"]) -> Float[Array, ""]:
        """log q(z)."""
        p, nu = z.shape[0], _CONSTANTS.nu
        squares = jnp.square(self.factor).sum(1)  # A^-1 = diag(1 / squares) A', because the columns are orthogonal
        u = jnp.einsum("mij,mi->mj", self.factor, z[None] - self.centre) / squares
        constant = gammaln((nu + p) / 2) - gammaln(nu / 2) - 0.5 * p * np.log(nu * np.pi)
        log_t = constant - 0.5 * jnp.log(squares).sum(1) - 0.5 * (nu + p) * jnp.log1p(jnp.square(u).sum(1) / nu)
        return logsumexp(self.log_weights + log_t)


def make_proposal(target: Target, modes: Modes, *, rng: np.random.Generator) -> tuple[Proposal, Domain]:
    """The proposal q, and the domain that it covers, whose pivot is the mode with the largest mass.

    The weights of the modes are proportional to the square root of their Laplace masses. These are rough, and the root keeps a
    mode whose mass is underestimated from getting too few draws.
    """
    domain = domain_around(target, modes.z[0], modes.factor[0])
    terms = []
    for z, factor, mass in zip(modes.z, modes.factor, modes.mass, strict=True):
        if mass < _CONSTANTS.min_mass:
            continue
        term = Proposal(np.zeros(1), z[None], _CONSTANTS.inflation * factor[None])
        test_draws, _ = term.draw(_CONSTANTS.n_test_draws, rng=rng)
        orders, counts = np.unique(permutations_into(target, domain, test_draws), axis=0, return_counts=True)
        common = counts >= min(_CONSTANTS.min_share * _CONSTANTS.n_test_draws, int(counts.max()))
        for order, share in zip(orders[common], counts[common] / counts[common].sum(), strict=True):
            copy = permute(target, z, order)
            copy_factor = np.asarray(laplace(target, jnp.asarray(copy))[0])
            terms.append((0.5 * np.log(mass) + np.log(share), copy, _CONSTANTS.inflation * copy_factor))
    log_w, centre, factor = (np.stack(a) for a in zip(*terms, strict=True))
    n_empty = -len(log_w) % _CONSTANTS.multiple
    log_w = np.pad(log_w - logsumexp(log_w), (0, n_empty), constant_values=-np.inf)
    centre, factor = (np.concatenate([a, np.repeat(a[:1], n_empty, axis=0)]) for a in (centre, factor))
    return Proposal(log_w, centre, factor), domain


def log_densities(proposal: Proposal, z: Float[AnyArray, "s z"]) -> Float[np.ndarray, " s"]:
    """log q of each point."""
    return np.asarray(_log_densities(jax.tree.map(jnp.asarray, proposal), jnp.asarray(z)))


@jax.jit
def _log_densities(proposal: Proposal, z):
    return jax.lax.map(proposal.log_density, z, batch_size=_CONSTANTS.batch_size)
