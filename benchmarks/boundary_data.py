"""Boundary cases: units, degenerate data, far rows and fill values."""

from __future__ import annotations

import numpy as np

from benchmarks.boundary_inputs import (
    BLOBS,
    CLOUD,
    DOUBLE_MAX,
    FINITE,
    FLOAT_MAX,
    Case,
    N,
    Z,
    beside,
    either,
    groups,
    moments,
    placed,
    refused,
)

_FLAG = np.repeat([0.0, 1.0], [58, 2])[:, None]
_COUNTS = np.tile([0.0, 1.0, 2.0, 1.0, 0.0, 3.0], 10)[:, None]


def units() -> list[Case]:
    """Offsets and scales."""
    places = [1e3, 1e6, 1e9, -1e9, 1e12, -1e12]
    scales = [10.0**p for p in (-150, -140, -100, -50, -20, -6, 6, 20, 50, 100, 140, 150)]
    mixed = [(1e-100, 1e100), (1e-12, 1e12), (1e6, 1e-6), (1.0, 1e150), (1e-150, 1.0), (-1.0, 1.0)]
    far = [1e-150, 1e-140, 1e140, 1e150]
    offset = [Case(f"offset {o:g}, standard deviation 1", placed(o), groups(o)) for o in places]
    scaled = [Case(f"scale {s:g}", placed(0, s), either(groups(0, s), "square") if s in far else groups(0, s)) for s in scales]
    both = [
        Case(
            f"scales {a:g} and {b:g}",
            placed(0, (a, b)),
            either(groups(0, (a, b))) if 1e150 in (a, b, 1 / a) else groups(0, (a, b)),
        )
        for a, b in mixed
    ]
    return [
        *offset,
        Case("offset 1e15, rounded to eighths", placed(1e15), either(groups(1e15))),
        Case("offset 1e18, standard deviation lost", placed(1e18), either(FINITE)),
        Case("offset 1e12 in one column", placed((1e12, 0)), groups((1e12, 0))),
        Case("offset 1e-300", placed(1e-300), groups()),
        *scaled,
        *both,
    ]


def degenerate() -> list[Case]:
    """Duplicates, constants, points on a line, few rows, many components."""
    line = np.outer(BLOBS[:, 0], [1.0, 2.0])
    plane = np.column_stack([CLOUD, CLOUD.sum(1)])
    same = np.full((N, 2), 3.5)
    nearly = same.copy()
    nearly[0] = [4.0, 3.0]
    doubled = np.where(np.arange(N)[:, None] < 54, BLOBS[[0, 59]][Z], BLOBS)
    circle = np.column_stack([np.cos(np.arange(N)), np.sin(np.arange(N))])
    lattice = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2)
    wide = np.random.default_rng(2).normal(size=(12, 30))
    constant = np.column_stack([BLOBS[:, 0], np.full(N, 7.0)])
    large = constant + np.array([0, 1e12])
    return [
        Case("all rows identical", same, either(moments(same, warned=("no variation",)), "identical")),
        Case("all rows but one identical", nearly, either(moments(nearly))),
        Case("90 % duplicates", doubled, either(moments(doubled))),
        Case("each row twice", np.repeat(BLOBS[::2], 2, axis=0), moments(np.repeat(BLOBS[::2], 2, axis=0))),
        Case("two distinct rows, 30 of each", BLOBS[[0, 59]][Z], either(moments(BLOBS[[0, 59]][Z]))),
        Case("a constant column", constant, moments(constant, warned=("no variation in 'x2'",))),
        Case("a constant column of 1e12", large, moments(large, warned=("no variation in 'x2'",))),
        Case("a constant column of zeros", constant - [0, 7], moments(constant - [0, 7], warned=("no variation in 'x2'",))),
        Case("points on a line", line, moments(line, warned=("linear combinations",))),
        Case("points on a plane", plane, moments(plane, warned=("linear combinations",))),
        Case("one column twice", CLOUD[:, [0, 0]], moments(CLOUD[:, [0, 0]], warned=("linear combinations",))),
        Case("points on a circle", circle, moments(circle), 3),
        Case("a lattice", lattice, moments(lattice), 4),
        Case("a rare flag", _FLAG, moments(_FLAG, warned=("two values",)), 1),
        Case(
            "two rows at 1000, the rest at 0",
            1000 * _FLAG,
            moments(1000 * _FLAG, warned=("two values",)),
            1,
        ),
        Case(
            "counts",
            _COUNTS,
            moments(_COUNTS, warned=("counts",)),
            1,
        ),
        Case("two rows, one component", BLOBS[[0, 59]], either(FINITE), 1),
        Case("two rows, two components", BLOBS[[0, 59]], either(FINITE)),
        Case("three rows, two components", BLOBS[[0, 1, 59]], either(FINITE)),
        Case("one row", BLOBS[:1], refused("single row"), 1),
        Case("K = N", BLOBS[[0, 1, 2, 58, 59]], either(FINITE), 5),
        Case("K = N - 1", BLOBS[[0, 1, 2, 58, 59]], either(FINITE), 4),
        Case("K > N", BLOBS[:3], refused("4 components"), 4),
        Case("K = 20 of 60 rows", BLOBS, moments(BLOBS), 20),
        Case("K = 50 of 60 rows", BLOBS, moments(BLOBS), 50),
        Case("more columns than rows", wide, FINITE, 2),
        Case("one column, K = 3", CLOUD[:, :1], moments(CLOUD[:, :1]), 3),
        Case("rounded to whole numbers", np.round(CLOUD), moments(np.round(CLOUD)), 2),
        Case("sorted rows", np.sort(BLOBS, axis=0), groups()),
    ]


def far_rows() -> list[Case]:
    """Wild rows and fill values."""
    cases = []
    for value in (1e3, 1e4, 1e6, 1e10, 1e20, FLOAT_MAX):
        x, expected = beside([value, value], says="the two groups, and row 61 named", warned=("far from", "row 61"))
        cases.append(Case(f"a wild row at {value:g}", x, expected, 3))
    for value in (1e100, DOUBLE_MAX):
        x, expected = beside([value, 0], says="the two groups", warned=("row 61",))
        cases.append(Case(f"a wild row at {value:g}", x, either(expected, "row 61"), 3))
    for name, rows in {
        "two wild rows, opposite": [[1e5, 1e5], [-1e5, -1e5]],
        "a wild value in one column": [[0.0, 1e7]],
    }.items():
        x, expected = beside(*rows, says="the two groups, and row 61 named", warned=("far from", "61"))
        cases.append(Case(name, x, expected, 3))
    x, expected = beside(
        *[[-999.0, 1.0]] * 3, says="the two groups, and the fill value named", warned=("-999", "61, 62, 63", "NaN")
    )
    cases.append(Case("a fill value of -999", np.where(x == -999, x, 1e-3 * x), expected._replace(check=_small_groups), 3))
    for value in (1e20, FLOAT_MAX):
        x, expected = beside(
            *[[value, 1.0]] * 3, says="the two groups, and the fill value named", warned=(f"{value:g}", "61, 62, 63")
        )
        cases.append(Case(f"a fill value of {value:g}", x, expected, 3))
    x = np.concatenate([BLOBS, [[1e30, 1e30]]])
    weights = {"weights": np.append(np.ones(N), 0.0)}
    return [*cases, Case("a wild row of weight zero", x, groups(rows=slice(0, N)), options=weights)]


def _small_groups(found) -> str | None:
    return groups(0, 1e-3, slice(0, N)).check(found)  # type: ignore[misc]
