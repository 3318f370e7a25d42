"""A table that is not yet read, and what its readers say of a column alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_SHOWN = 40  # letters of a cell in a message


class Source(NamedTuple):
    """A table not yet read: its name in messages, and the numbers of the j-th column or why it has none."""

    name: str
    n_rows: int
    columns: list[str]
    numbers: Callable[[int], np.ndarray | str]
    notes: tuple[str, ...] = ()


def counts_rows(values: np.ndarray) -> bool:
    """Whether the values are 0, 1, 2, ... or 1, 2, 3, ..."""
    return values[0] in (0, 1) and np.array_equal(values, values[0] + np.arange(len(values)))


def not_numbers(row: int, value: object) -> str:
    """Why a column is none of numbers: the first value that is no number."""
    text = str(value)
    return f"its values are not numbers (row {row + 1} has {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'!r})"
