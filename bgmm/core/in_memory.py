"""Rows in memory, in blocks on one device or spread over several.

Rows are sorted by which coordinates they observe, so that each block has one pattern of missing values. A last block that is
not full is padded with rows of weight zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import DTypeLike

from bgmm.core.devices import Devices, for_blocks
from bgmm.core.rows import Block, Rows
from bgmm.core.scaling import CHUNK, Scaling

_BLOCK_BYTES = 384 * 1024  # T of a block: between 50 KB and 1 MB the speed is flat, at 10 MB two to three times slower
_BLOCK_OVERHEAD = 64  # a block costs about as much as this many rows before its first row
SMALL = (64, 320, 1280, 4096)  # so many places have data of up to 4096 rows: other data of the same size compile nothing


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class InMemory(Rows):
    """Blocks as arrays, on one device or spread over several."""

    x: Float[Array, "n_blocks d b"]
    weights: Float[Array, "n_blocks b"]
    pattern: Int[Array, " n_blocks"]
    observed: Bool[Array, "m d"] | None
    devices: Devices = field(default_factory=Devices, metadata={"static": True})

    @property
    def n_features(self) -> int:
        """D."""
        return self.x.shape[1]

    @property
    def n_places(self) -> int:
        """Rows and padding."""
        return self.weights.size

    @property
    def n_counted(self) -> int:
        """Rows of weight above zero."""
        return int(np.count_nonzero(self.weights))

    @property
    def total_weight(self) -> Float[Array, ""]:
        """Sum of the observation weights."""
        return self.weights.sum()

    @property
    def dtype(self) -> np.dtype:
        """That of the values."""
        return self.x.dtype

    def fold(self, step, start, shared):
        """In one scan on each device."""

        def on_device(shared, blocks):
            return jax.lax.scan(lambda total, block: (step(shared, total, Block(*block)), None), start, blocks)[0]

        return self.devices.on_each(on_device, summed=True)(shared, (self.x, self.weights, self.pattern))

    def map(self, function, shared, *, key=None):
        """Block after block on each device."""
        keys = None if key is None else jax.random.split(key, self.x.shape[0])

        def on_device(shared, blocks):
            @jax.checkpoint
            def of_block(block):
                *values, key = block
                return function(shared, Block(*values), key)

            return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), jax.lax.map(of_block, blocks))

        blocks = (self.x, self.weights, self.pattern, keys)
        return self.devices.on_each(on_device, summed=False)(shared, blocks)

    def log_scale_sum(self, log_scale):
        """The sum over patterns of observed coordinates."""
        observed = np.ones((1, log_scale.size)) if self.observed is None else np.asarray(self.observed, float)
        return float(np.asarray(self.weights).sum(1) @ (observed @ log_scale)[np.asarray(self.pattern)])

    def take(self, places):
        """The rows in these places, NaN where values are missing."""
        b = self.x.shape[2]
        few = self.n_places <= SMALL[-1]  # gathered on the host, where nothing is compiled
        x = np.asarray((np.asarray(self.x) if few else self.x)[places // b, :, places % b])
        if self.observed is None:
            return x
        return np.where(np.asarray(self.observed)[np.asarray(self.pattern)[places // b]], x, np.nan)

    def weights_of(self, places):
        """The observation weights in these places."""
        return np.asarray(self.weights, float).reshape(-1)[places]

    def draw_places_by_weight(self, n, *, rng):
        """Places drawn with replacement, by inversion of the distribution function."""
        return drawn_by_weight(np.asarray(self.weights, float).reshape(-1), n, rng=rng)

    def draw_places(self, n, *, rng):
        """Places among those of weight above zero."""
        return drawn_of_counted(np.asarray(self.weights, float).reshape(-1), n, rng=rng)

    def in_double(self) -> InMemory:
        """The same rows in double precision."""
        return replace(self, x=self.x.astype(float), weights=self.weights.astype(float))

    def on_one_device(self) -> InMemory:
        """The same rows, not spread."""
        if self.devices.n == 1:
            return self
        x, weights, pattern = (jnp.asarray(np.asarray(a)) for a in (self.x, self.weights, self.pattern))
        return replace(self, x=x, weights=weights, pattern=pattern, devices=Devices())


def drawn_by_weight(weights: Float[np.ndarray, " all"], n: int, *, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """``n`` indices drawn with replacement, each with a probability proportional to its weight."""
    total = np.cumsum(weights)
    return np.searchsorted(total, rng.uniform(0, total[-1], n), side="right")


def drawn_of_counted(
    weights: Float[np.ndarray, " all"], n: int, *, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """``n`` indices drawn without replacement among those of weight above zero, or all of these when fewer; their weights."""
    indices = np.flatnonzero(weights)
    if indices.size > n:
        indices = np.sort(rng.choice(indices, n, replace=False))
    return indices, weights[indices]


def padded_size(n: int) -> int:
    """The smallest of 1, 2, ..., 16, 18, ..., 32, 36, ... that holds n: few shapes to compile, at most 1/8 of padding."""
    step = 2 ** max(0, (max(n, 1) - 1).bit_length() - 4)
    return -(-n // step) * step


def padded_rows(n: int) -> int:
    """As ``padded_size``, and one of four sizes up to 4096."""
    return next((size for size in SMALL if n <= size), padded_size(n))


def block_size(counts: np.ndarray, d: int) -> int:
    """Rows in a block, a power of two unless all rows are complete and few: small enough for the cache, few padded.

    ``counts`` are the rows of each pattern. The size is that of dense components, which have the most statistics.
    """
    p = (d + 1) * (d + 2) // 2
    largest = int(np.clip(2 ** round(np.log2(_BLOCK_BYTES / (8 * p))), 64, 4096))
    if counts.size == 1:
        n = padded_rows(int(counts[0]))
        return -(-n // -(-n // largest)) if n <= SMALL[-1] else largest
    sizes = [2**i for i in range(3, largest.bit_length())]
    return min(sizes, key=lambda b: int((-(-counts // b) * (b + _BLOCK_OVERHEAD)).sum()))


def in_memory(
    x: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    scaling: Scaling | None = None,
    size: int | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[InMemory, Int[np.ndarray, " n"]]:
    """Blocks of the rows of ``x`` (n, d), where NaN marks a missing value; ``weights`` (n,) are observation weights.

    The rows are standardised by ``scaling`` when it is given. Beside the blocks no other copy of the data is made.

    :param size: rows of a block, by default what is fastest.
    :returns: the rows, and the place of each row among the n_blocks * b places. Places are no part of the rows, so that what is
        compiled for one number of rows serves all that fill as many blocks.
    """
    n, d = x.shape
    c = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    observed, pattern_of = _patterns(x)
    counts = np.bincount(pattern_of, minlength=len(observed))
    b = size or block_size(counts, d)
    blocks_of = -(-counts // b)
    first_place = np.concatenate([[0], np.cumsum(blocks_of)[:-1]]) * b
    position = np.arange(n)
    if len(counts) > 1:
        order = np.argsort(pattern_of, kind="stable")
        rank_in_pattern = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        position[order] = first_place[pattern_of[order]] + rank_in_pattern
    n_filled = int(blocks_of.sum())
    devices = for_blocks(n_filled)
    n_needed = -(-padded_rows(n) // b) if len(counts) == 1 and size is None else n_filled
    n_blocks = padded_size(-(-n_needed // devices.n)) * devices.n
    values, c_places = np.zeros((n_blocks, d, b), dtype), np.zeros(n_blocks * b, dtype)
    for start in range(0, n, CHUNK):
        rows, place = x[start : start + CHUNK], position[start : start + CHUNK]
        values[place // b, :, place % b] = np.nan_to_num(rows if scaling is None else scaling.standardise(rows))
    c_places[position] = c
    pattern = np.zeros(n_blocks, np.int64)
    pattern[:n_filled] = np.repeat(np.arange(len(observed)), blocks_of)
    rows_in_blocks = InMemory(
        x=devices.spread(values),
        weights=devices.spread(c_places.reshape(n_blocks, b)),
        pattern=devices.spread(pattern),
        observed=None if observed.all() else jnp.asarray(observed),
        devices=devices,
    )
    return rows_in_blocks, position


def _patterns(x: np.ndarray) -> tuple[Bool[np.ndarray, "m d"], Int[np.ndarray, " n"]]:
    """The distinct patterns of observed coordinates, and which of them each row has."""
    if not np.isnan(x).any():
        return np.ones((1, x.shape[1]), bool), np.zeros(len(x), np.int64)
    bits = np.packbits(~np.isnan(x), axis=1)
    _, first, pattern_of = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    return ~np.isnan(x[first]), pattern_of.reshape(-1)


def stacked(rows: Float[Array, "n d"]) -> InMemory:
    """Blocks of complete rows of unit weight, in order, inside or outside of a compiled function."""
    n, d = rows.shape
    b = block_size(np.array([n]), d)
    n_blocks = max(1, -(-n // b))
    padded = jnp.pad(rows, ((0, n_blocks * b - n), (0, 0)))
    return InMemory(
        x=padded.reshape(n_blocks, b, d).transpose(0, 2, 1),
        weights=(jnp.arange(n_blocks * b) < n).astype(rows.dtype).reshape(n_blocks, b),
        pattern=jnp.zeros(n_blocks, int),
        observed=None,
    )


def subsample(rows: Rows, n: int, *, rng: np.random.Generator) -> InMemory:
    """``n`` rows drawn without replacement, in memory, their weights raised to the total; all rows, when fewer."""
    if rows.n_counted <= n and isinstance(rows, InMemory):
        return rows
    places, c = rows.draw_places(n, rng=rng)
    return in_memory(rows.take(places), c * (float(rows.total_weight) / c.sum()), dtype=rows.dtype)[0]
