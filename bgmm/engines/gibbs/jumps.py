r"""Jumps: proposals of whole mixtures, which do not depend on where a chain is, accepted exactly.

The sweeps change a partition of the rows a little at a time, and rarely pass between modes and numbers of clusters whose way
to each other leads over improbable partitions. A jump does not go that way. For m = 1, 2, ... components that all hold rows,
with uniform weights, q_m is a mixture of t distributions at the modes of their posterior p_m (``variational.draws``).

A state is seen as the partition C that a draw of the assignments gives, the parameters theta = (z, h) of its clusters and of
what they share, and w ~ Dirichlet(1 + counts), drawn for the purpose; K, the weights proper and the empty components are summed
out. The jump draws m with probability r_m, (w', theta') from q_m and C' given these. It is accepted with probability
min(1, b' / b),

.. math::
    b = \frac{p(C \mid \alpha)}{p_m(C)} \, \frac{m! \, p_m(w, \theta, x)}{r_m \, q_m(w, \theta)}, \qquad
    p(C \mid \alpha) = \sum_K p(K) \, p(C \mid K, \alpha),

because p_m(w, theta, C, x) = p_m(C) Dirichlet(w | 1 + counts) p(theta) p(x | C, theta), and the probability of C given
(w, theta) is in the proposal and in the posterior alike. Then K, the weights and the empty components are drawn given C'.
(Tierney 1994 on independence proposals; Nobile 2004 on what an unknown K changes.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float

from bgmm.core import kernel
from bgmm.core.checks import numpy_generator
from bgmm.core.components import Mixture
from bgmm.core.factor import AnyArray
from bgmm.core.importance import log_mean
from bgmm.core.progress import stage
from bgmm.engines.gibbs.reference import joined
from bgmm.engines.gibbs.sweep import State
from bgmm.engines.gibbs.telescope import draw_k, log_joint
from bgmm.engines.importance.labelling import Domain, in_domain, permutations_into, permute_each
from bgmm.engines.importance.proposal import Proposal, log_densities
from bgmm.engines.variational.density import LogPosterior, log_posteriors
from bgmm.engines.variational.draws import log_n_labellings, weighted_draws
from bgmm.engines.variational.elbo import laplace_normal
from bgmm.engines.variational.occupied import larger_are_negligible, row_counts, with_components
from bgmm.program.parts import from_parts, parts_of
from bgmm.program.target import Target
from bgmm.program.weights_prior import concentration_prior


@dataclass(frozen=True)
class Constants:
    """Constants of the jumps."""

    rounds: int = 3  # in which proposals are adapted
    n_starts: int = 8  # restarts among which the modes of each m are sought
    n_draws: int = 1000  # proposals that are made at once
    least: float = 0.02  # probability with which an m is proposed, at least
    max_parameters: int = 400  # of a mixture that is proposed: a t distribution of more is hardly ever accepted


CONSTANTS = Constants()


class Clusters(NamedTuple):
    """Clusters that hold rows, in the first of M places: their parameters, what they share, counts, and log b - log p(C)."""

    z: Float[np.ndarray, "s m q"]
    h: Float[np.ndarray, "s h"]
    counts: Float[np.ndarray, "s m"]
    log_ratio: Float[np.ndarray, " s"]


class Partitioned(NamedTuple):
    """A state with its rows assigned, clusters that hold rows first."""

    z: Float[Array, "m q"]
    counts: Float[Array, " m"]
    log_w: Float[Array, " m"]  # from a Dirichlet distribution of 1 + counts, of these clusters


@dataclass(frozen=True)
class OfSize:
    """What is proposed for m clusters."""

    target: Target
    proposal: Proposal
    domain: Domain | None
    log_evidence: float  # of m clusters, up to what all m share

    def log_ratio(self, z: Float[np.ndarray, "s z"], counts: Float[AnyArray, "s k"]) -> Float[np.ndarray, " s"]:
        """log [m! p_m(w, theta, x) / (q_m p_m(C))] of points in the domain."""
        m = self.target.n_components
        log_p = np.asarray(log_posteriors(LogPosterior(self.target), jnp.asarray(z)))
        partition = jax.vmap(lambda n: self.target.weights_prior.log_partition(n, jnp.ones(()), jnp.array(m)))(counts)
        labellings = log_n_labellings(self.target, self.domain)
        return log_p - log_densities(self.proposal, z) + labellings - np.asarray(partition)

    def in_labelling(self, z: Float[np.ndarray, "s z"]) -> Float[np.ndarray, "s z"]:
        """The same mixtures in the labelling that the proposal covers."""
        if self.domain is None:
            return z
        order = permutations_into(self.target, self.domain, z)
        return np.asarray(permute_each(self.target, jnp.asarray(z), jnp.asarray(order)))

    def propose(self, n: int, size: int, rng: np.random.Generator, *, key: Array) -> Clusters:
        """``n`` draws, padded to ``size`` places."""
        z, _ = self.proposal.draw(n, rng=rng)
        counts = np.asarray(row_counts(self.target, jnp.asarray(z), jax.random.split(key, n)), float)
        counted = (counts > 0).all(1) & in_domain(self.target, self.domain, z)
        ratio = np.where(counted, self.log_ratio(z, counts), -np.inf)
        of_each, h = (np.asarray(a) for a in parts_of(self.target, z))
        more = size - of_each.shape[1]
        return Clusters(np.pad(of_each, ((0, 0), (0, more), (0, 0))), h, np.pad(counts, ((0, 0), (0, more))), ratio)


class Jumps:
    """Proposals for every number of clusters with mass, and the jumps of chains to them."""

    def __init__(self, target: Target, *, key: Array):
        key_fit, self._key = jax.random.split(key)
        self._target, self._rng = target, numpy_generator(jax.random.fold_in(key_fit, 0))
        self._sizes = _of_each_size(target, key=key_fit)
        if not self._sizes:
            most = CONSTANTS.max_parameters
            raise ValueError(f"jumps propose at most {most} parameters, and one component has more of them; leave jumps out")
        log_evidence = np.array([size.log_evidence for size in self._sizes])
        p = np.exp(log_evidence - np.logaddexp.reduce(log_evidence))
        self._probability = np.maximum(p, CONSTANTS.least) / np.maximum(p, CONSTANTS.least).sum()
        self._stock: dict[int, tuple[Clusters, int]] = {}

    def jump(self, states: State) -> tuple[State, Bool[np.ndarray, " c"]]:
        """One jump of each chain, accepted or not; and whether it was."""
        self._key, key_now, key_new = jax.random.split(self._key, 3)
        n_chains = len(states.k)
        now = jax.device_get(_partitioned(self._target, states, jax.random.split(key_now, n_chains)))
        new = self._next(n_chains)
        alpha = jnp.exp(jnp.asarray(states.log_alpha))
        log_p_now, log_p_new = (np.asarray(_log_partition(self._target, counts, alpha)) for counts in (now.counts, new.counts))
        log_b = self._log_ratio(now, np.asarray(states.h)) + log_p_now
        with np.errstate(invalid="ignore"):
            accepted = np.log(self._rng.uniform(size=n_chains)) < new.log_ratio + log_p_new - log_b
        renewed = _renewed(self._target, new.z, new.h, new.counts, states.log_alpha, jax.random.split(key_new, n_chains))

        def chosen(one, other):
            return np.where(accepted.reshape(-1, *[1] * (np.ndim(one) - 1)), one, other)

        return jax.tree.map(chosen, jax.device_get(renewed), jax.device_get(states)), accepted

    def _next(self, n: int) -> Clusters:
        """``n`` proposals, none of them used before."""
        sizes = self._rng.choice(len(self._sizes), n, p=self._probability)
        return jax.tree.map(lambda *a: np.stack(a), *[self._take(int(size)) for size in sizes])

    def _take(self, size: int) -> Clusters:
        stock, used = self._stock.get(size, (None, CONSTANTS.n_draws))
        if stock is None or used == CONSTANTS.n_draws:
            self._key, key = jax.random.split(self._key)
            made = self._sizes[size].propose(CONSTANTS.n_draws, self._target.n_components, self._rng, key=key)
            stock, used = made._replace(log_ratio=made.log_ratio - np.log(self._probability[size])), 0
        self._stock[size] = stock, used + 1
        return jax.tree.map(lambda a: a[used], stock)

    def _log_ratio(self, now: Partitioned, h: Float[np.ndarray, "c h"]) -> Float[np.ndarray, " c"]:
        """log b - log p(C) of the chains; infinite where nothing is proposed for so many clusters."""
        m_now = (now.counts > 0).sum(1)
        value = np.full(len(m_now), np.inf)
        for size, probability in zip(self._sizes, self._probability, strict=True):
            m = size.target.n_components
            if (here := m_now == m).any():
                z = np.asarray(_from_parts(size.target, now.log_w[:, :m], now.z[:, :m], h))
                z = np.where(here[:, None], z, z[here.argmax()])  # one shape, whatever the number of such chains
                ratio = size.log_ratio(size.in_labelling(z), now.counts[:, :m])
                value[here] = ratio[here] - np.log(probability)
        return value


def _of_each_size(target: Target, *, key: Array) -> list[OfSize]:
    """Proposals for m = 1, 2, ... until two in a row have little mass."""
    found: list[OfSize] = []
    sizes: list[float] = []
    for m in range(1, min(target.n_components, target.rows.n_counted) + 1):
        of_m = with_components(target, m)
        if of_m.n_dim > CONSTANTS.max_parameters:
            break
        key_fit, key_draws = jax.random.split(jax.random.fold_in(key, m))
        with stage(f"proposals of K+ = {m}"):
            made = CONSTANTS.n_draws, CONSTANTS.n_starts
            of_m, weighted = weighted_draws(of_m, laplace_normal, *made, key=key_fit, rounds=CONSTANTS.rounds)
            assert weighted.proposal is not None
            size = OfSize(of_m, weighted.proposal, weighted.domain, 0.0)
            some = size.propose(CONSTANTS.n_draws, target.n_components, numpy_generator(key_draws), key=key_draws)
        log_evidence = log_mean(some.log_ratio + np.asarray(_log_partition(target, some.counts, _alphas(target, len(some.h)))))
        sizes.append(log_evidence)
        if np.isfinite(log_evidence):
            found.append(OfSize(of_m, weighted.proposal, weighted.domain, log_evidence))
        if larger_are_negligible(np.array(sizes)):
            break
    return found


def _alphas(target: Target, n: int) -> Float[Array, " n"]:
    """Concentrations from their prior."""
    prior = concentration_prior(target.weights_prior)
    if prior is not None:
        return prior.sample(jax.random.key(0), (n,))
    return jnp.full(n, target.weights_prior.concentration)  # type: ignore[arg-type]


@jax.jit
def _partitioned(target: Target, states: State, keys: Array) -> Partitioned:
    """Every state with its rows assigned."""

    def one(state: State, key: Array) -> Partitioned:
        key_rows, key_w = jax.random.split(key)
        components = joined(jax.vmap(lambda z: target.component(z, state.h).components)(state.z))
        counts = kernel.counts(Mixture(state.log_w, components).natural(), target.rows, key=key_rows).astype(float)
        order = jnp.argsort(counts == 0, stable=True)
        counts = counts[order]
        gamma = jnp.where(counts > 0, jax.random.loggamma(key_w, counts + 1), -jnp.inf)
        return Partitioned(state.z[order], counts, jax.nn.log_softmax(gamma))

    return jax.lax.map(lambda both: one(*both), (states, keys))


@jax.jit
def _log_partition(target: Target, counts: Float[Array, "s m"], alpha: Float[Array, " s"]) -> Float[Array, " s"]:
    """log p(C | alpha) of partitions with these counts, up to a constant; K is summed out."""
    return jax.lax.map(lambda both: logsumexp(log_joint(target.weights_prior, *both)), (counts, alpha))


@jax.jit
def _from_parts(target: Target, log_w, z, h) -> Float[Array, "s z"]:
    return jax.vmap(lambda log_w, z, h: from_parts(target, log_w, z, h))(log_w, z, h)


@jax.jit
def _renewed(target: Target, z, h, counts, log_alpha, keys: Array) -> State:
    """States with these clusters: K, the weights and the empty components drawn given them."""
    weights, m = target.weights_prior, target.n_components

    def one(z, h, counts, log_alpha, key) -> State:
        key_k, key_w, key_empty = jax.random.split(key, 3)
        k = draw_k(weights, counts, jnp.exp(log_alpha), key=key_k)
        log_w = weights.draw_log_weights(counts, jnp.exp(log_alpha), k, key=key_w)
        empty = jax.vmap(lambda key: target.draw_component(h, key=key)[0])(jax.random.split(key_empty, m))
        return State(k, log_w, jnp.where((counts > 0)[:, None], z, empty), h, log_alpha)

    return jax.lax.map(lambda inputs: one(*inputs), (z, h, counts, log_alpha, keys))
