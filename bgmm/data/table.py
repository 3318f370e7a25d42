"""Tables of numbers from a user's file, array or DataFrame.

A column that was not requested is skipped with a note where it is text or labels the rows: the first ones without a name,
and one that is called an id or an index and holds whole numbers, all different. Other unusable data, such as a few texts among
numbers, raise a ValueError, whose sentence names the file, row or column and says what to do. Messages count rows from 1, the
first row of data, and lines from the first of the file.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from decimal import Decimal
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bgmm.data.binary import read_npy, read_parquet
from bgmm.data.columns import lost_digits
from bgmm.data.source import Source, Unusable, check_name, column_of, distinct_names, filled, in_double, labels_rows, n_unnamed
from bgmm.data.text import read_text

_MAX_LISTED = 20  # column names in a message


class Table(NamedTuple):
    """Values (n, d) in float64 with NaN where missing, the names of the d features, and notes for the user.

    ``labels`` (n,) are those of ``row_labels``.
    """

    values: np.ndarray
    features: tuple[str, ...]
    notes: tuple[str, ...]
    labels: np.ndarray | None = None


def unnamed(features: tuple[str, ...]) -> bool:
    """Whether the features have the default names x1, x2, ..."""
    return list(features) == [f"x{j + 1}" for j in range(len(features))]


def row_labels(x: Any) -> np.ndarray | None:
    """The index of a DataFrame or alike, which answers about its rows carry; None where the rows are only numbered.

    Answers can be matched by strings, numbers or dates (without a time zone) that are all different, and files can hold these.
    Any other index (of several levels, with repeated or missing entries, of other kinds) is left out, so that the rows are
    numbered from 0, as those of an array are.

    :raises ValueError: when a string has a character that no file can hold.
    """
    import pandas as pd

    if isinstance(x, Table):
        return x.labels
    x = _with_names(x)
    if not isinstance(x, pd.DataFrame | pd.Series):
        return None
    index = x.index
    if isinstance(index, pd.MultiIndex) or index.hasnans or not index.is_unique:
        return None
    labels = index.to_numpy()
    if labels.dtype.kind in "iu" and np.array_equal(labels, np.arange(len(labels))):
        return None
    if labels.dtype.kind in "iufM":
        return labels
    if not len(labels) or not all(isinstance(label, str) for label in labels):
        return None
    for i, label in enumerate(labels, 1):
        check_name(f"row {i} of the table", label)
    return labels.astype(object)


def as_table(x: Any, columns: Iterable[Any] | None = None, *, fitting: bool = True, copy: bool = True) -> Table:
    """The numeric columns of an array or DataFrame.

    :param x: array of shape (n, d), or (n,) for one feature; pandas or polars DataFrame; anything that NumPy converts to
        such an array. The features of an array are named x1, x2, ..., those of an xarray.DataArray by its coordinate, if any.
    :param columns: names of the columns to use; by default all numeric columns.
    :param fitting: whether the table is to be fitted, which needs at least two rows and a value in every column.
    :param copy: False for values that share the memory of x where it is an array of float64, row after row.
    :raises ValueError: when the data cannot be used; the sentence says why and what to do.
    """
    import pandas as pd

    from bgmm.data.stream import Stream

    if isinstance(x, Stream):
        raise ValueError("this needs rows in memory, and x is a stream; give some of its rows, such as x.read(0, 1000)")
    x = _with_names(x)
    if not isinstance(x, pd.DataFrame | pd.Series) and _is_foreign_frame(type(x)):
        try:
            x = x.to_pandas()
        except ImportError as error:
            raise ValueError(f"{type(x).__name__} needs pyarrow to be read: pip install 'bgmm[parquet]'") from error
    if isinstance(x, pd.Series):
        x = x.to_frame("x1" if x.name in (None, "") else x.name)
    source = _frame("the table", x) if isinstance(x, pd.DataFrame) else _array("the table", x)
    return _select(source, columns, fitting, copy)


def _with_names(x: Any) -> Any:
    """An xarray.DataArray (n, d) with a coordinate of its features as the DataFrame that it is; anything else as it is."""
    import xarray as xr

    return x.to_pandas() if isinstance(x, xr.DataArray) and x.ndim == 2 and x.dims[1] in x.indexes else x


def _is_foreign_frame(kind: type) -> bool:
    """Whether this is the DataFrame or the Series of another library than pandas: polars, pyarrow, and others."""
    exports = hasattr(kind, "__dataframe__") or hasattr(kind, "__arrow_c_stream__")  # polars 2 has the second alone
    named = hasattr(kind, "columns") or hasattr(kind, "to_frame")  # which an xarray.DataArray has not
    return exports and named and hasattr(kind, "to_pandas")


def read_table(path: str | Path, columns: Iterable[Any] | None = None, *, fitting: bool = True) -> Table:
    """The numeric columns of a file: ``.npy``, ``.parquet``, or text such as CSV.

    The separator of a text file (comma, semicolon, tab, pipe, white space), its encoding, decimal comma and header are
    detected (``data.header`` says when a first line of numbers holds names). Missing values are empty cells, those that
    pandas takes for missing, and also ?, - and a single point.

    :param columns: names of the columns to use; by default all numeric columns.
    :param fitting: whether the table is to be fitted, which needs at least two rows and a value in every column.
    :raises ValueError: when the file cannot be used; the sentence says why and what to do.
    """
    name, kind = repr(str(path)), Path(path).suffix.lower()
    found = Path(os.path.expanduser(path))  # unlike Path.expanduser, it leaves an unknown ~user unchanged
    if found.is_char_device() or found.is_block_device():  # which may never end
        raise ValueError(f"{name} is a device; give a file")
    try:
        with found.open("rb") as file:
            if not file.peek(1):
                raise ValueError(f"{name} is empty")
            if kind == ".npy":
                source = _array(name, read_npy(name, file))
            else:
                source = _frame(name, read_parquet(name, file)) if kind == ".parquet" else read_text(name, file)
    except FileNotFoundError as error:
        raise ValueError(f"no file {name}") from error
    except IsADirectoryError as error:
        raise ValueError(f"{name} is a folder; give a file") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from error
    return _select(source, columns, fitting)


def _select(source: Source, wanted: Iterable[Any] | None, fitting: bool, copy: bool = True) -> Table:
    """The wanted columns, or all numeric columns, with the checks that files and arrays share."""
    name, names, notes, kept = source.name, source.columns, list(source.notes), dict[str, np.ndarray]()
    if not names or source.n_rows == 0:
        raise ValueError(f"{name} has no {'rows' if names else 'columns'}")
    if fitting and source.n_rows == 1:
        raise ValueError(f"{name} has a single row; a fit needs at least 2 rows")
    position, first = {column: j for j, column in enumerate(names)}, n_unnamed(names)
    for column in names if wanted is None else _check_wanted(source, wanted):
        values = source.numbers(position[column])
        if isinstance(values, Unusable):
            if wanted is not None or not values.skipped:
                raise ValueError(f"column {column!r} of {name} cannot be used: {values.sentence}")
            notes.append(f"skipped column {column!r}: {values.sentence}")
        elif wanted is None and source.is_named and (why := labels_rows(column, position[column] < first, values)) is not None:
            notes.append(f"skipped column {column!r}: {why}")
        else:
            kept[column] = values
            said = None if source.raw is None else lost_digits(name, column, values, partial(source.raw, position[column]))
            notes += [] if said is None else [said]
    if not kept:
        raise ValueError(f"{name} has no column of numbers: {notes[-1]}")
    for column, values in kept.items():
        _check_numbers(f"column {column!r} of {name}", column, values, fitting)
    as_is = source.matrix if not copy and list(kept) == names else None
    table = np.column_stack(list(kept.values())) if as_is is None else as_is
    empty = np.flatnonzero(np.isnan(table).all(axis=1))
    if empty.size:
        notes.append(f"rows without any value: {empty.size}, the first is row {empty[0] + 1}")
    return Table(table, tuple(kept), tuple(notes), source.labels)


def _check_wanted(source: Source, wanted: Iterable[Any]) -> list[str]:
    """The names of the wanted columns, checked to exist."""
    given = list(wanted) if np.iterable(wanted) and not isinstance(wanted, str) else []
    if not given:
        raise ValueError(f"columns must be a list of names, such as [{source.columns[0]!r}], not {wanted!r}")
    names = distinct_names("the list of columns to use", given)
    for column in names:
        if column not in source.columns:
            near = difflib.get_close_matches(column, source.columns, n=1)
            listed = ", ".join(repr(c) for c in source.columns[:_MAX_LISTED])
            more = f" and {len(source.columns) - _MAX_LISTED} more" if len(source.columns) > _MAX_LISTED else ""
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{source.name} has no column {column!r}, only {listed}{more}{hint}")
    return names


def _check_numbers(what: str, column: str, values: np.ndarray, fitting: bool) -> None:
    check_name(what, column)
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0]) + 1
        raise ValueError(f"{what} is infinite in row {row}, or above 1.8e308; give a smaller number or mark it as missing")
    if fitting and np.isnan(values).all():
        raise ValueError(f"{what} holds no value; fill it, drop it or choose other columns")


def _frame(name: str, frame: Any) -> Source:
    """The columns of a pandas DataFrame."""

    def numbers(j: int) -> np.ndarray | Unusable:
        column = frame.iloc[:, j]
        return Unusable("its values are categories", True) if column.dtype == "category" else _numbers(column.to_numpy())

    def raw(j: int) -> np.ndarray:
        column = frame.iloc[:, j]  # of an extension type with gaps, pandas gives float64 unless asked for objects
        return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.to_numpy(object)

    return Source(name, len(frame), distinct_names(name, frame.columns), numbers, labels=row_labels(frame), raw=raw)


def _array(name: str, x: Any) -> Source:
    """The columns of an array, named x1, x2, ..."""
    if hasattr(x, "collect"):
        raise ValueError(f"{name} is a {type(x).__name__}, whose values are not computed yet; give x.collect()")
    if hasattr(x, "toarray"):
        raise ValueError(f"{name} is a sparse {type(x).__name__}, and a fit needs all values; give x.toarray()")
    try:
        array = np.asarray(filled(x))
        if array.dtype.kind == "U" and not isinstance(x, np.ndarray):
            array = np.asarray(x, dtype=object)  # NumPy converts numbers to text if one value is text
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of shape (n, d), and this {type(x).__name__} cannot be made one") from error
    if array.dtype.names is not None:
        raise ValueError(f"{name} is an array with named fields ({', '.join(array.dtype.names)}); give pandas.DataFrame(x)")
    if array.ndim not in (1, 2):
        received = f"shape {array.shape}" if array.ndim else f"a single {type(x).__name__}"
        raise ValueError(f"{name} must be an array of shape (n, d), or (n,) for one feature, not {received}")
    array = array[:, None] if array.ndim == 1 else array
    names = [f"x{j + 1}" for j in range(array.shape[1])]
    matrix = array if array.dtype == np.float64 and array.flags.c_contiguous else None  # sums depend on the order in memory

    def raw(j: int) -> np.ndarray:
        given = np.asarray(x, object) if isinstance(x, list | tuple) else np.asarray(x)  # not yet made float64 with the others
        return given.reshape(array.shape)[:, j]

    return Source(name, len(array), names, lambda j: _numbers(array[:, j]), is_named=False, raw=raw, matrix=matrix)


def _numbers(values: np.ndarray) -> np.ndarray | Unusable:
    """The values of one column as float64, or why they are not numbers."""
    if values.dtype.kind in "iuf":
        return in_double(values)  # a table copies all columns at once
    if values.dtype.kind == "c":
        return Unusable("its values are complex; give real and imaginary parts as two columns", False)
    return column_of(list(values), _number, lambda i: f"row {i + 1}", _is_number_as_text)


def _is_number_as_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False


def _number(value: Any) -> float | None:
    """The number that an object is: NaN if it is missing, None if it is not a number."""
    if value is None or type(value).__name__ == "NAType":
        return math.nan
    if not isinstance(value, Real | Decimal) or isinstance(value, bool | np.timedelta64):
        return None
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf
