"""Where jumps lead: mixtures that the chains visited lately, and modes of numbers of clusters that they may have missed.

Numbers of clusters are picked in proportion to their evidence, estimated by importance sampling of partitions. All this decides
how often jumps are accepted and never what the sampler converges to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from bgmm.core import kernel
from bgmm.core.checks import numpy_generator
from bgmm.core.gaussians import Linear
from bgmm.core.in_memory import InMemory, subsample
from bgmm.engines.gibbs.annealing import annealed, log_evidence
from bgmm.engines.gibbs.jumps import Landmarks, assigned, log_responsibilities, none
from bgmm.engines.gibbs.modes import Seen, mixture_of, partition_modes, seen_under, summed
from bgmm.engines.gibbs.reference import PriorSummary, one
from bgmm.engines.gibbs.sweep import Record, State, densities_at
from bgmm.engines.gibbs.telescope import log_joint
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the landmarks."""

    rows: int = 1280  # among which modes are sought: a size to which few rows are padded anyway
    starts: int = 16  # visited mixtures from which modes are sought, too
    visited: int = 256  # mixtures that the chains visited, at most
    states: int = 8  # under which evidences are estimated
    partitions: int = 64  # under each of these
    least: float = 0.02  # probability with which a number of clusters is picked, about, at least


CONSTANTS = Constants()


def find_landmarks(target: Target, prior: PriorSummary, recent: Record, *, key: Array) -> Landmarks:
    """Landmarks from what the chains recorded lately (a leading axis), and modes given h and alpha of the likeliest record."""
    key_few, key_seen, key_evidence = jax.random.split(key, 3)
    rng = numpy_generator(key_few)
    empty = none(target.rows.n_places, target.n_components)
    size, n = empty.log_probability.shape
    n_clusters = np.asarray(recent.occupied).sum(1)
    n_visited = min(CONSTANTS.visited, size * n)
    chosen = of_each(np.where(n_clusters <= size, n_clusters, 0), n, rng)[:n_visited]
    if not len(chosen):
        return empty
    visited = jax.tree.map(lambda a: np.resize(a[chosen], (n_visited, *a.shape[1:])), recent)

    likeliest = jax.tree.map(lambda a: a[np.argmax(recent.log_likelihood)], recent.state)
    few = replace(target, rows=subsample(target.rows, CONSTANTS.rows, rng=rng).on_one_device())
    seen = seen_under(few, prior, likeliest, key_seen)
    eta, statistics = (np.asarray(a) for a in _of_records(seen, visited, size))
    modes = partition_modes(seen, statistics[: min(len(chosen), CONSTANTS.starts)])
    found = np.concatenate([_etas(seen, modes), eta[: len(chosen)]])
    n_found = np.concatenate([(modes[:, :, 0] > 0).sum(1), n_clusters[chosen]])
    etas, exists = np.zeros((size, n, *eta.shape[1:])), np.zeros((size, n), bool)
    for m in range(1, size + 1):
        of_m = np.flatnonzero(n_found == m)[:n]
        etas[m - 1, : len(of_m)], exists[m - 1, : len(of_m)] = found[of_m], True
    landmarks = Landmarks(_tables(target, jnp.asarray(etas)), jnp.asarray(np.where(exists, -np.log(exists.sum()), -np.inf)))
    return landmarks._replace(log_probability=_by_evidence(target, prior, visited.state, landmarks, rng, key=key_evidence))


def of_each(n_clusters: Int[np.ndarray, " s"], n: int, rng: np.random.Generator) -> Int[np.ndarray, " c"]:
    """Places in a random order, at most n of each number of clusters from one on."""
    order = rng.permutation(len(n_clusters))
    rank = np.zeros(len(order), int)
    for m in np.unique(n_clusters):
        of_m = order[n_clusters[order] == m]
        rank[of_m] = np.arange(len(of_m))
    return order[(rank[order] < n) & (n_clusters[order] > 0)]


def _by_evidence(
    target: Target, prior: PriorSummary, states: State, landmarks: Landmarks, rng: np.random.Generator, *, key: Array
) -> Float[Array, "l j"]:
    """Log probabilities of the landmarks: those of a number of clusters have its share of the evidence, or the least."""
    exists = np.isfinite(np.asarray(landmarks.log_probability))
    some = np.flatnonzero(exists)
    share = np.zeros(len(exists))
    for i in range(CONSTANTS.states):
        key_seen, key_rows = jax.random.split(jax.random.fold_in(key, i))
        state = jax.tree.map(lambda a: a[i % len(a)], states)  # noqa: B023
        picked = rng.choice(some, CONSTANTS.partitions)
        log_w = np.asarray(_log_weights(seen_under(target, prior, state, key_seen), landmarks, jnp.asarray(picked), key_rows))
        log_w = np.where(np.isnan(log_w), -np.inf, log_w)
        if np.isfinite(log_w.max()):  # under each state the shares are those of its posterior
            w = np.exp(log_w - log_w.max())
            share += np.bincount(picked // exists.shape[1], w / w.sum(), len(share))
    of_one = np.maximum(share / max(share.sum(), 1.0), CONSTANTS.least) / np.maximum(exists.sum(1), 1)
    p = np.where(exists, of_one[:, None], 0.0)
    return jnp.log(jnp.asarray(p / p.sum()))


@partial(jax.jit, static_argnames="size")
def _of_records(seen: Seen, records: Record, size: int) -> tuple[Float[Array, "s l p"], Float[Array, "s l p"]]:
    """Natural parameters of the components that hold rows, and expected statistics, of the first ``size`` components."""
    T = one(seen.fixed.reference.origin).statistics

    def of_record(record: Record):
        log_w = jnp.where(record.occupied, record.state.log_w, -jnp.inf)
        densities = densities_at(seen.fixed._replace(h=record.state.h), record.state)
        natural = densities.tempered(seen.fixed.inverse_temperature, log_w)
        S = summed(seen, lambda x, c: (jax.nn.softmax(natural.log_joint(x), axis=0) * c) @ T(x).T)
        return natural.eta[:size], jnp.where(record.occupied[:size, None], S[:size], 0.0)

    return jax.lax.map(of_record, records)


def _etas(seen: Seen, modes: Float[np.ndarray, "s l p"]) -> Float[np.ndarray, "s l p"]:
    """Natural parameters of the components of modes, padded to a number that is always the same."""
    padded = np.resize(modes, (CONSTANTS.visited, *modes.shape[1:]))
    return np.asarray(_etas_of(seen, jnp.asarray(padded)))[: len(modes)]


@jax.jit
def _etas_of(seen: Seen, statistics: Float[Array, "j l p"]) -> Float[Array, "j l p"]:
    return jax.lax.map(lambda S: mixture_of(seen.fixed, S).eta, statistics)


@jax.jit
def _tables(target: Target, etas: Float[Array, "l j l p"]) -> Float[Array, "l l places j"]:
    """Log responsibilities of the row in each place, by mixtures of 1 .. l clusters."""
    assert isinstance(target.rows, InMemory)
    assert target.structure is not None
    rows, (factor, _) = target.rows, target.structure

    def of_landmark(eta, m):
        r = kernel.responsibilities(Linear(eta, None, None, factor), rows)
        return log_responsibilities(r, m, (rows.weights > 0).sum())

    def of_size(etas, m):
        return jnp.transpose(jax.lax.map(lambda eta: of_landmark(eta, m), etas))

    return jax.lax.map(lambda both: of_size(*both), (etas, 1 + jnp.arange(len(etas))))


@jax.jit
def _log_weights(seen: Seen, landmarks: Landmarks, picked: Int[Array, " s"], key: Array) -> Float[Array, " s"]:
    """log of p(C, z, rows) / q(C, z) of partitions with their parameters, one by each of the landmarks picked."""
    fixed, weights, alpha = seen.fixed, seen.fixed.target.weights_prior, jnp.exp(seen.state.log_alpha)

    def of_landmark(j, key):
        key_rows, key_z = jax.random.split(key)
        new = assigned(fixed, seen.x, landmarks, j, key=key_rows)
        counts = new.statistics[:, 0]

        def of_component(k, total):
            key = jax.random.fold_in(key_z, k)
            _, log_w = annealed(fixed, new.statistics[k], fixed.prior.centre, jnp.array(False), key=key)
            return total + log_evidence(log_w)

        n_clusters = j // landmarks.log_probability.shape[1] + 1
        log_g = jax.lax.fori_loop(0, n_clusters, of_component, jnp.zeros(()))
        return logsumexp(log_joint(weights, counts, alpha)) + log_g - new.log_q

    return jax.lax.map(lambda both: of_landmark(*both), (picked, jax.random.split(key, len(picked))))
