"""Tables from text files such as CSV; encoding, separator, decimal mark and header are detected."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO

import numpy as np

from bgmm.data.source import Source, counts_rows, not_numbers

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "."}
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
    return Source(name, len(body), names, lambda j: _parse(columns[j], mark), tuple(notes))


def _decode(data: bytes) -> str:
    """The text: UTF-16 where there is a byte order mark for it, else UTF-8, else the Windows code page 1252."""
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ["utf-16"] * utf16 + ["utf-8-sig", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    return data.decode("latin-1")


def _layout(lines: list[str]) -> tuple[str, str]:
    """Separator and decimal mark with the largest share of rows of equal length times the share of cells that are numbers."""
    best, best_score = (",", "."), (0.0, 0.0)
    for separator in _SEPARATORS:
        try:
            rows = [cells for _, cells in islice(_rows(lines, separator), _MAX_TRIED)]
        except csv.Error:
            continue
        width, n_equal = Counter(map(len, rows)).most_common(1)[0]
        cells = [cell for row in rows for cell in row if cell]
        points = sum(_number(cell, ".") is not None for cell in cells)
        commas = sum(_number(cell, ",") is not None for cell in cells) if separator != "," else 0
        score = (n_equal / len(rows) * max(points, commas) / max(len(cells), 1), n_equal / len(rows))
        if width > 1 and score > best_score:
            best, best_score = (separator, "," if commas > points else "."), score
    return best


def _rows(lines: list[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, with the number of its last line; blank lines are skipped."""
    if separator == " ":
        trimmed = (" ".join(line.split()) for line in lines)
    else:
        trimmed = (line if line.strip(" \n") else "" for line in lines)
    reader = csv.reader(trimmed, delimiter=separator, skipinitialspace=True, strict=True)
    return ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells)


def _rectangle(name: str, lines: list[str], separator: str, mark: str) -> list[list[str]]:
    """The cells of a file, checked to have the same number in every row."""
    ends, rows = [0], []
    try:
        for end, cells in _rows(lines, separator):
            ends.append(end)
            rows.append(cells)
    except csv.Error as error:
        raise ValueError(f"{name} cannot be read from line {ends[-1] + 1} on ({error}); check its quotation marks") from error
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
    return rows


def _are_row_names(body: list[list[str]], mark: str) -> bool:
    """Whether the first column is text or counts the rows."""
    values = _parse([cells[0] for cells in body], mark)
    return bool(body) and (isinstance(values, str) or counts_rows(values))


def _parse(cells: Sequence[str], mark: str) -> np.ndarray | str:
    """The numbers in the cells of one column, or a sentence that says why they are not numbers."""
    numbers = [_number(cell, mark) for cell in cells]
    if None in numbers:
        row = numbers.index(None)
        return not_numbers(row, cells[row])
    return np.array(numbers, np.float64)


def _number(cell: str, mark: str) -> float | None:
    """The number in a cell: NaN if it is missing, None if it is not a number."""
    plain = cell.replace(".", "x").replace(",", ".") if mark == "," else cell
    try:
        return None if "_" in cell else float(plain)  # float() accepts 1_000
    except ValueError:
        return math.nan if cell.lower() in _MISSING else None
