"""Boundary cases: weights and options, prediction, Gibbs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.boundary_inputs import (
    BLOBS,
    DOUBLE_MAX,
    FINITE,
    Case,
    N,
    Z,
    beside,
    either,
    groups,
    missing,
    moments,
    placed,
    refused,
)
from benchmarks.boundary_judge import Expected


def weights_and_options() -> list[Case]:
    """Observation weights and options of fit."""

    def w(value, **more) -> dict:
        return {"weights": value, **more}

    half = np.where(Z == 0, 0.0, 1.0)
    one = moments(BLOBS[Z == 1], says="mean and spread of the rows that count")
    return [
        Case("weight zero for one group", BLOBS, one, 1, options=w(half)),
        Case("weight two for all", BLOBS, groups(), options=w(np.full(N, 2.0))),
        Case("weights of total 1e-300", BLOBS, refused("sum to"), options=w(np.full(N, 1e-302))),
        Case("weights of total 1e300", BLOBS, refused("sum to"), options=w(np.full(N, 1e298))),
        Case("a negative weight", BLOBS, refused("row 1"), options=w(-np.ones(N))),
        Case("too few weights", BLOBS, refused("(59,)"), options=w(np.ones(N - 1))),
        Case("weights with two axes", BLOBS, refused("(60, 1)"), options=w(np.ones((N, 1)))),
        Case("weights of text", BLOBS, refused("weights"), options=w(["a"] * N)),
        Case("all weights zero", BLOBS, refused("zero"), options=w(np.zeros(N))),
        Case("one row that counts", BLOBS, refused("2 rows"), options=w(np.eye(N)[0])),
        Case("no components", BLOBS, refused("n_components"), 0),
        Case("1.5 components", BLOBS, refused("n_components"), 1.5),  # type: ignore[arg-type]
        Case("'3' components", BLOBS, refused("n_components"), "3"),  # type: ignore[arg-type]
        Case("a NumPy integer of components", BLOBS, groups(), np.int64(2)),  # type: ignore[arg-type]
        Case("a seed of -1", BLOBS, refused("seed"), options={"seed": -1}),
        Case("an unknown engine", BLOBS, refused("engine"), options={"engine": "emm"}),
        Case("a start of another shape", BLOBS, refused("start"), options={"start": np.zeros((3, 2))}),
        Case("a start with NaN", BLOBS, refused("start"), options={"start": np.full((2, 2), np.nan)}),
        Case("a start with equal means", BLOBS, refused("the same"), options={"start": np.zeros((2, 2))}),
        Case("labels as start", BLOBS, groups(), options={"start": Z}),
        Case("a program without an argument", BLOBS, refused("one argument"), options={"model": lambda: None}),
        Case("a program that observes nothing", BLOBS, refused("observe"), options={"model": lambda rows: None}),
    ]


def prediction() -> list[Case]:
    """Rows to predict."""
    frame = pd.DataFrame(BLOBS, columns=["a", "b"])
    found = groups()
    finite = Expected("finite memberships, no NaN", lambda _: None)

    def rows(*values) -> np.ndarray:
        return np.array(values, float)

    return [
        Case("columns in another order", frame, found, new=frame[["b", "a"]]),
        Case("an extra column", frame, found, new=frame.assign(c=1.0)),
        Case("a column missing", frame, refused("a, b"), new=frame[["a"]]),
        Case("a column of another name", frame, refused("a, b"), new=frame.rename(columns={"b": "c"})),
        Case("an array for a frame", frame, found, new=BLOBS),
        Case("an array of another width", BLOBS, refused("x1, x2"), new=np.ones((4, 3))),
        Case("one flat row", BLOBS, refused("in a list"), new=[1.0, 2.0]),
        Case("lists", BLOBS, found, new=BLOBS.tolist()),
        Case("whole numbers", BLOBS, finite, new=[[1, 2], [3, 4]]),
        Case("no new rows", BLOBS, refused("no rows"), new=np.empty((0, 2))),
        Case("a new row with a missing value", BLOBS, finite, new=rows([np.nan, 5.0], [1.0, 2.0])),
        Case("a new row without any value", BLOBS, finite, new=rows([np.nan, np.nan], [1.0, 2.0])),
        Case("an infinite new row", BLOBS, refused("infinite", "row 2"), new=rows([1.0, 2.0], [np.inf, 1.0])),
        *(
            Case(f"a new row at {v:g}", BLOBS, finite._replace(warned=("row 2",)), new=rows([1.0, 2.0], [v, -v]))
            for v in (1e20, 1e155, 1e200, DOUBLE_MAX)
        ),
        Case("new rows of text", BLOBS, refused("not numbers"), new=[["a", "b"]]),
        Case("complex new rows", BLOBS, refused("complex"), new=BLOBS + 1j),
        Case("ragged new rows", BLOBS, refused("shape (n, d)"), new=[[1.0], [1.0, 2.0]]),
    ]


def by_gibbs() -> list[Case]:
    """Some of all sections, by the sampler."""
    import bgmm

    gibbs = {"engine": bgmm.Gibbs(n_draws=100, n_warmup=300, n_chains=2), "model": "random_k"}
    wild, found = beside([1e4, 1e4], says="the two groups, and row 61 named", warned=("far from the other rows", "row 61"))
    same = np.full((N, 2), 3.5)
    line = np.outer(BLOBS[:, 0], [1.0, 2.0])
    doubled = np.where(np.arange(N)[:, None] < 54, BLOBS[[0, 59]][Z], BLOBS)
    empty = missing(lambda x: x.__setitem__((7, slice(None)), np.nan))
    return [
        Case("Gibbs: the two groups", BLOBS, groups(), options=gibbs),
        Case("Gibbs: a wild row", wild, found, options=gibbs),
        Case("Gibbs: scale 1e100", placed(0, 1e100), groups(0, 1e100), options=gibbs),
        Case("Gibbs: offset 1e12", placed(1e12), groups(1e12), options=gibbs),
        Case("Gibbs: all rows identical", same, either(FINITE), options=gibbs),
        Case("Gibbs: points on a line", line, FINITE._replace(warned=("linear combinations",)), options=gibbs),
        Case("Gibbs: 90 % duplicates", doubled, FINITE, options=gibbs),
        Case("Gibbs: a row without any value", empty, FINITE._replace(warned=("row 8",)), options=gibbs),
        Case("Gibbs: two rows", BLOBS[[0, 59]], either(FINITE), options=gibbs),
    ]
