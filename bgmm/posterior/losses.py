"""Losses between two partitions, from the table of how many rows their clusters share.

With n_kj rows in cluster k of one partition and j of the other, a_k and b_j those of each alone, both losses are

    sum_k f(a_k) + sum_j f(b_j) - 2 sum_kj f(n_kj),

with f(m) = m log2(m) / N for the variation of information (Meila 2007), in bits: 2 H(c, z) - H(c) - H(z); and
f(m) = m^2 / N^2 for Binder's loss (1978) with equal costs: the share of ordered pairs of rows, N^2 in all, that one
partition puts together and the other apart. Both are metrics; the scales are those of the R packages salso and mcclust.ext.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_PLACES = 2**18  # table entries counted at once


class Loss(NamedTuple):
    """A loss: the values f(0), ..., f(n), and the unit that it is measured in."""

    terms: Callable[[int], Float[np.ndarray, " m"]]
    unit: str


def _vi(n: int) -> Float[np.ndarray, " m"]:
    m = np.arange(n + 1)
    return m * np.log2(np.maximum(m, 1)) / n


def _binder(n: int) -> Float[np.ndarray, " m"]:
    return np.square(np.arange(n + 1) / n)


LOSSES = {"vi": Loss(_vi, "bits"), "binder": Loss(_binder, "share of pairs")}


def loss_named(loss: object) -> Loss:
    """The loss of that name, or one sentence with the names that exist."""
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss must be 'vi' (variation of information) or 'binder', not {loss!r}")
    return LOSSES[loss]


class Grouped(NamedTuple):
    """Draws of partitions with the rows that are together in all of them as one group.

    Nothing is lost by it: along a division of such rows between two clusters both losses are concave, so that an
    optimal partition keeps them together.
    """

    z: Int[np.ndarray, "s g"]  # label of each group in each draw
    size: Int[np.ndarray, " g"]  # rows in each group
    of_row: Int[np.ndarray, " n"]  # group of each row

    @property
    def n_labels(self) -> int:
        """Labels in use in the draw that has most."""
        return int(self.z.max()) + 1


def ungrouped(z: Int[np.ndarray, "s n"]) -> Grouped:
    """Every row a group of its own."""
    n = z.shape[1]
    return Grouped(z, np.ones(n, np.int64), np.arange(n))


def grouped(z: Int[np.ndarray, "s n"]) -> Grouped:
    """Rows that share their labels in every draw, put together."""
    columns = np.ascontiguousarray(z.T)
    keys = columns.view(np.dtype((np.void, columns.itemsize * columns.shape[1]))).reshape(-1)
    _, first, of_row, size = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return Grouped(np.ascontiguousarray(z[:, first]), size, of_row.reshape(-1))


def shared(c: Int[np.ndarray, " g"], draws: Grouped, n_clusters: int) -> Int[np.ndarray, "s j k"]:
    """n_sjk: rows that are in cluster k of ``c`` and in cluster j of draw s."""
    (s, g), j, k = draws.z.shape, draws.n_labels, n_clusters
    step = max(1, _PLACES // g)
    counts = np.empty((s, j, k), np.int64)
    for low in range(0, s, step):
        z = draws.z[low : low + step].astype(np.int64)
        places = ((np.arange(len(z))[:, None] * j + z) * k + c).reshape(-1)
        size = None if len(draws.of_row) == g else np.broadcast_to(draws.size, z.shape).reshape(-1)
        counts[low : low + step] = np.bincount(places, size, minlength=len(z) * j * k).reshape(-1, j, k)
    return counts


def distances(c: Int[np.ndarray, " g"], draws: Grouped, loss: Loss) -> Float[np.ndarray, " s"]:
    """The loss between ``c`` and each draw; never below zero."""
    f = loss.terms(len(draws.of_row))
    n = shared(c, draws, int(c.max()) + 1)
    a, b = n[0].sum(0), n.sum(2)
    return np.maximum(f[a].sum() + f[b].sum(1) - 2 * f[n].sum((1, 2)), 0.0)
