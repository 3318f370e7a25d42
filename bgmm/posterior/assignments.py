"""Draws of the assignments of the rows that a tree was fitted to: z ~ p(z | x), labels free.

A sampler that draws assignments leaves them in the tree as ``assignments`` (chain, draw, observation), and these are used. For
all others the parameters are the draws, and given them the rows are independent, so each draw s of the parameters gives

    z_n ~ Categorical(r_sn),    r_snk = p(z_n = k | x_n, draw s),

drawn by the one-pass kernel. Labels mean nothing afterwards: in each draw they are numbered by their first row.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Int

from bgmm.core.checks import check_count
from bgmm.posterior.evaluate import assignments, at_rows
from bgmm.tree import held_assignments, mixtures_of, observed, parameters

N_DRAWS = 1000  # the standard error of a co-clustering probability is then at most 0.016
_FEWEST = 200  # a tree with fewer draws, such as the one draw of EM, gives several assignments from each


class Assignments(NamedTuple):
    """Draws of partitions of the rows, and the draw of the tree that each came from."""

    z: Int[np.ndarray, "s n"]  # labels 0, 1, ... in the order of each one's first row
    chain: Int[np.ndarray, " s"]
    draw: Int[np.ndarray, " s"]


def drawn(tree: xr.DataTree, *, n_draws: int, key: Array) -> Assignments:
    """At most ``n_draws`` draws of the assignments, evenly chosen from each chain.

    :raises ValueError: when the tree holds neither assignments nor observed data, or its assignments are no whole numbers.
    """
    check_count("n_draws", n_draws)
    given = held_assignments(tree)
    sizes = mixtures_of(tree).sizes if given is None else given.sizes
    chains, draws = sizes["chain"], sizes["draw"]
    some = np.unique(np.linspace(0, draws - 1, min(max(1, n_draws // chains), draws)).astype(int))
    if given is not None:
        chain, draw = np.repeat(np.arange(chains), len(some)), np.tile(some, chains)
        values = given.isel(draw=some).to_numpy().reshape(len(chain), -1)
        return Assignments(by_first_row(small_labels(values)), chain, draw)
    times = 1 if len(some) * chains >= _FEWEST else -(-min(_FEWEST, n_draws) // (len(some) * chains))
    chain, draw = np.repeat(np.arange(chains), len(some) * times), np.tile(np.repeat(some, times), chains)
    mixture, scaling = parameters(tree)
    chosen = jax.tree.map(lambda a: np.asarray(a)[chain * draws + draw], mixture)
    return Assignments(by_first_row(assignments(at_rows(chosen, scaling, observed(tree)), key=key)), chain, draw)


def small_labels(values: np.ndarray) -> Int[np.ndarray, "*draws n"]:
    """Labels from another program as small whole numbers from 0."""
    whole = np.nan_to_num(values, nan=0.5) if values.dtype.kind == "f" else values
    if whole.dtype.kind not in "iuf" or np.any(whole != np.floor(whole)):
        raise ValueError("'assignments' must hold whole numbers, one label for each row in every draw, and holds others")
    if whole.max() - whole.min() >= np.iinfo(np.int16).max:
        whole = np.unique(whole, return_inverse=True)[1].reshape(whole.shape)
    return (whole - whole.min()).astype(np.int32)


def by_first_row(z: Int[np.ndarray, "s n"]) -> Int[np.ndarray, "s n"]:
    """The same partitions with labels 0, 1, ... in the order in which they appear, in as few bytes as hold them."""
    n, k = z.shape[1], int(z.max()) + 1
    renamed = np.empty(z.shape, np.int16 if k < 2**15 else np.int32)
    for own, out in zip(z, renamed, strict=True):
        first = np.full(k, n)
        first[own[::-1]] = np.arange(n)[::-1]  # of repeated places the last one written stays
        rank = np.empty(k, renamed.dtype)
        rank[np.argsort(first, kind="stable")] = np.arange(k)
        out[:] = rank[own]
    return renamed.astype(np.int8) if renamed.max() < 2**7 else renamed
