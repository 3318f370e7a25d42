"""Search for the partition of least expected loss (SALSO: Dahl, Johnson and Mueller 2022), without an N x N matrix.

The expected loss of a partition c over draws z_s, with f of ``losses``, is

    sum_k f(a_k) + (1/S) sum_s [sum_j f(b_sj) - 2 sum_kj f(n_skj)].

It is the expectation itself, not the lower bound that Jensen's inequality gives. Putting w rows that all draws keep together
(labels z_s, one group) into cluster k changes it by

    f(a_k + w) - f(a_k) - (2/S) sum_s [f(n_{s k z_s} + w) - f(n_{s k z_s})],

S look-ups a cluster, whatever N. A run allocates the groups one after another in random order, each where it costs least, a
new cluster included; sweeps over all groups until none moves; merges pairs of clusters; and takes clusters apart to allocate
their groups anew (the paper's zealous updates). Of many groups only some are searched from many starts, and the best
answers then carried to all. The best visited draw is a start as well, so that the answer is never worse than it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from bgmm.posterior.losses import Grouped, Loss, distances, grouped, shared

_ROWS = 1000  # searched from every start
_CARRIED = 3  # answers carried from these to all rows
_PANEL = 3 * 10**8  # labels compared to find the best visited draw: all pairs of draws when that is enough
_FEWEST_IN_PANEL = 30
_ERRORS = 4  # standard errors by which a draw must be worse on the panel to be left out
_SWEEPS = 50
_LOOK_UPS = 10**9  # of all sweeps over the whole: some fifteen seconds
_LEAST = 1e-12  # gain that is not rounding


def search(
    z: Int[np.ndarray, "s n"], loss: Loss, rng: np.random.Generator, n_starts: int, max_clusters: int | None
) -> Int[np.ndarray, " n"]:
    """The best partition found, its clusters numbered by size, largest first."""
    draws = grouped(z)
    cap = max(32, 2 * draws.n_labels) if max_clusters is None else max_clusters
    allowed = np.flatnonzero(draws.z.max(1) < cap)
    to_panel = _to_panel(draws, allowed, loss)
    few = draws if len(draws.size) <= _ROWS else grouped(z[:, rng.choice(z.shape[1], _ROWS, replace=False)])
    runs = sorted([_run(few, loss, cap, rng) for _ in range(n_starts)], key=_Estimate.expected_loss)[:_CARRIED]
    found = [run if few is draws else _Estimate(draws, loss, cap, _carried(run, few, draws, loss)) for run in runs]
    if len(allowed):
        found.append(_from_draw(int(allowed[to_panel.mean(1).argmin()]), draws, loss, cap))
    best = min(found, key=_Estimate.expected_loss)
    best.polish(rng, zealous=few is draws)
    for t in _in_the_race(best.expected_loss(), to_panel, draws):
        if distances(draws.z[allowed[t]], draws, loss).mean() < best.expected_loss() - _LEAST:
            best = _from_draw(int(allowed[t]), draws, loss, cap)
            best.polish(rng, zealous=few is draws)
    labels = best.labels[draws.of_row]
    rank = np.empty(labels.max() + 1, np.int64)
    rank[np.argsort(-np.bincount(labels), kind="stable")] = np.arange(len(rank))
    return rank[labels]


def _to_panel(draws: Grouped, allowed: Int[np.ndarray, " t"], loss: Loss) -> Float[np.ndarray, "t p"]:
    """Loss of each draw of those ``allowed`` to a panel of draws, evenly chosen: to all of them when that is cheap."""
    s, g = draws.z.shape
    p = min(s, max(_FEWEST_IN_PANEL, _PANEL // (s * g)))
    panel = draws._replace(z=draws.z[np.unique(np.linspace(0, s - 1, p).astype(int))])
    return np.array([distances(draws.z[t], panel, loss) for t in allowed]).reshape(len(allowed), len(panel.z))


def _in_the_race(least: float, to_panel: Float[np.ndarray, "t p"], draws: Grouped) -> list[int]:
    """Draws that may have an expected loss under ``least``.

    Where the panel is not all draws, those are left out whose mean loss to it is over ``least`` by four standard errors.
    """
    p = to_panel.shape[1]
    error = 0.0 if p == len(draws.z) else to_panel.std(1) / np.sqrt(p)
    return np.flatnonzero(to_panel.mean(1) - _ERRORS * error < least - _LEAST).tolist()


def _from_draw(t: int, draws: Grouped, loss: Loss, cap: int) -> _Estimate:
    return _Estimate(draws, loss, cap, draws.z[t].astype(np.int64))


def _run(draws: Grouped, loss: Loss, cap: int, rng: np.random.Generator) -> _Estimate:
    """One start: groups allocated in turn, or at random to a random number of clusters, then all that improves on it."""
    n = len(draws.size)
    if rng.uniform() < 0.5:
        estimate = _Estimate(draws, loss, cap, rng.integers(0, rng.integers(1, min(n, cap, draws.n_labels + 1) + 1), n))
    else:
        estimate = _Estimate(draws, loss, cap, np.full(n, -1))
        for g in rng.permutation(n).tolist():
            estimate.place(g)
    estimate.polish(rng, zealous=True)
    return estimate


def _carried(run: _Estimate, some: Grouped, draws: Grouped, loss: Loss) -> Int[np.ndarray, " g"]:
    """Every group in that cluster of ``run`` where one more row costs least."""
    f = loss.terms(len(some.of_row) + 1)
    labels = np.unique(run.labels, return_inverse=True)[1]
    n = shared(labels, some, int(labels.max()) + 1)
    n = np.pad(n, ((0, 0), (0, draws.n_labels - n.shape[1]), (0, 0)))
    a, more = n[0].sum(0), f[n + 1] - f[n]
    gain = np.zeros((len(draws.size), len(a)))
    for own, z in zip(more, draws.z, strict=True):
        gain += own[z]
    return (f[a + 1] - f[a] - 2 * gain / len(draws.z)).argmin(1)


class _Estimate:
    """A partition with its tables n_sjk, changed in place; one cluster is empty while there are fewer than ``cap``."""

    def __init__(self, draws: Grouped, loss: Loss, cap: int, labels: Int[np.ndarray, " g"]):
        self.f = loss.terms(len(draws.of_row))
        self.cap = cap
        self.labels = labels.copy()  # -1: not allocated yet
        self.size = draws.size
        self.z = np.ascontiguousarray(draws.z.T)
        self.start = np.arange(len(draws.z)) * draws.n_labels
        given = labels >= 0
        self.mean = np.full(len(draws.z), 1 / len(draws.z))
        if given.any():
            counts = shared(self.labels, draws, int(labels.max()) + 1)
            self.n = np.ascontiguousarray(counts.reshape(-1, counts.shape[2]))
        else:
            self.n = np.zeros((len(draws.z) * draws.n_labels, 1), np.int64)
        self.a = self.n[: draws.n_labels].sum(0, dtype=np.int64)
        self.of_draws = self.f[shared(np.zeros_like(labels), draws, 1)].sum() / len(draws.z)
        self._tidy()

    def expected_loss(self) -> float:
        """The expected loss, over the draws."""
        return float(self.f[self.a].sum() + self.of_draws - 2 * self.f[self.n].sum() / len(self.mean))

    def place(self, g: int) -> bool:
        """Put group g where it costs least; whether it moved."""
        at, w, old = self.start + self.z[g], self.size[g], self.labels[g]
        n, a = self.n.take(at, axis=0), self.a
        if old >= 0:
            n[:, old] -= w
            a = a.copy()
            a[old] -= w
        gain = self.mean @ self.f.take(n + w) - self.mean @ self.f.take(n)
        cost = self.f[a + w] - self.f[a] - 2 * gain
        new = int(cost.argmin())
        if old >= 0 and cost[new] > cost[old] - _LEAST:
            return False
        self._move(g, new)
        if len(self.a) < self.cap and self.a.all():
            self._tidy()
        return True

    def polish(self, rng: np.random.Generator, zealous: bool) -> None:
        """Sweep, merge and allocate clusters anew until nothing improves."""
        self.sweep(rng)
        while self._merge() or (zealous and self._renew(rng)):
            self.sweep(rng)

    def sweep(self, rng: np.random.Generator) -> None:
        """Place every group in random order, until none moves."""
        for _ in range(int(np.clip(_LOOK_UPS // (len(self.labels) * len(self.mean) * len(self.a)), 1, _SWEEPS))):
            if not sum([self.place(g) for g in rng.permutation(len(self.labels)).tolist()]):
                break
        self._tidy()

    def _merge(self) -> bool:
        """Merge the two clusters whose merging gains most, if any does."""
        f, best, pair = self.f, -_LEAST, None
        alone = f[self.a] - 2 * f[self.n].sum(0) / len(self.mean)
        for k in range(len(self.a) - 1):
            a, n = self.a[k + 1 :] + self.a[k], self.n[:, k + 1 :] + self.n[:, [k]]
            change = f[a] - 2 * f[n].sum(0) / len(self.mean) - alone[k + 1 :] - alone[k]
            if change.min() < best:
                best, pair = change.min(), (k, k + 1 + int(change.argmin()))
        if pair is None:
            return False
        for g in np.flatnonzero(self.labels == pair[1]).tolist():
            self._move(g, pair[0])
        self._tidy()
        return True

    def _renew(self, rng: np.random.Generator) -> bool:
        """Take clusters apart, in random order, and allocate their groups anew, until one is better for it."""
        before = self.expected_loss()
        for k in rng.permutation(np.unique(self.labels)):
            members, saved = np.flatnonzero(self.labels == k), (self.labels.copy(), self.n.copy(), self.a.copy())
            for g in members.tolist():
                self._move(g, -1)
            for g in rng.permutation(members).tolist():
                self.place(g)
            if self.expected_loss() < before - _LEAST:
                return True
            self.labels, self.n, self.a = saved
        return False

    def _move(self, g: int, new: int) -> None:
        at, w, old = self.start + self.z[g], self.size[g], self.labels[g]
        if old >= 0:
            self.n[at, old] -= w
            self.a[old] -= w
        if new >= 0:
            self.n[at, new] += w
            self.a[new] += w
        self.labels[g] = new

    def _tidy(self) -> None:
        """Keep the clusters in use, and one that is empty while there may be one more."""
        used = np.flatnonzero(self.a)
        place = np.full(len(self.a) + 1, -1)
        place[used] = np.arange(len(used))
        self.labels = place[self.labels]
        empty = int(len(used) < self.cap)
        self.n = np.ascontiguousarray(np.pad(self.n[:, used], ((0, 0), (0, empty))))
        self.a = np.pad(self.a[used], (0, empty))
