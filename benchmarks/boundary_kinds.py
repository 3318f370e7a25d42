"""Boundary cases: kinds of arrays, missing and infinite values."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import scipy.sparse

from benchmarks.boundary_inputs import BLOBS, FINITE, Case, N, Z, either, groups, missing, moments, refused
from benchmarks.boundary_judge import Expected


def kinds_of_arrays() -> list[Case]:
    """Types, layouts and containers."""
    whole = np.round(10 * BLOBS)
    as_objects = BLOBS.astype(object)
    none = as_objects.copy()
    none[3, 1] = None
    read_only = BLOBS.copy()
    read_only.flags.writeable = False
    structured = np.rec.fromarrays(BLOBS.T, names="a,b")
    masked = np.ma.masked_array(BLOBS, mask=np.zeros_like(BLOBS, bool))
    masked[2, 0] = np.ma.masked
    ten = groups(0, 10)
    found = groups()
    text = BLOBS.astype(object)
    text[4, 1] = "high"
    return [
        Case("float32", BLOBS.astype(np.float32), found),
        Case("float16", BLOBS.astype(np.float16), found),
        Case("long double", BLOBS.astype(np.longdouble), found),
        Case("big-endian", BLOBS.astype(">f8"), found),
        Case("int64", whole.astype(np.int64), ten),
        Case("int32", whole.astype(np.int32), ten),
        Case("int8", whole.astype(np.int8), ten),
        Case("uint8", (whole + 100).astype(np.uint8), groups(100, 10)),
        Case("Fortran order", np.asfortranarray(BLOBS), found),
        Case("every other row of a larger array", np.repeat(BLOBS, 2, axis=0)[::2], found),
        Case("negative strides", BLOBS[::-1][::-1], found),
        Case("read-only", read_only, found),
        Case("a list of lists", BLOBS.tolist(), found),
        Case("a tuple of tuples", tuple(map(tuple, BLOBS.tolist())), found),
        Case("a list of arrays", list(BLOBS), found),
        Case("objects that are floats", as_objects, found),
        Case("objects, one of them None", none, found),
        Case("Decimal", [[Decimal(str(v)) for v in row] for row in BLOBS.tolist()], found),
        Case("Fraction", [[Fraction(v) for v in row] for row in BLOBS.tolist()], found),
        Case("a masked array, one value masked", masked, found),
        Case("numpy.matrix", lambda: np.asmatrix(BLOBS), found),
        Case("a jax array", lambda: __import__("jax").numpy.asarray(BLOBS, "float32"), found),
        Case("an xarray DataArray", lambda: __import__("xarray").DataArray(BLOBS), found),
        Case("a DataFrame", pd.DataFrame(BLOBS, columns=["a", "b"]), found),
        Case("a DataFrame with whole numbers as names", pd.DataFrame(BLOBS), found),
        Case("a DataFrame of nullable Float64 with NA", pd.DataFrame(none).astype("Float64"), found),
        Case(
            "a DataFrame with levels of names",
            pd.DataFrame(BLOBS, columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])),
            found,
        ),
        Case("a DataFrame that names a column twice", pd.DataFrame(BLOBS, columns=["a", "a"]), refused("'a'")),
        Case("a DataFrame with a column of text", pd.DataFrame(BLOBS).assign(kind="x"), either(found, "kind")),
        Case("a DataFrame with a category", pd.DataFrame(BLOBS).assign(kind=pd.Categorical(Z)), either(found, "kind")),
        Case("a DataFrame with dates", pd.DataFrame(BLOBS).assign(day=pd.Timestamp("2026-01-01")), either(found, "day")),
        Case("a DataFrame with a name of the results", pd.DataFrame(BLOBS, columns=["chain", "b"]), either(found, "'chain'")),
        Case("a Series", pd.Series(BLOBS[:, 0]), moments(BLOBS[:, 0])),
        Case("a flat list", BLOBS[:, 0].tolist(), either(moments(BLOBS[:, 0]))),
        Case("bool", BLOBS > 0, refused()),
        Case("complex", BLOBS + 1j, refused("complex")),
        Case("text", BLOBS.astype(str), refused("not numbers")),
        Case("bytes", BLOBS.astype("S"), refused("not numbers")),
        Case("one cell of text among objects", text, either(found, "high")),
        Case("dates", np.datetime64("2026-01-01") + whole.astype(int).astype("m8[D]"), refused()),
        Case("durations", whole.astype("m8[s]"), refused()),
        Case("a structured array", structured, either(found, "fields")),
        Case("ragged lists", [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]], refused("shape (n, d)")),
        Case("ragged arrays as objects", np.array([np.ones(2), np.ones(3), np.ones(2)], dtype=object), refused()),
        Case("lists in cells", np.array([[[1], 2], [[3], 4]], dtype=object), either(FINITE)),
        Case("sparse matrix", scipy.sparse.csr_matrix(BLOBS), either(found, "toarray")),
        Case("sparse array", scipy.sparse.coo_array(BLOBS), either(found, "toarray")),
        Case("three axes", BLOBS.reshape(N // 2, 2, 2), refused("(30, 2, 2)")),
        Case("a number", 3.0, refused("shape (n, d)")),
        Case("None", None, refused("shape (n, d)")),
        Case("text instead of data", "data.csv", refused("shape (n, d)")),
        Case("a dict", {"a": [1.0, 2.0], "b": [3.0, 4.0]}, refused("shape (n, d)")),
        Case("a set", {1.0, 2.0, 3.0}, refused("shape (n, d)")),
        Case("a generator", (row for row in BLOBS), refused("shape (n, d)")),
        Case("no rows", np.empty((0, 2)), refused("no rows")),
        Case("no columns", np.empty((5, 0)), refused("no columns")),
        Case("an empty list", [], refused()),
    ]


def missing_and_infinite() -> list[Case]:
    """NaN and infinities."""

    def at(rows, column, value) -> np.ndarray:
        x = BLOBS.copy()
        x[rows, column] = value
        return x

    def scattered(x):
        x[np.random.default_rng(1).uniform(size=x.shape) < 0.3] = np.nan
        x[np.isnan(x).all(1), 0] = BLOBS[np.isnan(x).all(1), 0]

    def alternating(x):
        x[::2, 0] = np.nan
        x[1::2, 1] = np.nan

    found, infinite = groups(), refused("infinite", "row 6")
    empty = missing(lambda x: x.__setitem__(slice(7, 9), np.nan))
    rest = np.flatnonzero(~np.isnan(empty[:, 0]))
    without = Expected(
        "the two groups, and weights as memberships of rows without values",
        lambda f: groups(rows=slice(None)).check(_filled(f, rest)),  # type: ignore[misc]
        warned=("row 8",),
    )
    return [
        Case("an infinity", at(5, 0, np.inf), infinite),
        Case("minus infinity", at(5, 1, -np.inf), infinite),
        Case("a column of infinities", at(slice(None), 1, np.inf), refused("infinite", "row 1")),
        Case("infinity and NaN in one row", at(5, slice(None), [np.inf, np.nan]), infinite),
        Case("one value missing", at(5, 0, np.nan), found),
        Case("30 % of the values missing", missing(scattered), found),
        Case("a value missing in every row", missing(alternating), found),
        Case("rows without any value", empty, without),
        Case("a column without any value", at(slice(None), 1, np.nan), refused("'x2'")),
        Case("no value at all", np.full((N, 2), np.nan), refused("'x1'")),
        Case(
            "a column with one value",
            at(slice(1, None), 1, np.nan),
            either(moments(BLOBS[:, :1]), "'x2'")._replace(check=lambda _: None),
        ),
        Case(
            "smallest numbers (5e-324)",
            np.full((N, 2), 5e-324) * np.arange(N)[:, None],
            either(FINITE),
        ),
        Case("infinite weights", BLOBS, refused("row 3"), options={"weights": np.where(np.arange(N) == 2, np.inf, 1.0)}),
        Case("missing weights", BLOBS, refused("row 3"), options={"weights": np.where(np.arange(N) == 2, np.nan, 1.0)}),
    ]


def _filled(found, rest):
    """Memberships of rows without values replaced by those of a neighbour, so that the groups can be checked."""
    membership = found.membership.copy()
    for row in np.setdiff1d(np.arange(N), rest):
        if np.abs(membership[row] - found.weights).max() > 0.05:
            membership[row] = np.nan
        membership[row] = membership[rest[0]] if np.isfinite(membership[row]).all() else 0.5
    return found._replace(membership=membership)
