"""Which components of different draws are the same cluster: the algorithm behind ``relabel``, on arrays.

Draw s has J_s occupied components with membership probabilities p_snj at a few rows, which sum to one over j. They take
different places among M clusters with profiles q_nm so that the divergence from the profiles is least,

    min over injections c  of  sum_nj g_sn p_snj log(p_snj / q_{n, c(j)}),

an assignment problem for each draw; q is the mean over the draws of the g_sn p_snj thus placed, zero where a cluster is absent,
and both are found in turn until they agree (Stephens 2000, algorithm 2, where all J_s are equal to M and all g to 1). The
weight g_sn in 0..1 says how well the draw explains the row: one of a cluster that it lacks belongs to some component
all the same, and must not make that component look like the cluster.

The places begin as the components of a pivot, the best draw among those with the commonest J_s. Where draws may lack clusters
further places follow, until every component of every draw has one and no kind of component that 5 % of the draws have is
without. A component is a stranger to the places when it has at most half of its rows in common with the one it fits best (a
Jaccard similarity of at most one half, at which Hennig 2007 calls a cluster dissolved); the next place is the stranger that
most other strangers resemble.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

_ROUNDS = 50
_ALIKE = 0.5  # Jaccard similarity above which two components are the same cluster
_COMMON = 0.05  # share of the draws that must have a kind of component for it to have a place of its own
_COMPARED = 300  # strangers compared with each other
_LEAST = 1e-12  # probability


class Alignment(NamedTuple):
    """The component of each draw that is each cluster, -1 where it is absent; and how well each draw fits."""

    component: Int[np.ndarray, "s m"]
    agreement: Float[np.ndarray, " s"]  # one less the mean total variation between the draw's memberships and the profiles


def align(
    p: Float[np.ndarray, "s n j"],
    g: Float[np.ndarray, "s n"],
    counts: Int[np.ndarray, " s"],
    score: Float[np.ndarray, " s"],
    *,
    varying: bool,
) -> Alignment:
    """The draws aligned; of each the first ``counts`` components exist, and the pivot is chosen by ``score``.

    :param varying: whether a draw may lack a cluster that others have.
    """
    pivots = np.flatnonzero(counts == np.bincount(counts).argmax())
    pivot = int(pivots[score[pivots].argmax()])
    weighted = p * g[:, :, None]
    q = weighted[pivot][:, : counts[pivot]]
    if varying:
        q = _with_further_places(q, weighted, counts)
    exists = np.arange(p.shape[2]) < counts[:, None]
    place = np.zeros(exists.shape, int)
    for _ in range(_ROUNDS):
        # of a component that does not exist p is zero: it takes any place that is left over, and changes nothing there
        gain = np.einsum("snj,nm->sjm", weighted, np.log(np.maximum(q, _LEAST)), optimize=True)
        new = np.stack([linear_sum_assignment(g, maximize=True)[1] for g in gain])
        done = np.array_equal(new, place)
        place = new
        q = _placed(weighted, place, q.shape[1]).mean(0, dtype=float)
        if done:
            break
    component = np.full((len(p), q.shape[1]), -1)
    np.put_along_axis(component, place, np.where(exists, np.arange(p.shape[2]), -1), axis=1)
    memberships = _placed(p, place, q.shape[1])
    agreement = np.minimum(memberships, memberships.mean(0)).sum(2).mean(1)
    return Alignment(component[:, (component >= 0).any(0)], agreement)


def _placed(p: Float[np.ndarray, "s n j"], place: Int[np.ndarray, "s j"], n_places: int) -> Float[np.ndarray, "s n places"]:
    """The memberships with every component in its place."""
    placed = np.zeros((*p.shape[:2], n_places), p.dtype)
    np.put_along_axis(placed, place[:, None, :], p, axis=2)
    return placed


def _with_further_places(
    q: Float[np.ndarray, "n m"], p: Float[np.ndarray, "s n j"], counts: Int[np.ndarray, " s"]
) -> Float[np.ndarray, "n places"]:
    """The pivot's profiles, and those of the further places."""
    most, exists = counts.max(), np.arange(p.shape[2]) < counts[:, None]
    similar = np.stack([_jaccard(p, own[:, None]) for own in q.T], axis=2)  # (s, j, m)
    while True:
        fits = np.zeros(exists.shape)
        for own, of_draw, n in zip(similar, fits, counts, strict=True):
            j, m = linear_sum_assignment(own[:n], maximize=True)
            of_draw[j] = own[j, m]
        draw, j = np.nonzero(exists & (fits <= _ALIKE))
        if not len(draw):
            return q
        some = np.unique(np.linspace(0, len(draw) - 1, _COMPARED).astype(int))
        strangers = np.swapaxes(p[draw[some], :, j[some]], 0, 1)  # (n, strangers)
        resemble = np.stack([_jaccard(strangers, own[:, None]) for own in strangers.T]) > _ALIKE
        share = resemble.mean(1) * len(draw) / len(p)
        new = int(share.argmax())
        if q.shape[1] >= most and share[new] < _COMMON:
            return q
        q = np.column_stack([q, strangers[:, new]])
        similar = np.concatenate([similar, _jaccard(p, strangers[:, new, None])[:, :, None]], axis=2)


def _jaccard(p: Float[np.ndarray, "*s n j"], q: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "*s j"]:
    """Rows in common over rows in either: sum_n min(p_n, q_n) / sum_n max(p_n, q_n)."""
    common = np.minimum(p, q).sum(-2)
    return common / np.maximum(p.sum(-2) + q.sum() - common, _LEAST)
