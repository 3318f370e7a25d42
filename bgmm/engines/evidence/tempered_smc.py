"""Tempered sequential Monte Carlo (Del Moral, Doucet and Jasra 2006) from a proposal q to the posterior p.

The draws pass through the densities

    pi_t(z) proportional to 1(z in D) q(z)^(1 - t) p(z)^t,    0 = t_0 < t_1 < ... < t_J = 1,

where t is an inverse temperature and D is the domain of one labelling. Each increment of t reweights the draws by
(p / q)^(t_j - t_(j-1)), resamples them, and moves them by HMC. These weights have a lighter tail than the importance weights
p / q. The product of their means estimates the evidence. Each draw moves in the whitened coordinates of the mode that it comes
from, and a move that leaves D is rejected. The draws form independent islands, which share the temperatures and the step size
only; the spread of their estimates gives the standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import logsumexp

from bgmm.core import hmc
from bgmm.core.importance import resample
from bgmm.core.progress import note
from bgmm.engines.importance.labelling import Domain, in_domain
from bgmm.engines.importance.proposal import Proposal
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the algorithm."""

    effective_share: float = 0.6  # effective share of the draws after reweighting, which determines the next temperature
    n_moves: int = 6  # HMC moves at each temperature
    n_leapfrog: int = 6  # leapfrog steps of a move
    target_accept: float = 0.75  # acceptance rate to which the step size adapts
    first_step_size: float = 0.3  # in whitened coordinates, divided by the fourth root of the dimension
    jitter: float = 0.3  # step sizes vary by this share, so that no trajectory is periodic
    batch_size: int = 128  # draws that move in parallel
    most: int = 400  # temperatures: on Old Faithful 7 to 10 are needed, with 1 to 4 components


_CONSTANTS = Constants()


class Particles(NamedTuple):
    """The islands at t = 1."""

    log_evidence: Float[np.ndarray, " i"]  # estimate of each island
    z: Float[np.ndarray, "i s z"]  # equally weighted draws of each island
    n_temperatures: int


def tempered_smc(
    target: Target, proposal: Proposal, domain: Domain | None, n_islands: int, n_particles: int, *, rng: np.random.Generator
) -> Particles:
    """``n_islands`` estimates of the log of the integral of p over the domain, each from ``n_particles`` draws.

    :raises ValueError: where the temperatures do not come to an end, as where some draw has a density that is far too large.
    """
    z, m = proposal.draw(n_islands * n_particles, rng=rng)  # m: mode of each draw
    shape = (n_islands, n_particles)
    proposal = jax.tree.map(jnp.asarray, proposal)
    log_w = np.where(in_domain(target, domain, z), 0.0, -np.inf).reshape(shape)
    log_evidence = np.zeros(n_islands)
    t, n_temperatures, step_size = 0.0, 0, _CONSTANTS.first_step_size / z.shape[1] ** 0.25
    log_p, log_q = (np.asarray(a) for a in _log_densities(target, proposal, z))
    while True:
        log_evidence += logsumexp(log_w, axis=1) - np.log(n_particles)
        ancestors = np.concatenate([i * n_particles + resample(w, rng=rng) for i, w in enumerate(log_w)])
        z, m = z[ancestors], m[ancestors]
        if n_temperatures:
            for _ in range(_CONSTANTS.n_moves):
                z, acceptance = _hmc_move(target, proposal, domain, z, m, t, step_size, rng=rng)
                step_size *= np.exp(acceptance - _CONSTANTS.target_accept)
            log_p, log_q = (np.asarray(a) for a in _log_densities(target, proposal, z))
        else:
            log_p, log_q = log_p[ancestors], log_q[ancestors]
        if t == 1:
            return Particles(log_evidence, z.reshape(*shape, -1), n_temperatures)
        if n_temperatures == _CONSTANTS.most:
            raise ValueError(
                f"tempered Monte Carlo has come to inverse temperature {t:.2g} in {n_temperatures} steps, and not to one: the "
                "density of the model has no bound, or is wrong somewhere; give the components a floor, or fit with gibbs"
            )
        log_ratio = log_p - log_q
        increment = _increment(log_ratio, 1 - t)
        note(f"inverse temperature {t:.2g} of 1")
        t, n_temperatures = (1.0 if increment == 1 - t else t + increment), n_temperatures + 1
        log_w = (increment * log_ratio).reshape(shape)


def _increment(log_ratio: Float[np.ndarray, " s"], largest: float) -> float:
    """The increment of t, at most ``largest``, that leaves the wanted effective share of the draws."""

    def effective_share(increment: float) -> float:
        log_w = increment * log_ratio
        return np.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w)) / len(log_w)

    if effective_share(largest) >= _CONSTANTS.effective_share:
        return largest
    low, high = 0.0, largest
    for _ in range(40):  # bisection
        middle = (low + high) / 2
        low, high = (middle, high) if effective_share(middle) >= _CONSTANTS.effective_share else (low, middle)
    return low


def _hmc_move(target, proposal, domain, z, m, t, step_size, *, rng: np.random.Generator):
    """One HMC move of every draw, and the share of the draws that accept it."""
    momentum = rng.standard_normal(z.shape)
    step_sizes = step_size * rng.uniform(1 - _CONSTANTS.jitter, 1 + _CONSTANTS.jitter, len(z))
    proposed, log_ratio = _leapfrog(target, proposal, jnp.asarray(t), z, m, momentum, step_sizes)
    log_ratio = np.where(np.isfinite(log_ratio), log_ratio, -np.inf)
    accepted = np.log(rng.uniform(size=len(z))) < log_ratio
    proposed = np.where(accepted[:, None], proposed, z)
    accepted &= in_domain(target, domain, proposed)
    return np.where(accepted[:, None], proposed, z), accepted.mean()


@jax.jit
def _leapfrog(target: Target, proposal: Proposal, t: Float[Array, ""], z, m, momentum, step_sizes):
    """Ends of leapfrog trajectories in whitened coordinates u, z = A u, and the log ratios of the joint densities."""

    def of_draw(inputs):
        z, m, momentum, step_size = inputs
        density = partial(_log_tempered, target, proposal, t)
        whitening = hmc.linear(proposal.factor[m])
        return hmc.trajectory(density, z, momentum, step_size, whitening, n_steps=_CONSTANTS.n_leapfrog)

    return jax.lax.map(of_draw, (z, m, momentum, step_sizes), batch_size=_CONSTANTS.batch_size)


def _log_tempered(target: Target, proposal: Proposal, t: Float[Array, ""], z: Float[Array, " z"]) -> Float[Array, ""]:
    """log pi_t(z) inside the domain, without its constant."""
    return (1 - t) * proposal.log_density(z) + t * target.log_posterior(z, jacobian=True)


@jax.jit
def _log_densities(target: Target, proposal: Proposal, z):
    """log p and log q of each draw."""

    def of_draw(z):
        return target.log_posterior(z, jacobian=True), proposal.log_density(z)

    return jax.lax.map(of_draw, z, batch_size=_CONSTANTS.batch_size)
