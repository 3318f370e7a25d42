"""Rows and columns of numbers out of what a user has: a file, an array or a DataFrame.

What cannot be used is either skipped with a note (a column of text nobody asked for) or refused with one sentence that
names the file, row or column and the way out. Row 1 is the first row of data.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

RESERVED = ("chain", "draw", "cluster", "feature", "feature_bis", "observation")  # dimensions of the results
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "."}
_SEPARATORS = (";", "\t", "|", ",", " ")  # the first of equals wins; a blank stands for any white space
_SAMPLE = 100  # rows from which separator and decimal mark are found out
_LISTED = 20  # column names in a message
_SHOWN = 40  # letters of a cell in a message
_UNNAMED = "Unnamed: 0"  # what pandas calls the row numbers that it wrote itself


class Table(NamedTuple):
    """Values (n, d) in float64 with NaN where missing, the names of the d features, and sentences for the user."""

    values: np.ndarray
    features: tuple[str, ...]
    notes: tuple[str, ...]


class _Source(NamedTuple):
    """A table not yet read: its name in messages, and a function from a column's index to its numbers or why it has none."""

    name: str
    n_rows: int
    columns: list[str]
    numbers: Callable[[int], np.ndarray | str]
    notes: tuple[str, ...] = ()


def as_table(x: Any, columns: Sequence[str] | None = None, *, fitting: bool = True) -> Table:
    """The numeric columns of an array or DataFrame.

    :param x: array of shape (n, d), or (n,) for one feature; pandas or polars DataFrame; anything that NumPy takes.
        The features of an array are named x1, x2, ...
    :param columns: names of the features to use; by default all columns of numbers.
    :param fitting: insist on two rows and on a value in every column, without which there is nothing to fit.
    :raises ValueError: where the data cannot be used, in one sentence.
    """
    import pandas as pd

    if isinstance(x, pd.Series):
        x = x.to_frame("x1" if x.name is None else x.name)
    elif hasattr(type(x), "__dataframe__") and not isinstance(x, pd.DataFrame):
        try:
            x = x.to_pandas()
        except ImportError as error:
            raise ValueError(f"{type(x).__name__} needs pyarrow to be read: pip install 'bgmm[parquet]'") from error
    return _choose(_frame("the table", x) if isinstance(x, pd.DataFrame) else _array("the table", x), columns, fitting)


def read_table(path: str | Path, columns: Sequence[str] | None = None, *, fitting: bool = True) -> Table:
    """The numeric columns of a file: ``.npy``, ``.parquet``, or else text such as CSV.

    Separator (comma, semicolon, tab, pipe, white space), encoding, decimal comma and header are found out. The first line
    is data, and the features are named x1, x2, ..., if all its cells are numbers or missing. Missing is an empty cell or
    one of NA, N/A, NaN, null, none, ?, and a lone point.

    :param columns: names of the features to use; by default all columns of numbers.
    :param fitting: insist on two rows and on a value in every column, without which there is nothing to fit.
    :raises ValueError: where the file cannot be used, in one sentence.
    """
    name, readers = repr(str(path)), {".npy": _read_npy, ".parquet": _read_parquet}
    try:
        with Path(path).expanduser().open("rb") as file:
            if not file.peek(1):
                raise ValueError(f"{name} is empty")
            source = readers.get(Path(path).suffix.lower(), _read_text)(name, file)
    except FileNotFoundError as error:
        raise ValueError(f"no file {name}") from error
    except IsADirectoryError as error:
        raise ValueError(f"{name} is a folder; give a file") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from error
    return _choose(source, columns, fitting)


def _choose(source: _Source, wanted: Sequence[str] | None, fitting: bool) -> Table:
    """The columns asked for, or all columns of numbers, with every check that files and arrays share."""
    name, names, notes, kept = source.name, source.columns, list(source.notes), dict[str, np.ndarray]()
    if not names or source.n_rows == 0:
        raise ValueError(f"{name} has no {'rows' if names else 'columns'}")
    if fitting and source.n_rows == 1:
        raise ValueError(f"{name} has a single row; a fit needs at least 2 rows")
    _refuse_repeated(names, f"{name} has more than one column named {{}}; rename all but one")
    for column in names if wanted is None else _check_wanted(source, wanted):
        values = source.numbers(names.index(column))
        if not isinstance(values, str) and wanted is None and column == _UNNAMED and _counts_rows(values):
            values = "it only counts the rows"
        if not isinstance(values, str):
            kept[column] = values
        elif wanted is None:
            notes.append(f"skipped column {column!r}: {values}")
        else:
            raise ValueError(f"column {column!r} of {name} cannot be used: {values}")
    if not kept:
        raise ValueError(f"{name} has no column of numbers: {notes[-1]}")
    for column, values in kept.items():
        _check_numbers(f"column {column!r} of {name}", column, values, fitting)
    table = np.column_stack(list(kept.values()))
    empty = np.flatnonzero(np.isnan(table).all(axis=1))
    if empty.size:
        notes.append(f"rows without any value: {empty.size}, the first is row {empty[0] + 1}")
    return Table(table, tuple(kept), tuple(notes))


def _check_wanted(source: _Source, wanted: Sequence[str]) -> list[str]:
    """The names asked for, all of which exist."""
    if isinstance(wanted, str) or not len(wanted):
        raise ValueError(f"columns must be a list of names, such as [{source.columns[0]!r}], not {wanted!r}")
    names = [str(column) for column in wanted]
    _refuse_repeated(names, "columns names {} more than once")
    for column in names:
        if column not in source.columns:
            near = difflib.get_close_matches(column, source.columns, n=1)
            listed = ", ".join(repr(c) for c in source.columns[:_LISTED])
            more = f" and {len(source.columns) - _LISTED} more" if len(source.columns) > _LISTED else ""
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{source.name} has no column {column!r}, only {listed}{more}{hint}")
    return names


def _refuse_repeated(names: list[str], sentence: str) -> None:
    column, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(sentence.format(repr(column)))


def _check_numbers(what: str, column: str, values: np.ndarray, fitting: bool) -> None:
    if column in RESERVED:
        raise ValueError(f"{what} has a name that the results use themselves; rename it or choose other columns")
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0]) + 1
        raise ValueError(f"{what} is infinite in row {row}; give a finite number or mark it as missing")
    if fitting and np.isnan(values).all():
        raise ValueError(f"{what} holds no value; fill it, drop it or choose other columns")


def _counts_rows(values: np.ndarray) -> bool:
    """Whether the values are 0, 1, 2, ... or 1, 2, 3, ..."""
    return values[0] in (0, 1) and np.array_equal(values, values[0] + np.arange(len(values)))


def _not_numbers(row: int, value: object) -> str:
    text = str(value)
    return f"its values are not numbers (row {row + 1} has {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'!r})"


def _frame(name: str, frame: Any) -> _Source:
    """The columns of a pandas DataFrame."""
    import pandas as pd

    def numbers(j: int) -> np.ndarray | str:
        column, is_a = frame.iloc[:, j], pd.api.types
        if isinstance(column.dtype, pd.CategoricalDtype):
            return "its values are categories"
        if is_a.is_numeric_dtype(column) and not is_a.is_bool_dtype(column) and not is_a.is_complex_dtype(column):
            return column.to_numpy(np.float64, na_value=np.nan)
        return _numbers(column.to_numpy())

    return _Source(name, len(frame), [str(column) for column in frame.columns], numbers)


def _array(name: str, x: Any) -> _Source:
    """The columns of an array, named x1, x2, ..."""
    try:
        array = x.astype(float).filled(np.nan) if isinstance(x, np.ma.MaskedArray) else np.asarray(x)
        if array.dtype.kind in "US" and not isinstance(x, np.ndarray):
            array = np.asarray(x, dtype=object)  # beside a text, NumPy turns numbers into texts as well
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name} must be an array of shape (n, d), which cannot be made of this {type(x).__name__}") from error
    if array.ndim not in (1, 2):
        came = f"shape {array.shape}" if array.ndim else f"a single {type(x).__name__}"
        raise ValueError(f"{name} must be an array of shape (n, d), or (n,) for one feature, not {came}")
    array = array.reshape(len(array), -1) if array.size else np.empty((len(array), *array.shape[1:] or (1,)))
    return _Source(name, len(array), [f"x{j + 1}" for j in range(array.shape[1])], lambda j: _numbers(array[:, j]))


def _numbers(values: np.ndarray) -> np.ndarray | str:
    """The values of one column as float64, or why they are none."""
    if values.dtype.kind == "c":
        return "its values are complex numbers"
    if values.dtype.kind == "O":
        return _numbers_of_objects(values)
    try:
        return _not_numbers(0, values[0]) if values.dtype.kind in "bmMSTU" else values.astype(np.float64)
    except (TypeError, ValueError):
        return _not_numbers(0, values[0])


def _numbers_of_objects(values: np.ndarray) -> np.ndarray | str:
    import pandas as pd

    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if value is not None and value is not pd.NA:
            if not isinstance(value, Real | Decimal) or isinstance(value, bool):
                return _not_numbers(i, value)
            try:
                numbers[i] = float(value)
            except OverflowError:
                numbers[i] = np.inf
    return numbers
