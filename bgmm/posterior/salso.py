"""Search for the partition with the smallest expected loss (SALSO: Dahl, Johnson and Mueller 2022), without an N x N matrix.

With f of ``losses``, the expected loss of a partition c over draws z_s with contingency tables n_skj is

    sum_k f(a_k) + (1/S) sum_s [sum_j f(b_sj) - 2 sum_kj f(n_skj)].

This is the expectation itself, not the lower bound from Jensen's inequality. Let a group be w rows that share a cluster in each
draw, z_s in draw s. Adding the group to cluster k changes the expected loss by

    f(a_k + w) - f(a_k) - (2/S) sum_s [f(n_{s k z_s} + w) - f(n_{s k z_s})],

which takes S table look-ups for each cluster, whatever N. One run has four steps. It allocates the groups one after another in
random order, each to the cluster (or new cluster) where the expected loss grows least. It sweeps over all groups until none
moves. It merges pairs of clusters. It dissolves single clusters and allocates their groups again (the paper's zealous updates).
With many groups the runs use only some rows, and the best results are extended to all rows. The draw with the smallest expected
loss is one more starting point, so that the result is never worse than it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bgmm.posterior.losses import Grouped, Loss, contingency_tables, distances, grouped


@dataclass(frozen=True)
class Constants:
    """Constants of the search."""

    max_groups: int = 1000  # with more groups the runs use this many rows: a run sweeps over them many times
    n_extended: int = 3  # best results of these runs that are extended to all rows
    max_sweeps: int = 50  # of one polishing, should groups keep moving
    max_look_ups: int = 10**9  # table look-ups of the sweeps over all groups: about fifteen seconds
    max_comparisons: int = 3 * 10**8  # labels compared to find the best draw; all pairs of draws where that is enough
    min_panel: int = 30  # draws to which each draw is compared at least
    standard_errors: float = 4.0  # by which a draw must be worse on the panel to be left out
    min_gain: float = 1e-12  # smaller changes of the expected loss are rounding


_CONSTANTS = Constants()


def search(
    z: Int[np.ndarray, "s n"], loss: Loss, rng: np.random.Generator, n_starts: int, max_clusters: int | None
) -> Int[np.ndarray, " n"]:
    """The best partition found, with clusters numbered by size, largest first."""
    draws = grouped(z)
    cap = max(32, 2 * draws.n_labels) if max_clusters is None else max_clusters
    allowed = np.flatnonzero(draws.z.max(1) < cap)  # draws with at most as many clusters
    panel_losses = _panel_losses(draws, allowed, loss)
    complete = len(draws.size) <= _CONSTANTS.max_groups
    some = draws if complete else grouped(z[:, rng.choice(z.shape[1], _CONSTANTS.max_groups, replace=False)])
    runs = sorted([_run(some, loss, cap, rng) for _ in range(n_starts)], key=_Estimate.expected_loss)[: _CONSTANTS.n_extended]
    found = [run if complete else _Estimate(draws, loss, cap, _extend(run, some, draws, loss)) for run in runs]
    if len(allowed):
        found.append(_from_draw(int(allowed[panel_losses.mean(1).argmin()]), draws, loss, cap))
    best = min(found, key=_Estimate.expected_loss)
    best.polish(rng, zealous=complete)
    for t in _may_be_better(best.expected_loss(), panel_losses, draws):
        if distances(draws.z[allowed[t]], draws, loss).mean() < best.expected_loss() - _CONSTANTS.min_gain:
            best = _from_draw(int(allowed[t]), draws, loss, cap)
            best.polish(rng, zealous=complete)
    labels = best.labels[draws.of_row]
    rank = np.empty(labels.max() + 1, np.int64)
    rank[np.argsort(-np.bincount(labels), kind="stable")] = np.arange(len(rank))
    return rank[labels]


def _panel_losses(draws: Grouped, allowed: Int[np.ndarray, " t"], loss: Loss) -> Float[np.ndarray, "t p"]:
    """Loss between each ``allowed`` draw and a panel of evenly spaced draws, which is all draws where there are few."""
    s, g = draws.z.shape
    p = min(s, max(_CONSTANTS.min_panel, _CONSTANTS.max_comparisons // (s * g)))
    panel = draws._replace(z=draws.z[np.unique(np.linspace(0, s - 1, p).astype(int))])
    return np.array([distances(draws.z[t], panel, loss) for t in allowed]).reshape(len(allowed), len(panel.z))


def _may_be_better(expected_loss: float, panel_losses: Float[np.ndarray, "t p"], draws: Grouped) -> list[int]:
    """Draws that may have a smaller expected loss than ``expected_loss``.

    Where the panel is not all draws, a draw is left out if its mean loss to the panel is larger by four standard errors.
    """
    p = panel_losses.shape[1]
    error = 0.0 if p == len(draws.z) else panel_losses.std(1) / np.sqrt(p)
    possible = panel_losses.mean(1) - _CONSTANTS.standard_errors * error < expected_loss - _CONSTANTS.min_gain
    return np.flatnonzero(possible).tolist()


def _from_draw(t: int, draws: Grouped, loss: Loss, cap: int) -> _Estimate:
    return _Estimate(draws, loss, cap, draws.z[t].astype(np.int64))


def _run(draws: Grouped, loss: Loss, cap: int, rng: np.random.Generator) -> _Estimate:
    """One run, from a sequential allocation of the groups or from a random partition with a random number of clusters."""
    n = len(draws.size)
    if rng.uniform() < 0.5:
        estimate = _Estimate(draws, loss, cap, rng.integers(0, rng.integers(1, min(n, cap, draws.n_labels + 1) + 1), n))
    else:
        estimate = _Estimate(draws, loss, cap, np.full(n, -1))
        for g in rng.permutation(n).tolist():
            estimate.allocate(g)
    estimate.polish(rng, zealous=True)
    return estimate


def _extend(run: _Estimate, some: Grouped, draws: Grouped, loss: Loss) -> Int[np.ndarray, " g"]:
    """Labels of all groups: for each the cluster of ``run`` where one more row costs least."""
    f = loss.terms(len(some.of_row) + 1)
    labels = np.unique(run.labels, return_inverse=True)[1]
    n = contingency_tables(labels, some, int(labels.max()) + 1)
    n = np.pad(n, ((0, 0), (0, draws.n_labels - n.shape[1]), (0, 0)))
    a, gain_of_row = n[0].sum(0), f[n + 1] - f[n]
    gain = np.zeros((len(draws.size), len(a)))
    for gain_of_draw, z in zip(gain_of_row, draws.z, strict=True):
        gain += gain_of_draw[z]
    return (f[a + 1] - f[a] - 2 * gain / len(draws.z)).argmin(1)


class _Estimate:
    """A partition and its contingency tables n_sjk, updated in place.

    One cluster is kept empty, for a group to open, as long as there are fewer than ``cap`` clusters.
    """

    def __init__(self, draws: Grouped, loss: Loss, cap: int, labels: Int[np.ndarray, " g"]):
        self.f = loss.terms(len(draws.of_row))
        self.cap = cap
        self.labels = labels.copy()  # cluster of each group; -1 where it is not allocated
        self.size = draws.size
        self.z = np.ascontiguousarray(draws.z.T)
        self.first_row = np.arange(len(draws.z)) * draws.n_labels  # of each draw's table in n
        self.mean = np.full(len(draws.z), 1 / len(draws.z))
        if (labels >= 0).any():
            tables = contingency_tables(self.labels, draws, int(labels.max()) + 1)
            self.n = np.ascontiguousarray(tables.reshape(-1, tables.shape[2]))
        else:
            self.n = np.zeros((len(draws.z) * draws.n_labels, 1), np.int64)
        self.a = self.n[: draws.n_labels].sum(0, dtype=np.int64)
        self.draws_term = self.f[contingency_tables(np.zeros_like(labels), draws, 1)].sum() / len(draws.z)
        self._drop_empty()

    def expected_loss(self) -> float:
        """The mean loss over the draws."""
        return float(self.f[self.a].sum() + self.draws_term - 2 * self.f[self.n].sum() / len(self.mean))

    def allocate(self, g: int) -> bool:
        """Move group g to the cluster with the smallest expected loss; return whether it moved."""
        rows, w, old = self.first_row + self.z[g], self.size[g], self.labels[g]
        n, a = self.n.take(rows, axis=0), self.a
        if old >= 0:
            n[:, old] -= w
            a = a.copy()
            a[old] -= w
        gain = self.mean @ self.f.take(n + w) - self.mean @ self.f.take(n)
        cost = self.f[a + w] - self.f[a] - 2 * gain
        new = int(cost.argmin())
        if old >= 0 and cost[new] > cost[old] - _CONSTANTS.min_gain:
            return False
        self._move(g, new)
        if len(self.a) < self.cap and self.a.all():
            self._drop_empty()
        return True

    def polish(self, rng: np.random.Generator, zealous: bool) -> None:
        """Sweep, merge and (if ``zealous``) dissolve clusters until the expected loss no longer falls."""
        self.sweep(rng)
        while self._merge() or (zealous and self._dissolve(rng)):
            self.sweep(rng)

    def sweep(self, rng: np.random.Generator) -> None:
        """Allocate every group again in random order, until none moves."""
        look_ups = len(self.labels) * len(self.mean) * len(self.a)  # of one sweep
        for _ in range(int(np.clip(_CONSTANTS.max_look_ups // look_ups, 1, _CONSTANTS.max_sweeps))):
            if not sum([self.allocate(g) for g in rng.permutation(len(self.labels)).tolist()]):
                break
        self._drop_empty()

    def _merge(self) -> bool:
        """Merge the pair of clusters that reduces the expected loss most; return whether there is one."""
        f, best, pair = self.f, -_CONSTANTS.min_gain, None
        separate = f[self.a] - 2 * f[self.n].sum(0) / len(self.mean)
        for k in range(len(self.a) - 1):
            a, n = self.a[k + 1 :] + self.a[k], self.n[:, k + 1 :] + self.n[:, [k]]
            change = f[a] - 2 * f[n].sum(0) / len(self.mean) - separate[k + 1 :] - separate[k]
            if change.min() < best:
                best, pair = change.min(), (k, k + 1 + int(change.argmin()))
        if pair is None:
            return False
        for g in np.flatnonzero(self.labels == pair[1]).tolist():
            self._move(g, pair[0])
        self._drop_empty()
        return True

    def _dissolve(self, rng: np.random.Generator) -> bool:
        """Dissolve clusters in random order and allocate their groups again, until the expected loss falls.

        Return whether it fell; a cluster whose new allocation is no better is restored.
        """
        before = self.expected_loss()
        for k in rng.permutation(np.unique(self.labels)):
            members, saved = np.flatnonzero(self.labels == k), (self.labels.copy(), self.n.copy(), self.a.copy())
            for g in members.tolist():
                self._move(g, -1)
            for g in rng.permutation(members).tolist():
                self.allocate(g)
            if self.expected_loss() < before - _CONSTANTS.min_gain:
                return True
            self.labels, self.n, self.a = saved
        return False

    def _move(self, g: int, new: int) -> None:
        """Move group g to cluster ``new``, or out of the partition where that is -1."""
        rows, w, old = self.first_row + self.z[g], self.size[g], self.labels[g]
        if old >= 0:
            self.n[rows, old] -= w
            self.a[old] -= w
        if new >= 0:
            self.n[rows, new] += w
            self.a[new] += w
        self.labels[g] = new

    def _drop_empty(self) -> None:
        """Drop empty clusters, except for one if there are fewer than ``cap`` clusters."""
        used = np.flatnonzero(self.a)
        renumbered = np.full(len(self.a) + 1, -1)
        renumbered[used] = np.arange(len(used))
        self.labels = renumbered[self.labels]
        empty = int(len(used) < self.cap)
        self.n = np.ascontiguousarray(np.pad(self.n[:, used], ((0, 0), (0, empty))))
        self.a = np.pad(self.a[used], (0, empty))
