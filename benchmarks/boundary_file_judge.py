"""The judge of files and processes at the boundary: the right answer, one clear sentence, or wrong."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

_LONGEST = 400  # characters of a sentence, the path of the file left out


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


class Verdict(NamedTuple):
    """Whether the case is met, by what, and the words."""

    met: bool
    kind: str  # answer, sentence, wrong
    says: str


def judged(ask: Callable[[Path], Answer], path: Path, expected: Expected) -> Verdict:
    """Ask, and judge what comes back: the right answer, one clear sentence that names the file, or wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = ask(path)
        except Exception as error:
            return _of_error(error, path, expected)
    told = " ".join([answer.told, *(str(one.message) for one in caught)]).strip()
    if isinstance(expected, Sentence):
        return Verdict(False, "wrong", f"an answer where a sentence is due: {answer.values}")
    if not _same(answer.values, expected.values):
        return Verdict(False, "wrong", f"values {answer.values}")
    if expected.names is not None and answer.names != expected.names:
        return Verdict(False, "wrong", f"names {answer.names}")
    missing = [word for word in expected.told if word not in told]
    if missing:
        return Verdict(False, "wrong", f"nothing says {', '.join(map(repr, missing))}")
    return Verdict(True, "answer", told.replace(str(path), path.name))


def _of_error(error: Exception, path: Path, expected: Expected) -> Verdict:
    message = str(error).replace(str(path), path.name)
    first = message.splitlines()[0] if message else ""
    if not isinstance(error, ValueError | RuntimeError) or "\n" in message or not 0 < len(message) <= _LONGEST:
        return Verdict(False, "wrong", f"{type(error).__name__}: {first}")
    if isinstance(expected, Right):
        return Verdict(False, "wrong", f"refuses: {first}")
    missing = [word for word in expected.words if word not in message]
    if missing:
        return Verdict(False, "wrong", f"the sentence lacks {', '.join(map(repr, missing))}: {first}")
    return Verdict(True, "sentence", first)


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
