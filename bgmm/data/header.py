"""Whether the first line of a text file names its columns: names may be numbers, as pandas and others write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bgmm.data.source import shown

_WHOLE = re.compile(r"[+-]?\d+")
_YEARS = range(1800, 2201)
_SOME = 10  # rows that all have decimals, after which a first line without any is no chance


class Header(NamedTuple):
    """Whether the first line holds names, and what to tell the user about it."""

    is_names: bool
    note: str | None = None


def header_of(name: str, rows: Sequence[Sequence[str]], number: Callable[[str], float | None]) -> Header:
    """What the first of the rows is: names where it holds text, or whole numbers such as those that name columns.

    Numbers are names where they number the columns from 0, as pandas writes columns without names; where they are increasing
    years, and the data are not years alone; or where they are the only whole numbers above columns that have decimals.
    """
    first, body = rows[0], rows[1:]
    texts = [cell for cell in first if number(cell) is None]
    took = f"took the first line of {name} as names, with {{}}; if it is data, put names above it"
    if texts:
        return Header(True, took.format(shown(texts[0])) if any(cell and cell not in texts for cell in first) else None)
    n_labels = next((j for j, cell in enumerate(first) if cell), len(first))  # of a column of row labels, the name is empty
    numbered = first[n_labels:]
    if not body or not numbered or not all(_WHOLE.fullmatch(cell) for cell in numbered) or len(set(numbered)) < len(numbered):
        return Header(False)
    values = [int(cell) for cell in numbered]
    counts = values == list(range(len(values)))
    years = len(values) > 1 and values == sorted(values) and all(value in _YEARS for value in values)
    years &= not all(number(cell) in _YEARS for cells in body for cell in cells[n_labels:])
    if n_labels:
        return Header((counts or years) and all(all(cells[:n_labels]) for cells in body))
    has_whole = any(_WHOLE.fullmatch(cell) for cells in body for cell in cells)
    if len(values) == 1 and counts and has_whole:
        return Header(False, f"took the first line of {name}, '0', as data; if it is a name, write one that is not a number")
    if (counts and (len(values) > 1 or not has_whole)) or years or (len(body) >= _SOME and not has_whole):
        return Header(True, took.format(shown(numbered[0])))
    return Header(False)
