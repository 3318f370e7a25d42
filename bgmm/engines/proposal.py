"""A mixture of multivariate t distributions at the modes that restarts found, with tails heavy enough to sample from by weight.

    q(z) = sum_m pi_m t_nu(z | z_m, A_m A_m'),    A_m = 1.2 H_m^(-1/2), from the Laplace factor of the mode.

It is to cover one labelling of the components (``labels``): every mode stands in the domain, and a mode that reaches over the
domain's edge has copies, relabelled, where what lies beyond comes in again.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float

from bgmm.core.gaussian import AnyArray
from bgmm.core.target import Target
from bgmm.engines.labels import Domain, domain_about, relabelled, relabelling
from bgmm.engines.modes import Modes, laplace

NU = 8  # degrees of freedom
_WIDER = 1.2  # than Laplace's approximation, whose tails are short where a component holds few rows
_LIGHT = 1e-6  # Laplace mass under which a mode is left out
_TRIED = 200  # draws that show where a mode reaches over the edge
_SEEN = 0.02  # share of these that calls for a copy
_BUCKET = 8  # terms are filled up to a multiple of this: few shapes to compile


class Proposal(NamedTuple):
    """The terms of q; those that only fill up have no weight."""

    log_weights: Float[AnyArray, " m"]
    centre: Float[AnyArray, "m z"]
    factor: Float[AnyArray, "m z z"]  # columns at right angles

    def draw(self, n: int, *, rng: np.random.Generator) -> tuple[Float[np.ndarray, "n z"], np.ndarray]:
        """Draws, and the terms that they are from."""
        m = rng.choice(len(self.log_weights), n, p=np.exp(self.log_weights))
        normal = rng.standard_normal((n, self.centre.shape[1]))
        stretch = np.sqrt(NU / rng.chisquare(NU, n))
        z = self.centre[m] + stretch[:, None] * np.einsum("nij,nj->ni", np.asarray(self.factor)[m], normal)
        return z, m

    def log_density(self, z: Float[Array, " z"]) -> Float[Array, ""]:
        """log q(z)."""
        p = z.shape[0]
        lengths = jnp.square(self.factor).sum(1)  # A^-1 = diag(1 / lengths) A', for columns at right angles
        u = jnp.einsum("mij,mi->mj", self.factor, z[None] - self.centre) / lengths
        constant = gammaln((NU + p) / 2) - gammaln(NU / 2) - 0.5 * p * np.log(NU * np.pi)
        log_t = constant - 0.5 * jnp.log(lengths).sum(1) - 0.5 * (NU + p) * jnp.log1p(jnp.square(u).sum(1) / NU)
        return logsumexp(self.log_weights + log_t)


def proposal_at(target: Target, alike: tuple[str, ...], modes: Modes, *, rng: np.random.Generator) -> tuple[Proposal, Domain]:
    """q, and the domain that it covers: about the heaviest mode.

    Weights go with the root of the Laplace mass, which is rough, so that no mode is starved for its fault.
    """
    domain = domain_about(target, alike, modes.z[0], modes.factor[0])
    terms = []
    for z, factor, mass in zip(modes.z, modes.factor, modes.mass, strict=True):
        if mass < _LIGHT:
            continue
        one = Proposal(np.zeros(1), z[None], _WIDER * factor[None])
        orders, times = np.unique(relabelling(target, domain, one.draw(_TRIED, rng=rng)[0]), axis=0, return_counts=True)
        seen = times >= min(_SEEN * _TRIED, int(times.max()))
        for order, share in zip(orders[seen], times[seen] / times[seen].sum(), strict=True):
            there = relabelled(target, alike, z, order)
            of_copy = np.asarray(laplace(target, jnp.asarray(there))[0])
            terms.append((0.5 * np.log(mass) + np.log(share), there, _WIDER * of_copy))
    log_w, centre, factor = (np.stack(a) for a in zip(*terms, strict=True))
    empty = -len(log_w) % _BUCKET
    log_w = np.pad(log_w - logsumexp(log_w), (0, empty), constant_values=-np.inf)
    centre, factor = (np.concatenate([a, np.repeat(a[:1], empty, axis=0)]) for a in (centre, factor))
    return Proposal(log_w, centre, factor), domain


def log_densities(proposal: Proposal, z: Float[AnyArray, "s z"]) -> Float[np.ndarray, " s"]:
    """log q of each point."""
    return np.asarray(_log_densities(jax.tree.map(jnp.asarray, proposal), jnp.asarray(z)))


@jax.jit
def _log_densities(proposal: Proposal, z):
    return jax.lax.map(proposal.log_density, z, batch_size=256)
