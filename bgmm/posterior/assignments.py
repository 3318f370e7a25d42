"""Draws of the component assignments of the fitted rows, z ~ p(z | x).

A tree from a sampler that draws assignments holds them as ``assignments`` (chain, draw, observation), and these are used.
Other trees hold draws of the parameters. Given the parameters of draw s the assignments of the rows are independent,

    z_n ~ Categorical(r_sn),    r_snk = p(z_n = k | x_n, draw s),

and the one-pass kernel draws them. Only the partition of the rows matters, so each draw's labels are renumbered 0, 1, ... in
the order in which they first occur.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Int

from bgmm.core.checks import check_count
from bgmm.posterior.evaluate import assignments, at_rows
from bgmm.tree.read import held_assignments, mixtures_of, observed, parameters

N_DRAWS = 1000  # the standard error of a co-clustering probability is then at most 0.016
_MIN_ASSIGNMENTS = 200  # a tree with fewer draws, such as the single draw of EM, gives several assignments for each draw


class Assignments(NamedTuple):
    """Draws of partitions of the rows, and the chain and draw of the tree that each comes from."""

    z: Int[np.ndarray, "s n"]  # labels 0, 1, ... in the order of first occurrence
    chain: Int[np.ndarray, " s"]
    draw: Int[np.ndarray, " s"]


def draw_assignments(tree: xr.DataTree, *, n_draws: int, key: Array) -> Assignments:
    """At most ``n_draws`` draws of the assignments, evenly spaced in each chain.

    :raises ValueError: when the tree holds neither assignments nor observed data, or its assignments are not whole numbers.
    """
    check_count("n_draws", n_draws)
    stored = held_assignments(tree)
    sizes = mixtures_of(tree).sizes if stored is None else stored.sizes
    chains, draws = sizes["chain"], sizes["draw"]
    some = np.unique(np.linspace(0, draws - 1, min(max(1, n_draws // chains), draws)).astype(int))
    if stored is not None:
        chain, draw = np.repeat(np.arange(chains), len(some)), np.tile(some, chains)
        values = stored.isel(draw=some).to_numpy().reshape(len(chain), -1)
        return Assignments(number_by_first_row(small_labels(values)), chain, draw)
    repeats = 1 if len(some) * chains >= _MIN_ASSIGNMENTS else -(-min(_MIN_ASSIGNMENTS, n_draws) // (len(some) * chains))
    chain, draw = np.repeat(np.arange(chains), len(some) * repeats), np.tile(np.repeat(some, repeats), chains)
    mixture, scaling = parameters(tree)
    chosen = jax.tree.map(lambda a: np.asarray(a)[chain * draws + draw], mixture)
    z = assignments(at_rows(chosen, scaling, observed(tree)), key=key)
    return Assignments(number_by_first_row(z), chain, draw)


def small_labels(values: np.ndarray) -> Int[np.ndarray, "*draws n"]:
    """Labels that may come from another program, as small whole numbers from 0."""
    labels = np.nan_to_num(values, nan=0.5) if values.dtype.kind == "f" else values
    if labels.dtype.kind not in "iuf" or np.any(labels != np.floor(labels)):
        raise ValueError("'assignments' must hold whole numbers, one label for each row in every draw")
    if labels.max() - labels.min() >= np.iinfo(np.int16).max:
        labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    return (labels - labels.min()).astype(np.int32)


def number_by_first_row(z: Int[np.ndarray, "s n"]) -> Int[np.ndarray, "s n"]:
    """The same partitions with labels 0, 1, ... in the order of first occurrence, in the smallest integer type that fits."""
    n, k = z.shape[1], int(z.max()) + 1
    renumbered = np.empty(z.shape, np.int16 if k < 2**15 else np.int32)
    for labels, out in zip(z, renumbered, strict=True):
        first = np.full(k, n)
        first[labels[::-1]] = np.arange(n)[::-1]  # where a label repeats, the assignment that is written last stays
        rank = np.empty(k, renumbered.dtype)
        rank[np.argsort(first, kind="stable")] = np.arange(k)
        out[:] = rank[labels]
    return renumbered.astype(np.int8) if renumbered.max() < 2**7 else renumbered
