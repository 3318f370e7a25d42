"""The data as a pass reads them: rows in blocks of equal size, in memory, spread over devices, or streamed.

``Rows`` has two verbs, ``fold`` and ``map``, which hide where the rows are (``in_memory``, ``stream``). A block holds
its rows last, (D, B), because products with K components are fastest so. All rows of a block observe the same coordinates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Block(NamedTuple):
    """Rows that a pass reads at once: values (zero where missing), observation weights (zero in padding), and the pattern."""

    x: Float[Array, "d b"]
    weights: Float[Array, " b"]
    pattern: Int[Array, ""]


class Rows(ABC):
    """Standardised rows in blocks: a pytree, so that compiled functions take it as an argument."""

    observed: Bool[Array, "m d"] | None  # coordinates that each pattern observes; None when no value is missing

    @property
    @abstractmethod
    def n_features(self) -> int:
        """D."""

    @property
    @abstractmethod
    def n_places(self) -> int:
        """Rows and padding."""

    @property
    @abstractmethod
    def n_counted(self) -> int:
        """Rows of weight above zero: a number of Python, not for use inside a compiled function."""

    @property
    @abstractmethod
    def total_weight(self) -> Float[Array, ""]:
        """Sum of the observation weights: N when none were given."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype:
        """In which a pass computes."""

    @abstractmethod
    def fold(self, step: Callable, start: Any, shared: Any) -> Any:
        """``step(shared, total, block) -> total`` over all blocks; ``start`` is zero, and devices add up what they find."""

    @abstractmethod
    def map(self, function: Callable, shared: Any, *, key: Array | None = None) -> Any:
        """``function(shared, block, key)`` of every block, whose results have the rows first: joined, place after place."""

    @abstractmethod
    def log_scale_sum(self, log_scale: Float[np.ndarray, " d"]) -> float:
        """sum_n c_n sum_j log scale_j over the values that are there."""

    @abstractmethod
    def take(self, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        """The rows in these places, NaN where values are missing; not inside a compiled function."""

    @abstractmethod
    def weights_of(self, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The observation weights in these places."""

    @abstractmethod
    def draw_places_by_weight(self, n: int, *, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        """``n`` places drawn with replacement, each with a probability proportional to its weight."""

    @abstractmethod
    def draw_places(self, n: int, *, rng: np.random.Generator) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Places and weights of ``n`` rows drawn without replacement among those that count, or of all, when fewer."""
