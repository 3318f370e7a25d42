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
from bgmm.engines.gibbs.sweep import Record, State, mixture_at
from bgmm.engines.gibbs.telescope import log_joint
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the landmarks."""

    rows: int = 1280  # among which modes are sought: a size to which few rows are padded anyway
    starts: int = 16  # visited mixtures from which modes are sought, too
    of_modes: float = 0.25  # share of landmarks, at most
    partitions: int = 8  # by each landmark, from which evidences are estimated
    least: float = 0.02  # probability with which a number of clusters is picked, about, at least


CONSTANTS = Constants()


def find_landmarks(target: Target, prior: PriorSummary, recent: Record, *, key: Array) -> Landmarks:
    """Landmarks from what the chains recorded lately (a leading axis), and modes given h and alpha of the likeliest record."""
    key_few, key_seen, key_evidence = jax.random.split(key, 3)
    rng = numpy_generator(key_few)
    empty = none(target.rows.n_places, target.n_components)
    size, _, n = empty.log_r.shape
    n_clusters = np.asarray(recent.occupied).sum(1)
    fitting = np.flatnonzero(n_clusters <= size)
    if not len(fitting):
        return empty
    fitting = fitting[_varied(n_clusters[fitting], rng)]
    visited = jax.tree.map(lambda a: np.resize(a[fitting], (n, *a.shape[1:])), recent)

    likeliest = jax.tree.map(lambda a: a[np.argmax(recent.log_likelihood)], recent.state)
    few = replace(target, rows=subsample(target.rows, CONSTANTS.rows, rng=rng).on_one_device())
    seen = seen_under(few, prior, likeliest, key_seen)
    eta, statistics = (np.array(a) for a in _of_records(seen, visited, size))
    statistics[len(fitting) :] = 0.0
    modes = partition_modes(seen, statistics[: CONSTANTS.starts])[: int(CONSTANTS.of_modes * n)]
    n_visited = min(n - len(modes), len(fitting))
    of_modes = slice(n_visited, n_visited + len(modes))
    m = np.where(np.arange(n) < n_visited, visited.occupied.sum(1), 0)
    if len(modes):
        eta[of_modes] = _etas(seen, jnp.asarray(np.resize(modes, (n, *modes.shape[1:]))))[: len(modes)]
    m[of_modes] = (modes[:, :, 0] > 0).sum(1)
    log_r = _tables(target, jnp.asarray(eta), jnp.asarray(m))
    landmarks = Landmarks(log_r, jnp.asarray(m), jnp.asarray(np.where(m > 0, -np.log((m > 0).sum()), -np.inf)))
    return landmarks._replace(log_probability=_by_evidence(target, prior, visited.state, landmarks, key=key_evidence))


def _varied(m: Int[np.ndarray, " s"], rng: np.random.Generator) -> Int[np.ndarray, " s"]:
    """All places in a random order, at the beginning of which a number that is found n times has a share that grows as sqrt(n).

    Rarer numbers of clusters need their landmarks too, and the more clusters, the more partitions there are.
    """
    p = 1 / np.sqrt(np.bincount(m))[m]
    return rng.choice(len(m), len(m), replace=False, p=p / p.sum())


def _by_evidence(target: Target, prior: PriorSummary, states: State, landmarks: Landmarks, *, key: Array) -> Float[Array, " j"]:
    """Log probabilities of the landmarks: that of a number of clusters is its share of the evidence."""
    m = np.asarray(landmarks.n_clusters)
    share = np.zeros(m.max() + 1)
    for i in range(CONSTANTS.partitions):
        key_seen, key_rows = jax.random.split(jax.random.fold_in(key, i))
        state = jax.tree.map(lambda a: a[i % len(a)], states)  # noqa: B023
        log_w = np.asarray(_log_weights(seen_under(target, prior, state, key_seen), landmarks, key_rows))
        log_w = np.where((m > 0) & ~np.isnan(log_w), log_w, -np.inf)
        if np.isfinite(log_w.max()):  # under each state the shares are those of its posterior
            w = np.exp(log_w - log_w.max())
            share += np.bincount(m, w / w.sum())
    p = np.maximum(share / max(share.sum(), 1.0), CONSTANTS.least) / np.maximum(np.bincount(m), 1)
    return jnp.log(jnp.asarray(np.where(m > 0, p[m], 0.0) / p[m[m > 0]].sum()))


@partial(jax.jit, static_argnames="size")
def _of_records(seen: Seen, records: Record, size: int) -> tuple[Float[Array, "s l p"], Float[Array, "s l p"]]:
    """Natural parameters of the components that hold rows, and expected statistics, of the first ``size`` components."""
    T = one(seen.fixed.reference.origin).statistics

    def of_record(record: Record):
        log_w = jnp.where(record.occupied, record.state.log_w, -jnp.inf)
        natural = mixture_at(seen.fixed._replace(h=record.state.h), record.state._replace(log_w=log_w))
        S = summed(seen, lambda x, c: (jax.nn.softmax(natural.log_joint(x), axis=0) * c) @ T(x).T)
        return natural.eta[:size], jnp.where(record.occupied[:size, None], S[:size], 0.0)

    return jax.lax.map(of_record, records)


@jax.jit
def _etas(seen: Seen, statistics: Float[Array, "j l p"]) -> Float[Array, "j l p"]:
    return jax.lax.map(lambda S: mixture_of(seen.fixed, S).eta, statistics)


@jax.jit
def _tables(target: Target, etas: Float[Array, "j l p"], n_clusters: Int[Array, " j"]) -> Float[Array, "l places j"]:
    """Log responsibilities of the row in each place."""
    assert isinstance(target.rows, InMemory)
    assert target.structure is not None
    rows, (factor, _) = target.rows, target.structure

    def of_landmark(eta, m):
        r = kernel.responsibilities(Linear(eta, None, None, factor), rows)
        return log_responsibilities(r, m, (rows.weights > 0).sum())

    return jnp.transpose(jax.lax.map(lambda both: of_landmark(*both), (etas, n_clusters)))


@jax.jit
def _log_weights(seen: Seen, landmarks: Landmarks, key: Array) -> Float[Array, " j"]:
    """log of p(C, z, rows) / q(C, z) of one partition with its parameters, by each landmark that there is."""
    fixed, weights, alpha = seen.fixed, seen.fixed.target.weights_prior, jnp.exp(seen.state.log_alpha)

    def of_landmark(j, key):
        key_rows, key_z = jax.random.split(key)

        def log_weight():
            new = assigned(fixed, seen.x, landmarks, j, key=key_rows)
            counts = new.statistics[:, 0]

            def of_component(k, total):
                key = jax.random.fold_in(key_z, k)
                _, log_w = annealed(fixed, new.statistics[k], fixed.prior.centre, jnp.array(False), key=key)
                return total + log_evidence(log_w)

            log_g = jax.lax.fori_loop(0, landmarks.n_clusters[j], of_component, jnp.zeros(()))
            return logsumexp(log_joint(weights, counts, alpha)) + log_g - new.log_q

        return jax.lax.cond(landmarks.log_probability[j] > -jnp.inf, log_weight, lambda: jnp.array(-jnp.inf))

    n = len(landmarks.n_clusters)
    return jax.lax.map(lambda both: of_landmark(*both), (jnp.arange(n), jax.random.split(key, n)))
