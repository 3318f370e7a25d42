"""Rows and columns of numbers out of what a user has: a file, an array or a DataFrame.

What cannot be used is either skipped with a note (a column of text nobody asked for) or refused with one sentence that
names the file, row or column and the way out. Row 1 is the first row of data.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

RESERVED = ("chain", "draw", "cluster", "feature", "feature_bis", "observation")  # dimensions of the results
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "."}
_SEPARATORS = (";", "\t", "|", ",", " ")  # the first of equals wins; " " stands for any white space
_SAMPLE = 100  # rows from which separator and decimal mark are found out
_LISTED = 20  # column names in a message
_SHOWN = 40  # letters of a cell in a message
_COMPLEX = "its values are complex; give real and imaginary parts as two columns"
_UNNAMED = "Unnamed: 0"  # what pandas calls the row numbers that it wrote itself


class Table(NamedTuple):
    """Values (n, d) in float64 with NaN where missing, the names of the d features, and sentences for the user."""

    values: np.ndarray
    features: tuple[str, ...]
    notes: tuple[str, ...]


class _Source(NamedTuple):
    """A table not yet read: its name in messages, and the numbers of the j-th column or why it has none."""

    name: str
    n_rows: int
    columns: list[str]
    numbers: Callable[[int], np.ndarray | str]
    notes: tuple[str, ...] = ()


def as_table(x: Any, columns: Iterable[Any] | None = None, *, fitting: bool = True) -> Table:
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
    elif not isinstance(x, pd.DataFrame) and hasattr(type(x), "__dataframe__"):
        try:
            x = x.to_pandas()
        except ImportError as error:
            raise ValueError(f"{type(x).__name__} needs pyarrow to be read: pip install 'bgmm[parquet]'") from error
    return _choose(_frame("the table", x) if isinstance(x, pd.DataFrame) else _array("the table", x), columns, fitting)


def read_table(path: str | Path, columns: Iterable[Any] | None = None, *, fitting: bool = True) -> Table:
    """The numeric columns of a file: ``.npy``, ``.parquet``, or else text such as CSV.

    Separator (comma, semicolon, tab, pipe, white space), encoding, decimal comma and header are found out. The first
    line is data, and the features are named x1, x2, ..., if all its cells are numbers or missing. Missing is an empty
    cell or one of NA, N/A, NaN, null, none, ?, and a lone point.

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


def _choose(source: _Source, wanted: Iterable[Any] | None, fitting: bool) -> Table:
    """The columns asked for, or all columns of numbers, with every check that files and arrays share."""
    name, names, notes, kept = source.name, source.columns, list(source.notes), dict[str, np.ndarray]()
    if not names or source.n_rows == 0:
        raise ValueError(f"{name} has no {'rows' if names else 'columns'}")
    if fitting and source.n_rows == 1:
        raise ValueError(f"{name} has a single row; a fit needs at least 2 rows")
    _refuse_repeated(names, name)
    position = {column: j for j, column in enumerate(names)}
    for column in names if wanted is None else _check_wanted(source, wanted):
        values = source.numbers(position[column])
        if not isinstance(values, str) and wanted is None and column == _UNNAMED and _counts_rows(values):
            values = "it only counts the rows"
        if not isinstance(values, str):
            kept[column] = values
        elif wanted is None and values != _COMPLEX:
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


def _check_wanted(source: _Source, wanted: Iterable[Any]) -> list[str]:
    """The names asked for, all of which exist."""
    names = [str(column) for column in wanted] if np.iterable(wanted) and not isinstance(wanted, str) else []
    if not names:
        raise ValueError(f"columns must be a list of names, such as [{source.columns[0]!r}], not {wanted!r}")
    _refuse_repeated(names, "the list of columns to use")
    for column in names:
        if column not in source.columns:
            near = difflib.get_close_matches(column, source.columns, n=1)
            listed = ", ".join(repr(c) for c in source.columns[:_LISTED])
            more = f" and {len(source.columns) - _LISTED} more" if len(source.columns) > _LISTED else ""
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{source.name} has no column {column!r}, only {listed}{more}{hint}")
    return names


def _refuse_repeated(names: list[str], name: str) -> None:
    column, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{name} names column {column!r} {count} times; each name may occur once")


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

    def numbers(j: int) -> np.ndarray | str:
        column = frame.iloc[:, j]
        return "its values are categories" if column.dtype == "category" else _numbers(column.to_numpy())

    return _Source(name, len(frame), [str(column) for column in frame.columns], numbers)


def _array(name: str, x: Any) -> _Source:
    """The columns of an array, named x1, x2, ..."""
    try:
        array = np.ma.filled(x.astype(float), np.nan) if isinstance(x, np.ma.MaskedArray) else np.asarray(x)
        if array.dtype.kind == "U" and not isinstance(x, np.ndarray):
            array = np.asarray(x, dtype=object)  # beside a text, NumPy turns numbers into texts as well
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name} must be an array of shape (n, d), and this {type(x).__name__} cannot be made one") from error
    if array.ndim not in (1, 2):
        came = f"shape {array.shape}" if array.ndim else f"a single {type(x).__name__}"
        raise ValueError(f"{name} must be an array of shape (n, d), or (n,) for one feature, not {came}")
    array = array[:, None] if array.ndim == 1 else array
    return _Source(name, len(array), [f"x{j + 1}" for j in range(array.shape[1])], lambda j: _numbers(array[:, j]))


def _numbers(values: np.ndarray) -> np.ndarray | str:
    """The values of one column as float64, or why they are none."""
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    if values.dtype.kind == "c":
        return _COMPLEX
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if value is None or type(value).__name__ == "NAType":
            continue
        if not isinstance(value, Real | Decimal) or isinstance(value, bool | np.timedelta64):
            return _not_numbers(i, value)
        try:
            numbers[i] = float(value)
        except OverflowError:
            return _not_numbers(i, value)
    return numbers


def _read_npy(name: str, file: BinaryIO) -> _Source:
    try:
        array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name} holds no array of numbers that NumPy can read; write it with numpy.save") from error
    return _array(name, array)


def _read_parquet(name: str, file: BinaryIO) -> _Source:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("reading Parquet needs pyarrow: pip install 'bgmm[parquet]'") from error
    try:
        return _frame(name, pa.parquet.read_table(file).to_pandas())
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} is not a Parquet file that pyarrow can read; write it anew") from error


def _read_text(name: str, file: BinaryIO) -> _Source:
    """The columns of a text file: its cells as a rectangle, under a line of names or none."""
    text = _decode(file.read())
    if "\0" in text:
        raise ValueError(f"{name} is not a text file; save the table as CSV, .npy or .parquet")
    if not text.strip():
        raise ValueError(f"{name} is empty")
    lines = io.StringIO(text, newline=None).readlines()
    separator, mark = _layout(lines)
    rows = _rectangle(name, lines, separator, mark)
    first, body = rows[0], rows[1:]
    notes = [f"read commas in the numbers of {name} as decimal marks"] if mark == "," else []
    texts = [cell for cell in first if _number(cell, mark) is None]
    if texts or (len(first) > 1 and not first[0] and _are_row_names(body, mark)):
        names = [cell or f"Unnamed: {j}" for j, cell in enumerate(first)]
        if texts and any(cell and cell not in texts for cell in first):
            notes.append(f"took the first line of {name} as names, with {texts[0]!r}; if it is data, put names above it")
    else:
        names, body = [f"x{j + 1}" for j in range(len(first))], rows
    columns = list(zip(*body, strict=True))
    return _Source(name, len(body), names, lambda j: _parse(columns[j], mark), tuple(notes))


def _decode(data: bytes) -> str:
    """The text, in UTF-16 where a byte order mark says so, else in UTF-8, else in what Windows and old files use."""
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ["utf-16"] * utf16 + ["utf-8-sig", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    return data.decode("latin-1")


def _layout(lines: list[str]) -> tuple[str, str]:
    """Separator and decimal mark: those that cut most rows alike and make most cells numbers."""
    best, best_score = (",", "."), (0.0, 0.0)
    for separator in _SEPARATORS:
        try:
            rows = [cells for _, cells in islice(_rows(lines, separator), _SAMPLE)]
        except csv.Error:
            continue
        width, alike = Counter(map(len, rows)).most_common(1)[0]
        cells = [cell for row in rows for cell in row if cell]
        points = sum(_number(cell, ".") is not None for cell in cells)
        commas = sum(_number(cell, ",") is not None for cell in cells) if separator != "," else 0
        score = (alike / len(rows) * max(points, commas) / max(len(cells), 1), alike / len(rows))
        if width > 1 and score > best_score:
            best, best_score = (separator, "," if commas > points else "."), score
    return best


def _rows(lines: list[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, and the number of the line that it ends on; blank lines are no rows."""
    if separator == " ":
        trimmed = (" ".join(line.split()) for line in lines)
    else:
        trimmed = (line if line.strip(" \n") else "" for line in lines)
    reader = csv.reader(trimmed, delimiter=separator, skipinitialspace=True, strict=True)
    return ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells)


def _rectangle(name: str, lines: list[str], separator: str, mark: str) -> list[list[str]]:
    """The cells of a file, each row as long as the others."""
    ends, rows = [0], []
    try:
        for end, cells in _rows(lines, separator):
            ends.append(end)
            rows.append(cells)
    except csv.Error as error:
        raise ValueError(f"{name} cannot be read from line {ends[-1] + 1} on ({error}); check its quotation marks") from error
    width = Counter(map(len, rows)).most_common(1)[0][0]
    while width > 1 and not any(cells[width - 1] for cells in rows if len(cells) >= width):
        width -= 1  # the lines end in separators
    rows = [cells if any(cells[width:]) else cells[:width] for cells in rows]
    if len(rows[0]) == width - 1 and _are_row_names(rows[1:], mark):  # as R writes a table
        rows[0] = ["", *rows[0]]
    for line, cells in zip(ends[1:], rows, strict=True):
        if len(cells) != width:
            n_cells = f"{len(cells)} cell" + "s" * (len(cells) != 1)
            raise ValueError(f"line {line} of {name} has {n_cells} where most lines have {width}; mend that line")
    return rows


def _are_row_names(body: list[list[str]], mark: str) -> bool:
    """Whether the first column is text or counts the rows."""
    values = _parse([cells[0] for cells in body], mark)
    return bool(body) and (isinstance(values, str) or _counts_rows(values))


def _parse(cells: Sequence[str], mark: str) -> np.ndarray | str:
    """The numbers in the cells of one column, or why they are none."""
    numbers = [_number(cell, mark) for cell in cells]
    if None in numbers:
        row = numbers.index(None)
        return _not_numbers(row, cells[row])
    return np.array(numbers, np.float64)


def _number(cell: str, mark: str) -> float | None:
    """The number in a cell, NaN where it is missing, None where it holds something else."""
    plain = cell.replace(".", "x").replace(",", ".") if mark == "," else cell
    try:
        return None if "_" in cell else float(plain)  # Python takes 1_000 for a number
    except ValueError:
        return math.nan if cell.lower() in _MISSING else None
