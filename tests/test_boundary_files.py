"""The judge of files at the boundary sees planted faults, and every table and saved tree at the boundary is met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import boundary_file_cases, boundary_tree_cases
from benchmarks.boundary_file_judge import Answer, Right, Sentence, judged, run

CASES = [
    (title, case)
    for title, cases in {**boundary_file_cases.sections(), **boundary_tree_cases.sections()}.items()
    for case in cases
    if title != "Names of features"  # tests/test_names.py fits, saves and loads them all at once
]
RIGHT = Right([[1.0, np.nan]], ("a", "b"), ("told",))


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[f"{title}: {case.name}" for title, case in CASES])
def test_the_right_answer_or_one_sentence(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = case.make(tmp_path)
    verdict = judged(case.ask, path, case.expected)
    assert verdict.met, verdict.says


def answering(*answer):
    return lambda _: Answer(*answer)


def failing(error):
    def ask(_):
        raise error

    return ask


@pytest.mark.parametrize(
    ("ask", "expected", "met"),
    [
        (answering([[1.0, np.nan]], ("a", "b"), "it is told"), RIGHT, True),
        (answering([[1.0, 0.0]], ("a", "b"), "it is told"), RIGHT, False),
        (answering([[1.0], [np.nan]], ("a", "b"), "it is told"), RIGHT, False),
        (answering([[1.0, np.nan]], ("a", "c"), "it is told"), RIGHT, False),
        (answering([[1.0, np.nan]], ("a", "b"), "silent"), RIGHT, False),
        (failing(ValueError("'x.csv' is empty")), RIGHT, False),
        (failing(ValueError("'x.csv' is empty")), Sentence(("x.csv", "empty")), True),
        (failing(ValueError("'x.csv' is\nempty")), Sentence(("x.csv", "empty")), False),
        (failing(ValueError("it is empty")), Sentence(("x.csv", "empty")), False),
        (failing(ValueError("x.csv empty" * 100)), Sentence(("x.csv", "empty")), False),
        (failing(ValueError()), Sentence(()), False),
        (failing(TypeError("'x.csv' is empty")), Sentence(("x.csv", "empty")), False),
        (failing(MemoryError("'x.csv' is empty")), Sentence(("x.csv", "empty")), False),
        (answering([[1.0]], None, ""), Sentence(("x.csv",)), False),
        (answering("lost"), Right("kept"), False),
        (answering("kept"), Right("kept"), True),
    ],
)
def test_the_judge_sees_planted_faults(ask, expected, met):
    assert judged(ask, Path("x.csv"), expected).met == met


def test_a_peer_that_is_wrong_without_a_word_is_called_silent():
    said = {
        case.name: run(case)[1] for _, case in CASES if case.name in ("plain", "semicolons", "years as data", "a name twice")
    }
    assert said["plain"] == "right"
    assert said["semicolons"].startswith("ValueError")
    assert said["years as data"] == said["a name twice"] == "**silent**"
