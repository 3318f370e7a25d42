"""What is odd about the columns of a table, in sentences: far rows, fill values, columns for which a Gaussian is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from numbers import Integral
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bgmm.core.bulk import Bulk
from bgmm.core.scaling import Scaling, degenerate_columns

_EXACT = 2**53  # up to which float64 holds every whole number
_WHOLE = re.compile(r"[+-]?\d+")
_FARTHEST = {"float64": 1e42, "float32": 1e12}  # standardised values beside which searches still find the other clusters
_LISTED = 3  # rows or columns in a sentence
_FEWEST = 10  # rows from which the kind of a column is read off
_MOSTLY = 0.5  # share of one value above which a column is mostly that value
_ZEROS = 0.05  # share of zeros from which whole numbers from 0 on are counts that lie against the zero,
_NEAR_ZERO = 2.0  # if their mean is fewer standard deviations away from it


class Far(NamedTuple):
    """Values outside of the bulk of their columns, all of a column together, in the order of the rows."""

    row: Int[np.ndarray, " f"]
    column: Int[np.ndarray, " f"]
    value: Float[np.ndarray, " f"]


def far_values(chunks: Callable[[], Iterable[np.ndarray]], bulk: Bulk, weights: np.ndarray | None) -> Far:
    """The far values of rows of weight above zero."""
    places, values, start = [np.zeros((0, 2), int)], [np.zeros(0)], 0
    for x in chunks():
        far = bulk.is_far(x) if weights is None else bulk.is_far(x) & (weights[start : start + len(x), None] > 0)
        places.append(np.argwhere(far) + np.array([start, 0]))
        values.append(x[far])
        start += len(x)
    row, column = np.concatenate(places).T
    order = np.lexsort((row, column))
    return Far(row[order], column[order], np.concatenate(values)[order])


def far_sentences(features: tuple[str, ...], far: Far) -> Iterator[str]:
    """One sentence on values that repeat far outside, which may mark missing ones; and one on other far rows."""
    fills, others = [], []
    for j in np.unique(far.column):
        rows, values = far.row[far.column == j], far.value[far.column == j]
        distinct, counts = np.unique(values, return_counts=True)
        repeated = distinct[counts > 1]
        fills += [f"{value:g} in {_rows(rows[values == value])} of '{features[j]}'" for value in repeated]
        single = ~np.isin(values, repeated)
        if single.any():
            shown = ", ".join(f"{value:g}" for value in values[single][:_LISTED])
            others.append(f"{_rows(rows[single])} in '{features[j]}' ({shown}{', ...' if single.sum() > _LISTED else ''})")
    if fills:
        yield (
            f"a value repeats far outside of the other values: {_listed(fills)}; "
            "if it marks missing values, replace it by NaN, which is marginalised"
        )
    if others:
        yield (
            f"far from the other rows: {_listed(others)}; the units of the priors follow the others, and draw the mean "
            "of a component of few such rows towards them; if such a value is an error, replace it by NaN or leave the row out"
        )


def too_far(features: tuple[str, ...], far: Far, units: Scaling, dtype: str) -> str | None:
    """The sentence for values that are too far from the others to compute in this precision, if there are any."""
    scale = np.asarray(units.scale)[far.column]
    beyond = np.abs(far.value) / scale > _FARTHEST[dtype]
    if not beyond.any():
        return None
    j = far.column[beyond][0]
    beyond &= far.column == j
    return (
        f"{_rows(far.row[beyond])} of '{features[j]}' hold{'s' if beyond.sum() == 1 else ''} {far.value[beyond][0]:g}, too far "
        f"from the others, which vary by {np.asarray(units.scale)[j]:.2g}, to compute in {dtype}; replace what marks missing "
        "values by NaN, or leave out such rows"
    )


def column_sentences(features: tuple[str, ...], rows: Float[np.ndarray, "m d"], units: Scaling) -> Iterator[str]:
    """Columns that are constant, and columns that are linear combinations of each other."""
    constant, collinear = degenerate_columns(rows, units)
    if constant:
        yield f"no variation in {names(features, constant)}: it says nothing of clusters; leave it out"
    if collinear:
        yield f"columns {names(features, collinear)} are linear combinations of each other; leave one out"


def not_gaussian(features: tuple[str, ...], rows: Float[np.ndarray, "m d"]) -> Iterator[str]:
    """One sentence on columns that no Gaussian describes: flags, counts, and columns that are mostly one value."""
    found = [f"'{name}' ({kind})" for name, x in zip(features, rows.T, strict=True) if (kind := _kind(x[~np.isnan(x)]))]
    if found:
        yield (
            f"no Gaussian describes {_listed(found)}: components settle on single values; "
            "leave such columns out, and compare them between the clusters afterwards"
        )


def _kind(x: Float[np.ndarray, " m"]) -> str | None:
    """What a column holds that no Gaussian describes; None of few rows, of constants and of other columns."""
    values, counts = np.unique(x, return_counts=True)
    if len(x) < _FEWEST or len(values) < 2:
        return None
    if len(values) == 2:
        return "two values"
    if counts.max() > _MOSTLY * len(x):
        return f"{values[counts.argmax()]:g} in {counts.max() / len(x):.0%} of its rows"
    against_zero = values[0] == 0 and counts[0] >= _ZEROS * len(x) and x.mean() < _NEAR_ZERO * x.std()
    if against_zero and (values == np.round(values)).all():
        return "counts"
    return None


def lost_digits(
    name: str, column: str, values: Float[np.ndarray, " n"], raw: Callable[[], np.ndarray], start: int = 0
) -> str | None:
    """The sentence about a column of the table ``name`` whose whole numbers float64 rounds; None where there are none.

    :param raw: gives the values before they became float64, text as objects; it is called only where large values occur.
    :param start: the row that the first value stands in, from 0.
    """
    large = np.flatnonzero((np.abs(values) >= _EXACT) & np.isfinite(values))
    given = raw() if large.size else np.empty(0)
    for i in large if given.dtype.kind in "iuO" else ():
        if (whole := _whole(given[i])) is not None and whole != Decimal(values[i]):
            return (
                f"column {column!r} of {name} has whole numbers above 2^53, whose last digits float64 cannot hold "
                f"(row {start + i + 1} has {given[i]}); leave it out if these are labels, or subtract an offset from them first"
            )
    return None


def _whole(value: object) -> Decimal | None:
    """The whole number that a value is, or that a text is the digits of."""
    if isinstance(value, Integral):
        return Decimal(int(value))
    if isinstance(value, Decimal):
        return value if value == value.to_integral_value() else None
    return Decimal(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def names(features: tuple[str, ...], columns: Iterable[int]) -> str:
    """The names of these columns, as a sentence lists them."""
    return ", ".join(f"'{features[j]}'" for j in columns)


def _rows(rows: Int[np.ndarray, " m"]) -> str:
    """Rows by their numbers from 1, the first few of them."""
    shown = ", ".join(str(row + 1) for row in rows[:_LISTED].tolist())
    if len(rows) <= _LISTED:
        return f"row{'s' if len(rows) > 1 else ''} {shown}"
    return f"{len(rows)} rows ({shown}, ...)"


def _listed(phrases: list[str]) -> str:
    more = len(phrases) - _LISTED
    return ", ".join(phrases[:_LISTED]) + (f" and {more} more" if more > 0 else "")
