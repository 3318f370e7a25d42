"""A table whose columns are parsed on demand, and two functions that all readers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_MAX_SHOWN = 40  # characters of a cell in a message


class Source(NamedTuple):
    """A table whose columns are parsed on demand.

    ``numbers(j)`` gives the values of column j as float64, or a sentence that says why they are not numbers. ``name`` is the
    name of the table in messages, ``labels`` are names of the rows where they have any.
    """

    name: str
    n_rows: int
    columns: list[str]
    numbers: Callable[[int], np.ndarray | str]
    notes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    raw: Callable[[int], np.ndarray] | None = None  # the values of column j before they became float64


def counts_rows(values: np.ndarray) -> bool:
    """Whether the values are 0, 1, 2, ... or 1, 2, 3, ..."""
    return values[0] in (0, 1) and np.array_equal(values, values[0] + np.arange(len(values)))


def not_numbers(row: int, value: object) -> str:
    """The sentence for a column with a value that is not a number; ``row`` is the first such row, from 0."""
    text = str(value)
    return f"its values are not numbers (row {row + 1} has {text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + '...'!r})"
