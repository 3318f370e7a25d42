"""Match components of different draws that describe the same cluster: the algorithm behind ``relabel``, on arrays.

Draw s has J_s occupied components. At a few rows n, p_snj is the probability that row n belongs to component j; it sums to
one over j. There are M clusters, each with a profile q_nm over the same rows. The alignment assigns the components of each
draw to different clusters so that the divergence from the profiles is smallest,

    min over injections c  of  sum_nj g_sn p_snj log(p_snj / q_{n, c(j)}),

which is one linear assignment problem for each draw. The profile q_nm is the mean over the draws of g_sn p_snj, with j the
component assigned to cluster m (zero where a draw lacks the cluster). Assignments and profiles are updated in turn until the
assignments no longer change. With all J_s = M and all g = 1 this is algorithm 2 of Stephens (2000). Of many draws, an even
choice determines the profiles, and every draw is then assigned to them.

The weight g_sn in 0..1 measures how well draw s explains row n. A row of a cluster that the draw lacks still has to belong to
some component; its small weight keeps that component from being mistaken for the missing cluster.

The initial profiles are the components of a pivot: the best draw among those with the most frequent J_s. Where draws may lack
clusters, more profiles are added until there are enough for the largest draw, and until every kind of component that occurs
in at least 5 % of the draws has a profile. A component is unmatched if its Jaccard similarity to the profile assigned to it is
at most one half, the value at which Hennig (2007) calls a cluster dissolved. The next profile is the unmatched component to
which most other unmatched components are similar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Constants:
    """Constants of the alignment."""

    max_rounds: int = 50  # updates of assignments and profiles, should they not converge
    same_cluster: float = 0.5  # Jaccard similarity above which two components are the same cluster
    min_share: float = 0.05  # share of the draws with a kind of component from which it gets a profile of its own
    max_draws: int = 2000  # that determine the profiles
    max_unmatched: int = 300  # unmatched components that are compared with each other: bounds the time and memory
    smallest_probability: float = 1e-12  # keeps logarithms and ratios finite


_CONSTANTS = Constants()


class Alignment(NamedTuple):
    """For each draw and cluster the index of the matching component, -1 where there is none; and each draw's agreement."""

    component: Int[np.ndarray, "s m"]
    agreement: Float[np.ndarray, " s"]  # one minus the mean total variation between the draw's memberships and the profiles


def align(
    p: Float[np.ndarray, "s n j"],
    g: Float[np.ndarray, "s n"],
    counts: Int[np.ndarray, " s"],
    score: Float[np.ndarray, " s"],
    *,
    varying: bool,
) -> Alignment:
    """Align the draws; the first ``counts[s]`` components of draw s exist, and the pivot has the highest ``score``.

    :param varying: whether a draw may lack a cluster that other draws have.
    """
    weighted = p * g[:, :, None]
    some = np.linspace(0, len(p) - 1, _CONSTANTS.max_draws).astype(int)
    some = np.unique(np.append(some, counts.argmax()))  # no draw may have more components than there are profiles
    q = _profiles(weighted[some], counts[some], score[some], varying)
    cluster = _assigned(weighted, q)
    exists = np.arange(p.shape[2]) < counts[:, None]
    component = np.full((len(p), q.shape[1]), -1)
    np.put_along_axis(component, cluster, np.where(exists, np.arange(p.shape[2]), -1), axis=1)
    memberships = _by_cluster(p, cluster, q.shape[1])
    agreement = np.minimum(memberships, memberships.mean(0)).sum(2).mean(1)
    return Alignment(component[:, (component >= 0).any(0)], agreement)


def _profiles(
    p: Float[np.ndarray, "s n j"], counts: Int[np.ndarray, " s"], score: Float[np.ndarray, " s"], varying: bool
) -> Float[np.ndarray, "n m"]:
    """The profiles of the clusters at the fixed point of assignments and profiles."""
    pivots = np.flatnonzero(counts == np.bincount(counts).argmax())
    pivot = int(pivots[score[pivots].argmax()])
    q = p[pivot][:, : counts[pivot]]
    if varying:
        q = _add_profiles(q, p, counts)
    cluster = None
    for _ in range(_CONSTANTS.max_rounds):
        updated = _assigned(p, q)
        if cluster is not None and np.array_equal(updated, cluster):
            break
        cluster = updated
        q = _by_cluster(p, cluster, q.shape[1]).mean(0, dtype=float)
    return q


def _assigned(p: Float[np.ndarray, "s n j"], q: Float[np.ndarray, "n m"]) -> Int[np.ndarray, "s j"]:
    """The cluster of each component.

    A component that does not exist has p = 0: it takes a cluster that is left over and changes no profile.
    """
    gain = np.einsum("snj,nm->sjm", p, np.log(np.maximum(q, _CONSTANTS.smallest_probability)), optimize=True)
    return np.stack([linear_sum_assignment(gain_of_draw, maximize=True)[1] for gain_of_draw in gain])


def _by_cluster(p: Float[np.ndarray, "s n j"], cluster: Int[np.ndarray, "s j"], n_clusters: int) -> Float[np.ndarray, "s n m"]:
    """Memberships with the components of every draw in the order of the clusters."""
    ordered = np.zeros((*p.shape[:2], n_clusters), p.dtype)
    np.put_along_axis(ordered, cluster[:, None, :], p, axis=2)
    return ordered


def _add_profiles(
    q: Float[np.ndarray, "n m"], p: Float[np.ndarray, "s n j"], counts: Int[np.ndarray, " s"]
) -> Float[np.ndarray, "n m_all"]:
    """The profiles ``q`` of the pivot, followed by profiles for the components that none of them matches."""
    largest, exists = counts.max(), np.arange(p.shape[2]) < counts[:, None]
    similarity = np.stack([_jaccard(p, profile[:, None]) for profile in q.T], axis=2)  # (s, j, m)
    while True:
        matched = np.zeros(exists.shape)  # similarity of each component to the profile assigned to it
        for similarity_of_draw, matched_of_draw, n in zip(similarity, matched, counts, strict=True):
            j, m = linear_sum_assignment(similarity_of_draw[:n], maximize=True)
            matched_of_draw[j] = similarity_of_draw[j, m]
        draw, j = np.nonzero(exists & (matched <= _CONSTANTS.same_cluster))
        if not len(draw):
            return q
        some = np.unique(np.linspace(0, len(draw) - 1, _CONSTANTS.max_unmatched).astype(int))
        unmatched = np.swapaxes(p[draw[some], :, j[some]], 0, 1)  # (n, unmatched)
        similar = np.stack([_jaccard(unmatched, profile[:, None]) for profile in unmatched.T]) > _CONSTANTS.same_cluster
        share = similar.mean(1) * len(draw) / len(p)
        new = int(share.argmax())
        if q.shape[1] >= largest and share[new] < _CONSTANTS.min_share:
            return q
        q = np.column_stack([q, unmatched[:, new]])
        similarity = np.concatenate([similarity, _jaccard(p, unmatched[:, new, None])[:, :, None]], axis=2)


def _jaccard(p: Float[np.ndarray, "*s n j"], q: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "*s j"]:
    """Jaccard similarity of fuzzy sets of rows: sum_n min(p_n, q_n) / sum_n max(p_n, q_n)."""
    common = np.minimum(p, q).sum(-2)
    return common / np.maximum(p.sum(-2) + q.sum() - common, _CONSTANTS.smallest_probability)
