"""Tables from text files such as CSV; encoding, separator, decimal mark and header are detected."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import BinaryIO

import numpy as np

from bgmm.data.header import header_of
from bgmm.data.source import Source, Unusable, column_of, counts_rows, distinct_names

_MISSING = {"", "na", "n/a", "nan", "null", "none", "nat", "?", ".", "-", "--", "#n/a", "#n/a n/a", "#na", "<na>"}
_MISSING |= {"1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}  # how C wrote NaN on Windows
_ABOVE = re.compile("sep=.?|#.*", re.IGNORECASE)
_DECLARED = re.compile("sep=([;\t|, ])", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?(\d*|\d{1,3}(\.\d{3})+),\d+(e[+-]?\d+)?", re.IGNORECASE)
_GROUPED = {  # numbers with marks between thousands, which are refused, by their decimal mark
    ".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?"),
    ",": re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?"),
}
_SEPARATORS = (";", "\t", "|", ",", " ")  # among equally good ones the first is used; " " stands for any white space
_MAX_TRIED = 100  # rows from which separator and decimal mark are detected


def read_text(name: str, file: BinaryIO) -> Source:
    """The columns of a text file, with or without a line of names."""
    text = _decode(file.read())
    if "\0" in text:
        raise ValueError(f"{name} is not a text file; save the table as CSV, .npy or .parquet")
    if not text.strip():
        raise ValueError(f"{name} is empty")
    lines = io.StringIO(text, newline=None).readlines()
    declared = _DECLARED.fullmatch(next(line for line in lines if line.strip()).rstrip("\n"))
    lines = _without_remarks(lines)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{name} has no rows, only remarks")
    separator, mark = _layout(name, lines, declared[1] if declared else None)
    ends, rows = _rectangle(name, lines, separator, mark)
    header = header_of(name, rows, partial(_number, mark=mark))
    notes = [f"read commas in the numbers of {name} as decimal marks"] if mark == "," else []
    notes += [] if header.note is None else [header.note]
    names = [cell or _unnamed(j, rows[0]) for j, cell in enumerate(rows[0])]
    if header.is_names:
        ends, rows = ends[1:], rows[1:]
    else:
        names = [f"x{j + 1}" for j in range(len(names))]
    names = distinct_names(name, names)
    columns = list(zip(*rows, strict=True))

    def numbers(j: int) -> np.ndarray | Unusable:
        return column_of(columns[j], partial(_number, mark=mark), lambda i: f"line {ends[i]}")

    def raw(j: int) -> np.ndarray:
        return np.array(columns[j], object)

    return Source(name, len(rows), names, numbers, tuple(notes), is_named=header.is_names, raw=raw)


def _unnamed(j: int, cells: list[str]) -> str:
    """The name of a column without one: as pandas calls it, which also stands in the files that it writes anew."""
    name = f"Unnamed: {j}"
    while name in cells:
        name += ".1"
    return name


def _decode(data: bytes) -> str:
    """The text: UTF-16 where there is a byte order mark for it, else UTF-8, else the Windows code page 1252."""
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ["utf-16"] * utf16 + ["utf-8-sig", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    return data.decode("latin-1")


def _without_remarks(lines: list[str]) -> list[str]:
    """The lines, with those blank that stand above the table: a separator as Excel writes it (sep=;), and remarks behind #.

    The last remark holds the names where numbers follow it, as numpy.savetxt writes them.
    """
    first = next((i for i, line in enumerate(lines) if line.strip() and not _ABOVE.fullmatch(line.strip())), len(lines))
    above = ["\n"] * first
    remarks = [i for i in range(first) if lines[i].lstrip().startswith("#")]
    cells = [cell for line in lines[first : first + 1] for cell in re.split(r"[;,\t| ]+", line.strip()) if cell]
    if remarks and all(_number(cell, ".") is not None for cell in cells):
        above[remarks[-1]] = lines[remarks[-1]].lstrip("# \t")
    return above + lines[first:]


def _layout(name: str, lines: list[str], declared: str | None) -> tuple[str, str]:
    """Separator and decimal mark with the largest share of rows of equal length times the share of cells that are numbers.

    Numbers with marks between thousands count as well; where both decimal marks explain as many cells, plain numbers decide.

    :param declared: the separator that the file declares in its first line, if any; then only the mark is to be found.
    """
    if declared is None and _is_one_column_of_decimal_commas(name, lines):
        return ";", ","
    best, best_score = (declared or ",", "."), (0.0, 0.0)
    for separator in _SEPARATORS if declared is None else (declared,):
        try:
            rows = [cells for _, cells in islice(_rows(lines, separator), _MAX_TRIED)]
        except csv.Error:
            continue
        width, n_equal = Counter(map(len, rows)).most_common(1)[0]
        cells = [cell for row in rows for cell in row if cell]
        points, commas = _n_numbers(cells, "."), _n_numbers(cells, ",") if separator != "," else (0, 0)
        score = (n_equal / len(rows) * max(points, commas)[0] / max(len(cells), 1), n_equal / len(rows))
        if (width > 1 or declared is not None) and score > best_score:
            best, best_score = (separator, "," if commas > points else "."), score
    return best


def _n_numbers(cells: list[str], mark: str) -> tuple[int, int]:
    """How many cells are numbers with this decimal mark, and how many of them have no mark between thousands."""
    plain = sum(_number(cell, mark) is not None for cell in cells)
    return plain + sum(_GROUPED[mark].fullmatch(cell) is not None for cell in cells), plain


def _is_one_column_of_decimal_commas(name: str, lines: list[str]) -> bool:
    """Whether one name, or another text without a comma, stands above lines such as 1,5."""
    try:
        cells = (";".join(row) for _, row in _rows(lines, ";"))
        first = next(cells)
        if "," in first or _number(first, ".") is not None:
            return False
        others = list(cells)
    except csv.Error:
        return False
    commas = [line for line in others if _COMMA.fullmatch(line)]
    if not commas:
        return False
    if not all(_COMMA.fullmatch(line) or _number(line, ",") is not None for line in others):
        return False
    labels = [_number(line.split(",")[0], ".") for line in commas]
    if len(commas) == len(others) and None not in labels and counts_rows(np.array(labels)):
        raise ValueError(
            f"{name} has one name in its first line and {commas[0]!r} in the next, a number, or a label of the row and a "
            "number; write a decimal point, or name both columns"
        )
    return True


def _rows(lines: list[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, with the number of its last line; blank lines are skipped."""
    if separator == " ":
        trimmed = (" ".join(line.split()) + "\n" for line in lines)  # the end counts inside of a quoted cell
    else:
        trimmed = (line if line.strip(" \n") else "" for line in lines)
    if not any('"' in line for line in lines):  # csv.reader has a limit to the length of a cell
        split = ((i, line.rstrip("\n").split(separator)) for i, line in enumerate(trimmed, 1) if line.strip("\n"))
        return ((i, [cell.strip() for cell in cells]) for i, cells in split)
    reader = csv.reader(trimmed, delimiter=separator, skipinitialspace=True, strict=True)
    return ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells)


def _rectangle(name: str, lines: list[str], separator: str, mark: str) -> tuple[list[int], list[list[str]]]:
    """The last line of each row and its cells, checked to have the same number in every row."""
    ends, rows = [0], []
    try:
        for end, cells in _rows(lines, separator):
            ends.append(end)
            rows.append(cells)
    except csv.Error as error:
        what = "shorten that cell, or check" if "limit" in str(error) else "check"
        raise ValueError(f"{name} cannot be read from line {ends[-1] + 1} on ({error}); {what} its quotation marks") from error
    width = Counter(map(len, rows)).most_common(1)[0][0]
    while width > 1 and not any(cells[width - 1] for cells in rows if len(cells) >= width):
        width -= 1  # lines that end in separators
    rows = [cells if any(cells[width:]) else cells[:width] for cells in rows]
    if len(rows[0]) == width - 1 and _are_row_names(rows[1:], mark):  # R writes no name for the column of row names
        rows[0] = ["", *rows[0]]
    for line, cells in zip(ends[1:], rows, strict=True):
        if len(cells) != width:
            n_cells = f"{len(cells)} cell" + "s" * (len(cells) != 1)
            raise ValueError(f"line {line} of {name} has {n_cells} where most lines have {width}; mend that line")
    return ends[1:], rows


def _are_row_names(body: list[list[str]], mark: str) -> bool:
    """Whether the first column is text or counts the rows."""
    values = [_number(cells[0], mark) for cells in body]
    return bool(body) and (None in values or counts_rows(np.array(values, float)))


def _number(cell: str, mark: str) -> float | None:
    """The number in a cell: NaN if it is missing, None if it is not a number."""
    plain = cell.replace(".", "x").replace(",", ".") if mark == "," else cell
    try:
        return None if "_" in cell else float(plain)  # float() accepts 1_000
    except ValueError:
        return math.nan if cell.lower() in _MISSING else None
