"""Rows in blocks of equal size, rows last: the form in which ``one_pass`` reads data.

Rows are sorted by which coordinates they observe, so that each block holds one pattern of missing values; a last block that is
not full is padded with rows of weight zero. Many blocks are spread over the devices that JAX has (``devices``).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import DTypeLike

from bgmm.core import gaussian
from bgmm.core.devices import Devices, for_blocks
from bgmm.core.scaling import CHUNK, Scaling

_BLOCK_BYTES = 384 * 1024  # T of a block: between 50 KB and 1 MB the speed is flat, at 10 MB two to three times slower
_BLOCK_OVERHEAD = 64  # a block costs about as much as this many rows before its first row


class Blocks(NamedTuple):
    """Rows in blocks: values (zero where missing), observation weights (zero in padding), and each block's pattern."""

    x: Float[Array, "n_blocks d b"]
    weights: Float[Array, "n_blocks b"]
    pattern: Int[Array, " n_blocks"]
    observed: Bool[Array, "m d"] | None  # coordinates seen by each pattern; None when no value is missing
    devices: Devices = Devices()  # over which the blocks are spread

    @property
    def total_weight(self) -> Float[Array, ""]:
        """Sum of the observation weights: N when none were given."""
        return self.weights.sum()

    def on_one_device(self) -> Blocks:
        """The same blocks, not spread."""
        if self.devices.n == 1:
            return self
        x, weights, pattern = (jnp.asarray(np.asarray(a)) for a in (self.x, self.weights, self.pattern))
        return self._replace(x=x, weights=weights, pattern=pattern, devices=Devices())


def bucket(n: int) -> int:
    """The smallest of 1, 2, ..., 16, 18, ..., 32, 36, ... that holds n: few shapes to compile, at most 1/8 of padding."""
    step = 2 ** max(0, (max(n, 1) - 1).bit_length() - 4)
    return -(-n // step) * step


def _block_size(counts: np.ndarray, d: int) -> int:
    """Rows in a block, a power of two unless one block holds everything: small enough for the cache, few padded."""
    p = gaussian.n_statistics(d)
    largest = int(np.clip(2 ** round(np.log2(_BLOCK_BYTES / (8 * p))), 64, 4096))
    if counts.size == 1:
        return min(largest, bucket(int(counts[0])))
    sizes = [2**i for i in range(3, largest.bit_length())]
    return min(sizes, key=lambda b: int((-(-counts // b) * (b + _BLOCK_OVERHEAD)).sum()))


def make_blocks(
    x: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    scaling: Scaling | None = None,
    block_size: int | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[Blocks, Int[np.ndarray, " n"]]:
    """Blocks of the rows of ``x`` (n, d), where NaN marks a missing value; ``weights`` (n,) are observation weights.

    The rows are standardised by ``scaling`` when it is given. Beside the blocks no other copy of the data is made.

    Also returns the place of each row among the n_blocks * b places: no part of the blocks, so that what is compiled for
    one number of rows serves all that fill as many blocks.
    """
    n, d = x.shape
    c = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    observed, pattern_of = _patterns(x)
    counts = np.bincount(pattern_of, minlength=len(observed))
    b = block_size or _block_size(counts, d)
    blocks_of = -(-counts // b)
    first_place = np.concatenate([[0], np.cumsum(blocks_of)[:-1]]) * b
    order = np.argsort(pattern_of, kind="stable")
    rank_in_pattern = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    position = np.empty(n, np.int64)
    position[order] = first_place[pattern_of[order]] + rank_in_pattern
    n_filled = int(blocks_of.sum())
    devices = for_blocks(n_filled)
    n_blocks = bucket(-(-n_filled // devices.n)) * devices.n
    values, c_places = np.zeros((n_blocks, d, b), dtype), np.zeros(n_blocks * b, dtype)
    for start in range(0, n, CHUNK):
        rows, place = x[start : start + CHUNK], position[start : start + CHUNK]
        values[place // b, :, place % b] = np.nan_to_num(rows if scaling is None else scaling.standardise(rows))
    c_places[position] = c
    pattern = np.zeros(n_blocks, np.int64)
    pattern[:n_filled] = np.repeat(np.arange(len(observed)), blocks_of)
    blocks = Blocks(
        x=devices.spread(values),
        weights=devices.spread(c_places.reshape(n_blocks, b)),
        pattern=devices.spread(pattern),
        observed=None if observed.all() else jnp.asarray(observed),
        devices=devices,
    )
    return blocks, position


def _patterns(x: np.ndarray) -> tuple[Bool[np.ndarray, "m d"], Int[np.ndarray, " n"]]:
    """The distinct patterns of observed coordinates, and which of them each row has."""
    if not np.isnan(x).any():
        return np.ones((1, x.shape[1]), bool), np.zeros(len(x), np.int64)
    bits = np.packbits(~np.isnan(x), axis=1)
    _, first, pattern_of = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    return ~np.isnan(x[first]), pattern_of.reshape(-1)


def rows_at(blocks: Blocks, place: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    """The rows in these places, zero where values are missing."""
    b = blocks.x.shape[2]
    return np.asarray(blocks.x[place // b, :, place % b])


def subsample(blocks: Blocks, n: int, *, rng: np.random.Generator) -> Blocks:
    """Blocks of ``n`` rows drawn without replacement, their weights raised to the total of all rows; or of all, when fewer."""
    c = np.asarray(blocks.weights).reshape(-1)
    if np.count_nonzero(c) <= n:
        return blocks
    place = np.sort(rng.choice(np.flatnonzero(c), n, replace=False))
    x = rows_at(blocks, place)
    if blocks.observed is not None:
        x = np.where(np.asarray(blocks.observed)[np.asarray(blocks.pattern)[place // blocks.x.shape[2]]], x, np.nan)
    return make_blocks(x, c[place] * (c.sum() / c[place].sum()), dtype=blocks.x.dtype)[0]


def stack_rows(rows: Float[Array, "n d"]) -> Blocks:
    """Blocks of complete rows of unit weight, in order, inside or outside of a traced function."""
    n, d = rows.shape
    b = _block_size(np.array([n]), d)
    n_blocks = max(1, -(-n // b))
    padded = jnp.pad(rows, ((0, n_blocks * b - n), (0, 0)))
    place = jnp.arange(n_blocks * b)
    return Blocks(
        x=padded.reshape(n_blocks, b, d).transpose(0, 2, 1),
        weights=(place < n).astype(rows.dtype).reshape(n_blocks, b),
        pattern=jnp.zeros(n_blocks, int),
        observed=None,
    )
