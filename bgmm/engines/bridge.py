"""A short bridge of tempered sequential Monte Carlo (Del Moral, Doucet and Jasra 2006) from a proposal q to the posterior p.

    pi_t(z) is proportional to 1(z in D) q(z)^(1 - t) p(z)^t,    0 = t_0 < t_1 < ... < t_J = 1.

Where importance weights p / q have too heavy a tail to be trusted, those of a step, (p / q)^(t_j - t_(j-1)), have not. The
mean weight of each step multiplies up to the evidence. Between steps the draws move by HMC in the frame of the mode that they
came from; a move that leaves the domain of labels is refused. Independent islands of draws, which share the temperatures and
the step size only, tell the error.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import logsumexp

from bgmm.core.target import Target
from bgmm.engines.labels import Domain, inside
from bgmm.engines.proposal import Proposal

_KEPT = 0.6  # effective share of the draws that a step of the temperature leaves
_MOVES = 6  # of HMC after each step
_LEAPS = 6  # of each move, at most
_ACCEPTED = 0.75
_SIDE_BY_SIDE = 128  # draws that move together


class Bridge(NamedTuple):
    """Where the islands arrived."""

    log_evidence: Float[np.ndarray, " i"]  # of each island
    z: Float[np.ndarray, "i s z"]  # equally weighted draws of each
    n_temperatures: int


def bridge(
    target: Target, proposal: Proposal, domain: Domain, n_islands: int, n_each: int, *, rng: np.random.Generator
) -> Bridge:
    """``n_islands`` estimates of the log of the integral of p over the domain, from ``n_each`` draws each."""
    z, m = proposal.draw(n_islands * n_each, rng=rng)
    of_island = (n_islands, n_each)
    factors = jax.tree.map(jnp.asarray, proposal)
    log_w = np.where(inside(target, domain, z), 0.0, -np.inf).reshape(of_island)
    log_z = np.zeros(n_islands)
    t, n, length = 0.0, 0, 0.3 / z.shape[1] ** 0.25
    log_p, log_q = (np.asarray(a) for a in _densities(target, factors, z))
    while True:
        log_z += logsumexp(log_w, axis=1) - np.log(n_each)
        chosen = np.concatenate([i * n_each + _resampled(w, rng=rng) for i, w in enumerate(log_w)])
        z, m = z[chosen], m[chosen]
        if n:
            for _ in range(_MOVES):
                z, accepted = _moved(target, factors, domain, z, m, t, length, rng=rng)
                length *= np.exp(accepted - _ACCEPTED)
            log_p, log_q = (np.asarray(a) for a in _densities(target, factors, z))
        else:
            log_p, log_q = log_p[chosen], log_q[chosen]
        if t == 1:
            return Bridge(log_z, z.reshape(*of_island, -1), n)
        gain = log_p - log_q
        step = _step(gain, 1 - t)
        t, n = (1.0 if step == 1 - t else t + step), n + 1
        log_w = (step * gain).reshape(of_island)


def _step(gain: Float[np.ndarray, " s"], longest: float) -> float:
    """The step of the temperature that leaves the wanted effective share of the draws, or the longest if that leaves more."""

    def share(step: float) -> float:
        return np.exp(2 * logsumexp(step * gain) - logsumexp(2 * step * gain)) / len(gain)

    if share(longest) >= _KEPT:
        return longest
    low, high = 0.0, longest
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= _KEPT else (low, middle)
    return low


def _resampled(log_w: Float[np.ndarray, " s"], *, rng: np.random.Generator) -> Int[np.ndarray, " s"]:
    """Systematic resampling: one uniform number, as many evenly spaced points as there are draws."""
    below = np.cumsum(np.exp(log_w - log_w.max()))
    points = (np.arange(len(log_w)) + rng.uniform()) * (below[-1] / len(log_w))
    return np.minimum(np.searchsorted(below, points, side="right"), len(log_w) - 1)


def _moved(target, proposal, domain, z, m, t, length, *, rng: np.random.Generator):
    """One HMC move of every draw, and the share of moves accepted."""
    momentum = rng.standard_normal(z.shape)
    lengths = length * rng.uniform(0.7, 1.3, len(z))
    there, log_ratio = _leapt(target, proposal, jnp.asarray(t), z, m, momentum, lengths)
    log_ratio = np.where(np.isfinite(log_ratio), log_ratio, -np.inf)
    accept = np.log(rng.uniform(size=len(z))) < log_ratio
    there = np.where(accept[:, None], there, z)
    accept &= inside(target, domain, there)
    return np.where(accept[:, None], there, z), accept.mean()


@jax.jit
def _leapt(target: Target, proposal: Proposal, t: Float[Array, ""], z, m, momentum, lengths):
    """Where leapfrog steps lead in the coordinates u of z = A u, and the log ratio of the joint densities."""

    def of_draw(given):
        z, m, momentum, length = given
        A = proposal.factor[m]

        def value_and_gradient(z):
            value, gradient = jax.value_and_grad(partial(_tempered, target, proposal, t))(z)
            return value, gradient @ A

        def leap(_, carry):
            z, v, _, gradient = carry
            v = v + 0.5 * length * gradient
            z = z + length * (A @ v)
            value, gradient = value_and_gradient(z)
            return z, v + 0.5 * length * gradient, value, gradient

        first, gradient = value_and_gradient(z)
        there, v, last, _ = jax.lax.fori_loop(0, _LEAPS, leap, (z, momentum, first, gradient))
        return there, last - first - 0.5 * (v @ v - momentum @ momentum)

    return jax.lax.map(of_draw, (z, m, momentum, lengths), batch_size=_SIDE_BY_SIDE)


def _tempered(target: Target, proposal: Proposal, t: Float[Array, ""], z: Float[Array, " z"]) -> Float[Array, ""]:
    return (1 - t) * proposal.log_density(z) + t * target.log_posterior(z, jacobian=True)


@jax.jit
def _densities(target: Target, proposal: Proposal, z):
    """log p and log q of each draw."""

    def of_draw(z):
        return target.log_posterior(z, jacobian=True), proposal.log_density(z)

    return jax.lax.map(of_draw, z, batch_size=_SIDE_BY_SIDE)
