"""How another partition is accepted, whatever proposed it.

Given the partition C of the rows, what all components share (h) and alpha, the components' parameters z are independent, and K
and the weights are summed out. A proposal C' names the clusters that it touches, of C and of C'; the reverse touches the
same clusters. With p(C | alpha) = sum over K of p(K) p(C | K, alpha) (``telescope``) it is accepted with probability
min(1, ratio),

    ratio = p(C' | alpha) q(C | C') / (p(C | alpha) q(C' | C)) * product of g over touched clusters of C' / the same of C,

g being estimates of the evidence of a cluster's rows, the mean of the weights w of a few paths (``annealing``). A new cluster
takes its parameters from the ends of its paths, in proportion to w; for an existing cluster, one of the paths ends at its
current z. The posterior is invariant, whatever the number of paths and their length (the conditional importance sampling of
Andrieu, Doucet and Holenstein 2010).

Most proposals are hopeless, and g is expensive. So one is first accepted with probability a = min(1, e^c ratio'), where ratio'
has closed-form guesses of g, and c is a tolerance for their errors; only then are parameters proposed, and the proposal is
accepted with probability min(1, ratio * a_reverse / a), a_reverse being a of the reverse move (Christen and Fox 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bgmm.engines.gibbs.annealing import annealed, log_evidence
from bgmm.engines.gibbs.reference import Conditions, one, shrunk


@dataclass(frozen=True)
class Constants:
    """Constants of the acceptance."""

    at_once: int = 8  # clusters treated side by side, at most: small arrays cost little more than single numbers
    numbers: int = 16  # parameters of those together: of more, each takes as long beside others as alone
    leeway: tuple[float, float] = (8.0, 0.5)  # nats, and more for each feature: guesses erred by 1 in 2-D, by 12 in 10-D


CONSTANTS = Constants()


class Partition(NamedTuple):
    """Which rows belong together, their statistics, and the parameters of each component."""

    assignments: Int[Array, "n_blocks b"]  # component of the row in each place
    statistics: Float[Array, "m p"]
    z: Float[Array, "m q"]


class Proposal(NamedTuple):
    """Another partition."""

    assignments: Int[Array, "n_blocks b"]
    statistics: Float[Array, "m p"]
    touched: Bool[Array, " m"]  # components whose cluster differs, before or after
    log_ratio: Float[Array, ""]  # log of p(C' | alpha) q(C | C') / (p(C | alpha) q(C' | C))


def occupied_first(partition: Partition, log_w: Float[Array, " m"]) -> tuple[Partition, Float[Array, " m"]]:
    """The components that hold rows before those that hold none, otherwise in their order."""
    order = jnp.argsort(partition.statistics[:, 0] == 0, stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size))
    return Partition(rank[partition.assignments], partition.statistics[order], partition.z[order]), log_w[order]


def by_first[T](n: Int[Array, ""], few: int, size: int, function: Callable[[int], T]) -> T:
    """``function(size)`` of ``size`` components; where the first n of them are all that matter and at most ``few``, the cheaper
    ``function(few)``, which gives the same.
    """
    if size <= few:
        return function(size)
    return jax.lax.cond(n <= few, lambda: function(few), lambda: function(size))


def decided(fixed: Conditions, now: Partition, proposal: Proposal, *, key: Array) -> tuple[Partition, Bool[Array, ""]]:
    """The partition after a proposal, which is accepted or not; and whether it was."""
    key_screen, key_z, key_accept = jax.random.split(key, 3)
    m, q = now.z.shape
    at_once = int(np.clip(CONSTANTS.numbers // q, 1, CONSTANTS.at_once))
    statistics = jnp.stack([now.statistics, proposal.statistics], axis=1).reshape(2 * m, -1)  # of clusters before and after
    exist = (statistics[:, 0] > 0) & jnp.repeat(proposal.touched, 2)
    order = jnp.pad(jnp.argsort(~exist, stable=True), (0, -2 * m % at_once), constant_values=2 * m)
    n = exist.sum()
    n_times = (n + at_once - 1) // at_once

    def some(i):
        """The components of some clusters, whether these are new, their statistics, and their signs in the ratio."""
        places = jax.lax.dynamic_slice_in_dim(order, i * at_once, at_once)
        is_new = places % 2 == 1
        sign = jnp.where(i * at_once + jnp.arange(at_once) < n, jnp.where(is_new, 1.0, -1.0), 0.0)
        return places // 2, is_new, statistics[places], sign

    def guess(i, total):
        _, _, S, sign = some(i)
        guesses = jax.vmap(partial(log_evidence_guess, fixed))(S)
        return total + jnp.where(sign != 0, sign * guesses, 0.0).sum()

    def new_parameters(S: Float[Array, " p"], current: Float[Array, " q"], is_new: Bool[Array, ""], key: Array):
        """New parameters of a cluster, and its log g."""
        key_paths, key_chosen = jax.random.split(key)
        z, log_w = annealed(fixed, S, current, ~is_new, key=key_paths)
        return z[jax.random.categorical(key_chosen, log_w)], log_evidence(log_w)

    def draw(i, carry):
        z, total = carry
        components, is_new, S, sign = some(i)
        keys = jax.random.split(jax.random.fold_in(key_z, i), at_once)
        chosen, log_g = jax.vmap(new_parameters)(S, now.z[components], is_new, keys)
        z = z.at[jnp.where(is_new & (sign != 0), components, m)].set(chosen, mode="drop")  # no component has the number m
        return z, total + jnp.where(sign != 0, sign * log_g, 0.0).sum()

    possible = proposal.log_ratio > -jnp.inf
    guessed = jax.lax.fori_loop(0, jnp.where(possible, n_times, 0), guess, proposal.log_ratio)
    leeway = CONSTANTS.leeway[0] + CONSTANTS.leeway[1] * fixed.rows.n_features
    screened = jnp.log(jax.random.uniform(key_screen)) < guessed + leeway
    z, log_ratio = jax.lax.fori_loop(0, jnp.where(screened, n_times, 0), draw, (now.z, proposal.log_ratio))
    accept = screened & (jnp.log(jax.random.uniform(key_accept)) < log_ratio + log_screening_ratio(guessed, leeway))
    new = Partition(proposal.assignments, proposal.statistics, z)
    return jax.tree.map(lambda new, old: jnp.where(accept, new, old), new, now), accept


def log_screening_ratio(guess: Float[Array, ""], leeway: float) -> Float[Array, ""]:
    """log(a_reverse / a)."""
    return jnp.minimum(0.0, leeway - guess) - jnp.minimum(0.0, leeway + guess)


def log_evidence_guess(fixed: Conditions, statistics: Float[Array, " p"]) -> Float[Array, ""]:
    """About log g of rows with these statistics: their evidence under the conjugate prior that is most like the declared.

    With n = inverse temperature * rows, of mean m and covariance C, and prior mean N(m0, V): if the covariance of the component
    were known to be S, the mean would contribute |S|^1/2 |n V + S|^-1/2 exp(-n (m - m0)' (n V + S)^-1 (m - m0) / 2). S is
    unknown: the shrunk C takes its place, and the rest is integrated over a conjugate law of S (``Factor.log_evidence``). A
    covariance that all components share is known.
    """
    origin, beta = fixed.reference.origin, fixed.inverse_temperature
    factor, d = one(origin), origin.n_features
    n_rows, mean, covariance = factor.moments(statistics)
    n = beta * n_rows
    S = one(shrunk(fixed.reference, statistics))
    wide = S.plus_diagonal(n * fixed.reference.mean_variances)
    distance = wide.whiten(mean - origin.means[0])
    log_mean = S.log_det(d) - wide.log_det(d) - 0.5 * n * (distance @ distance)
    if origin.tied:
        return log_mean + beta * statistics @ factor.natural(jnp.zeros(()), mean)
    return log_mean + factor.log_evidence(n, covariance, factor.covariance(), d)
