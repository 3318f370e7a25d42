"""A table whose columns are parsed on demand, and what all readers share: which cells are numbers, which columns are labels."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

_NO_NAMES = ("None", "nan", "NaT", "<NA>")  # texts of what stands in the place of a name that is missing
_MAX_SHOWN = 40  # characters of a cell in a message
# A number with more to it, which could be read in more than one way: 12%, $5, 1,234.5, 1.234,5, 1 234
_CURRENCY = "[$\u20ac\u00a3\u00a5]"
_GROUPED = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d{1,3}(?:[ '\u00a0\u202f]\d{3})+(?:[.,]\d+)?"
_DRESSED = re.compile(rf"{_CURRENCY}?\s*[-+]?(?:{_GROUPED}|\d+(?:[.,]\d*)?|[.,]\d+)\s*(?:%|{_CURRENCY})?")
_UNNAMED = re.compile(r"Unnamed: \d+(\.\d+)*")  # as pandas calls a column without a name
_LABELS = re.compile(
    r"unnamed: 0(\.\d+)?|index|idx|(.*[ _.-])?(row|record|case)?[ _.-]?id|.*[a-z](Id|ID)|row|rownames|#", re.DOTALL
)


class Unusable(NamedTuple):
    """A column without numbers: the sentence says why, and ``skipped`` whether a table may have such a column beside others."""

    sentence: str
    skipped: bool


class Source(NamedTuple):
    """A table whose columns are parsed on demand.

    ``numbers(j)`` gives the values of column j as float64, or what is wrong with them. ``name`` is the name of the table in
    messages, ``labels`` are names of the rows where they have any. ``is_named`` says whether the user named the columns.
    """

    name: str
    n_rows: int
    columns: list[str]
    numbers: Callable[[int], np.ndarray | Unusable]
    notes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    is_named: bool = True
    raw: Callable[[int], np.ndarray] | None = None  # the values of column j before they became float64
    matrix: np.ndarray | None = None  # the values of all columns, where they came as float64, row after row


def distinct_names(name: str, given: Sequence[Any]) -> list[str]:
    """The names of columns as text, which must differ."""
    names = [str(one) for one in given]
    for column, count in Counter(names).most_common(1):
        if count > 1:
            same = {j: one for j, one in enumerate(given, 1) if str(one) == column}
            if column in _NO_NAMES and not any(isinstance(one, str) for one in same.values()):
                raise ValueError(f"{name} has no name for columns {' and '.join(map(str, same))}; give each its own")
            kinds = list(dict.fromkeys(map(repr, same.values())))
            alike = f" ({' and '.join(kinds)} are the same as text)" if len(kinds) > 1 else ""
            raise ValueError(f"{name} names column {column!r} {count} times{alike}; each name may occur once")
    return names


def filled(x: Any) -> Any:
    """A masked array with NaN in place of its masked values; anything else as it is."""
    if not isinstance(x, np.ma.MaskedArray):
        return x
    return np.ma.filled(x if x.dtype.kind == "f" else x.astype(float), np.nan)


def check_name(what: str, column: str) -> None:
    """Require a name that a file can hold."""
    try:
        if "\0" not in column.encode().decode():
            return
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    raise ValueError(f"{what} has a name with a character that no file can hold; rename it")


def in_double(values: np.ndarray) -> np.ndarray:
    """Numbers as float64, copied only where they are of another type; NaN that signal, of which NumPy warns, are NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(values, np.float64)


def counts_rows(values: np.ndarray) -> bool:
    """Whether the values are 0, 1, 2, ... or 1, 2, 3, ..."""
    return values[0] in (0, 1) and np.array_equal(values, values[0] + np.arange(len(values)))


def n_unnamed(columns: Sequence[str]) -> int:
    """How many columns without a name stand first."""
    return next((j for j, column in enumerate(columns) if not _UNNAMED.fullmatch(column)), len(columns))


def labels_rows(column: str, unnamed: bool, values: np.ndarray) -> str | None:
    """Why the numbers of a column are labels of the rows, by its name; None where they are data.

    :param unnamed: whether it stands first without a name, or beside others that do, as the index of a frame in a file.
    """
    if not unnamed and not (_LABELS.fullmatch(column) or _LABELS.fullmatch(column.lower())):
        return None
    keep = "to use it, give it another name, or, of a file, list the columns (--columns of the command)"
    if counts_rows(values):
        return f"it only counts the rows; {keep}"
    if unnamed:
        return "it stands first and has no name, as labels of rows do; name it to use it"
    if not np.array_equal(values, np.floor(values)):
        return None
    distinct = len(np.unique(values)) == len(values)
    return f"its whole numbers are all different, as labels of rows are; {keep}" if distinct else None


def column_of[T](
    cells: Sequence[T],
    number: Callable[[T], float | None],
    place: Callable[[int], str],
    is_code: Callable[[T], bool] = lambda _: False,
) -> np.ndarray | Unusable:
    """The numbers in the cells of a column, or why they are none: text, numbers with more to them, a few texts among numbers.

    :param number: of a cell: NaN if it is missing, None if it is not a number.
    :param place: of a cell that is to be mended, in a message.
    :param is_code: whether a cell is a plain number that was kept as text, as codes are.
    """
    numbers = [number(cell) for cell in cells]
    wrong = [i for i, value in enumerate(numbers) if value is None]
    if not wrong:
        return np.array(numbers, np.float64)
    n_values = sum(value is None or not math.isnan(value) for value in numbers)
    others = [i for i in wrong if not is_code(cells[i])]
    words = [i for i in others if not (isinstance(cell := cells[i], str) and _DRESSED.fullmatch(cell.strip()))]
    if 2 * len(words) >= n_values or not others:
        return Unusable(f"its values are not numbers (row {wrong[0] + 1} has {shown(cells[wrong[0]])})", True)
    i = (words or others)[0]
    if words:
        return Unusable(f"{place(i)} has {shown(cells[i])}; mend the cell, mark it as missing, or choose other columns", False)
    return Unusable(f"{place(i)} has {shown(cells[i])}; write plain numbers, without signs or marks between thousands", False)


def shown(value: object) -> str:
    """A cell in a message, on one line and cut short."""
    text = str(value)
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")
