"""Rows that are read from a file, block by block, inside the compiled pass.

A pass fetches chunks of blocks through ``jax.pure_callback``. The callback touches NumPy alone, since JAX called from it could
wait for the very program that called it; the next chunk is read ahead in a thread.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import DTypeLike

from bgmm.core.in_memory import block_size, drawn_by_weight, drawn_of_counted
from bgmm.core.rows import Block, Rows
from bgmm.core.scaling import Scaling

_CHUNK = 16_384  # rows that one callback fetches: its own cost is then a small share


@runtime_checkable
class Source(Protocol):
    """Where rows come from: complete rows (n, d) in the user's units."""

    @property
    def n_rows(self) -> int:
        """N."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start .. stop - 1, shape (stop - start, d)."""


@jax.tree_util.register_static
class Streamed(Rows):
    """Rows of a source, standardised when they are read.

    What is compiled for one serves all that have an equal source, scaling, weights and precision.
    """

    def __init__(
        self, source: Source, scaling: Scaling, weights: np.ndarray | None = None, *, dtype: DTypeLike = np.float64
    ) -> None:
        self.source, self.weights, self.observed = source, weights, None
        self._scaling = Scaling(*(np.asarray(a) for a in scaling))
        self._dtype = np.dtype(dtype)
        self._b = block_size(np.array([source.n_rows]), self.n_features)
        self._chunk = self._b * max(1, _CHUNK // self._b)
        self._reader = ThreadPoolExecutor(1, "bgmm-stream")
        self._ahead: tuple[int, Future] | None = None
        of_weights = None if weights is None else hashlib.sha256(np.ascontiguousarray(weights)).digest()
        self._key = (source, *(a.tobytes() for a in self._scaling), of_weights, self._dtype)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Streamed) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def n_features(self) -> int:
        """D."""
        return len(self.source.features)

    @property
    def n_places(self) -> int:
        """Rows and padding."""
        return self._n_chunks * self._chunk

    @property
    def n_counted(self) -> int:
        """Rows of weight above zero."""
        return self.source.n_rows if self.weights is None else int(np.count_nonzero(self.weights))

    @property
    def total_weight(self) -> Float[Array, ""]:
        """Sum of the observation weights."""
        return jnp.asarray(float(self.source.n_rows) if self.weights is None else float(self.weights.sum()))

    @property
    def dtype(self) -> np.dtype:
        """In which a pass computes."""
        return self._dtype

    @property
    def _n_chunks(self) -> int:
        return -(-self.source.n_rows // self._chunk)

    def _read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        start, stop = i * self._chunk, min((i + 1) * self._chunk, self.source.n_rows)
        x = np.zeros((self._chunk, self.n_features), self._dtype)
        x[: stop - start] = self._scaling.standardise(self.source.read(start, stop))
        c = np.zeros(self._chunk, self._dtype)
        c[: stop - start] = 1.0 if self.weights is None else self.weights[start:stop]
        b = self._b
        return np.ascontiguousarray(x.reshape(-1, b, self.n_features).transpose(0, 2, 1)), c.reshape(-1, b)

    def _fetch(self, i) -> tuple[np.ndarray, ...]:
        i, ahead = int(i), self._ahead
        fetched = ahead[1].result() if ahead is not None and ahead[0] == i else self._read(i)
        following = (i + 1) % self._n_chunks
        self._ahead = (following, self._reader.submit(self._read, following))
        # as words of 32 bits: JAX would round doubles to single precision in the thread that runs the callback
        return tuple(a.view(np.uint32).reshape(*a.shape, -1) for a in fetched)

    def _blocks(self, i: Int[Array, ""]) -> Block:
        """Blocks of chunk i along a first axis."""
        n, b, words = self._chunk // self._b, self._b, self._dtype.itemsize // 4
        shapes = ((n, self.n_features, b, words), (n, b, words))
        parts = jax.pure_callback(self._fetch, tuple(jax.ShapeDtypeStruct(shape, np.uint32) for shape in shapes), i)
        x, c = (jax.lax.bitcast_convert_type(part if words > 1 else part[..., 0], self._dtype) for part in parts)
        return Block(x, c, jnp.zeros(n, int))

    def fold(self, step, start, shared):
        """Chunk after chunk."""

        def of_chunk(total, i):
            return jax.lax.scan(lambda total, block: (step(shared, total, block), None), total, self._blocks(i))[0], None

        return jax.lax.scan(of_chunk, start, jnp.arange(self._n_chunks))[0]

    def map(self, function, shared, *, key=None):
        """Chunk after chunk."""

        def of_chunk(i):
            blocks = self._blocks(i)
            keys = None if key is None else jax.random.split(jax.random.fold_in(key, i), self._chunk // self._b)
            results = jax.lax.map(lambda inputs: function(shared, *inputs), (blocks, keys))
            return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), results)

        results = jax.lax.map(of_chunk, jnp.arange(self._n_chunks))
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), results)

    def log_scale_sum(self, log_scale):
        """sum_n c_n times the sum of the log scales: a stream has no missing values."""
        return float(self.total_weight) * float(log_scale.sum())

    def take(self, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        """Chunk by chunk, of those that hold a wanted row."""
        x = np.empty((len(places), self.n_features))
        for i in np.unique(places // self._chunk):
            start = int(i) * self._chunk
            here = places // self._chunk == i
            chunk = self.source.read(start, min(start + self._chunk, self.source.n_rows))
            x[here] = self._scaling.standardise(chunk[places[here] - start])
        return x

    def weights_of(self, places):
        """The observation weights in these places, one where none were given."""
        return np.ones(len(places)) if self.weights is None else np.asarray(self.weights, float)[places]

    def draw_places_by_weight(self, n, *, rng):
        """Places drawn uniformly, where no weights were given."""
        if self.weights is None:
            return rng.uniform(0, self.source.n_rows, n).astype(int)  # the rows that would be drawn in memory
        return drawn_by_weight(np.asarray(self.weights, float), n, rng=rng)

    def draw_places(self, n, *, rng):
        """Places among those of weight above zero, which need no list of all rows where none has a weight of its own."""
        if self.weights is None:
            n = min(n, self.source.n_rows)
            places = np.sort(rng.choice(self.source.n_rows, n, replace=False))
            return places, np.ones(n)
        return drawn_of_counted(self.weights, n, rng=rng)
