"""The judge of files and processes at the boundary: the right answer, one clear sentence, or wrong."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.verdict import Verdict, asked, lacking, of_refusal, wrong


class Answer(NamedTuple):
    """What a reader gives: values, the names of the columns where it knows any, and what it told the user beside."""

    values: object
    names: tuple[str, ...] | None = None
    told: str = ""


class Right(NamedTuple):
    """The values and names that are right, and words of what is told beside."""

    values: object
    names: tuple[str, ...] | None = None
    told: tuple[str, ...] = ()


class Sentence(NamedTuple):
    """Words of the one sentence that is right."""

    words: tuple[str, ...]


type Expected = Right | Sentence


class Case(NamedTuple):
    """An input: what ``make`` writes into a folder, and what is right."""

    name: str
    shown: str  # the input in words or as text
    make: Callable[[Path], Path]  # the file
    expected: Expected
    ask: Callable[[Path], Answer]
    peer: Callable[[Path], Answer] | None = None


def judged(ask: Callable[[Path], Answer], path: Path, expected: Expected) -> Verdict:
    """Ask, and judge what comes back: the right answer, one clear sentence that names the file, or wrong."""
    answer, warned = asked(lambda: ask(path))
    if isinstance(answer, Exception):
        words = expected.words if isinstance(expected, Sentence) else None
        clear = isinstance(answer, ValueError | RuntimeError)
        return of_refusal(str(answer).replace(str(path), path.name), words, clear=clear, source=type(answer).__name__)
    told = " ".join([answer.told, *warned]).strip()
    if isinstance(expected, Sentence):
        return wrong(f"an answer where a sentence is due: {answer.values}")
    if not _same(answer.values, expected.values):
        return wrong(f"values {answer.values}")
    if expected.names is not None and answer.names != expected.names:
        return wrong(f"names {answer.names}")
    if missing := lacking(expected.told, told):
        return wrong(f"nothing says {missing}")
    return Verdict(True, "answer", told.replace(str(path), path.name))


def _same(values: object, right: object) -> bool:
    if not isinstance(right, np.ndarray | list):
        return values == right
    found, wanted = np.asarray(values, float), np.asarray(right, float)
    return found.shape == wanted.shape and bool(np.array_equal(found, wanted, equal_nan=True))


def of_peer(case: Case, path: Path) -> str | None:
    """What pandas and scikit-learn make of the file: right, an error, or silent, where a wrong answer comes without a word."""
    if case.peer is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer = case.peer(path)
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else ""
            return f"{type(error).__name__}: {first}".replace(str(path), path.name)
    if isinstance(case.expected, Sentence) or not _same(answer.values, case.expected.values):
        return "**silent**"
    names = case.expected.names
    return "right" if names is None or answer.names == names else "**silent**, other names"


def run(case: Case) -> tuple[Verdict, str | None]:
    """The verdicts on bgmm and on its peer, in a folder of the case's own."""
    with tempfile.TemporaryDirectory() as folder:
        path = case.make(Path(folder))
        return judged(case.ask, path, case.expected), of_peer(case, path)
