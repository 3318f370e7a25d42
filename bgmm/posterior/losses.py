"""Losses between two partitions, from their contingency table.

Let n_kj be the number of rows in cluster k of one partition and cluster j of the other, with margins a_k and b_j. Both losses
are

    sum_k f(a_k) + sum_j f(b_j) - 2 sum_kj f(n_kj),

with f(m) = m log2(m) / N for the variation of information (Meila 2007), 2 H(c, z) - H(c) - H(z) in bits, and
f(m) = m^2 / N^2 for Binder's loss (1978) with equal costs: the share of the N^2 ordered pairs of rows that are in the same
cluster of one partition and in different clusters of the other. Both are metrics; the scales are those of the R packages salso
and mcclust.ext.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_BATCH = 2**18  # labels that are counted at once, to bound the memory


class Loss(NamedTuple):
    """A loss: the function n -> f(0), ..., f(n), and the unit of the loss."""

    terms: Callable[[int], Float[np.ndarray, " m"]]
    unit: str


def _vi(n: int) -> Float[np.ndarray, " m"]:
    m = np.arange(n + 1)
    return m * np.log2(np.maximum(m, 1)) / n


def _binder(n: int) -> Float[np.ndarray, " m"]:
    return np.square(np.arange(n + 1) / n)


LOSSES = {"vi": Loss(_vi, "bits"), "binder": Loss(_binder, "share of pairs")}


def loss_named(loss: object) -> Loss:
    """The loss with this name."""
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss must be 'vi' (variation of information) or 'binder', not {loss!r}")
    return LOSSES[loss]


class Grouped(NamedTuple):
    """Draws of partitions, in which rows that share a cluster in every draw form one group.

    The search over partitions of the groups loses nothing: both losses are concave along a division of a group between two
    clusters, so that an optimal partition does not divide it.
    """

    z: Int[np.ndarray, "s g"]  # cluster of each group in each draw
    size: Int[np.ndarray, " g"]  # rows in each group
    of_row: Int[np.ndarray, " n"]  # group of each row

    @property
    def n_labels(self) -> int:
        """Number of clusters in the draw with the most clusters."""
        return int(self.z.max()) + 1


def ungrouped(z: Int[np.ndarray, "s n"]) -> Grouped:
    """The draws with each row as its own group."""
    n = z.shape[1]
    return Grouped(z, np.ones(n, np.int64), np.arange(n))


def grouped(z: Int[np.ndarray, "s n"]) -> Grouped:
    """The draws with rows that have equal labels in every draw as one group."""
    columns = np.ascontiguousarray(z.T)
    keys = columns.view(np.dtype((np.void, columns.itemsize * columns.shape[1]))).reshape(-1)
    _, first, of_row, size = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return Grouped(np.ascontiguousarray(z[:, first]), size, of_row.reshape(-1))


def contingency_tables(c: Int[np.ndarray, " g"], draws: Grouped, n_clusters: int) -> Int[np.ndarray, "s j k"]:
    """Contingency tables n_sjk: the number of rows in cluster k of ``c`` and cluster j of draw s."""
    (s, g), j, k = draws.z.shape, draws.n_labels, n_clusters
    step = max(1, _BATCH // g)
    tables = np.empty((s, j, k), np.int64)
    for low in range(0, s, step):
        z = draws.z[low : low + step].astype(np.int64)
        cells = ((np.arange(len(z))[:, None] * j + z) * k + c).reshape(-1)
        size = None if len(draws.of_row) == g else np.broadcast_to(draws.size, z.shape).reshape(-1)
        tables[low : low + step] = np.bincount(cells, size, minlength=len(z) * j * k).reshape(-1, j, k)
    return tables


def distances(c: Int[np.ndarray, " g"], draws: Grouped, loss: Loss) -> Float[np.ndarray, " s"]:
    """The loss between the partition ``c`` and each draw; rounding never makes it negative."""
    f = loss.terms(len(draws.of_row))
    n = contingency_tables(c, draws, int(c.max()) + 1)
    a, b = n[0].sum(0), n.sum(2)
    return np.maximum(f[a].sum() + f[b].sum(1) - 2 * f[n].sum((1, 2)), 0.0)
