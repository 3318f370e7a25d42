"""The judge of boundary cases: a right answer, one clear sentence, or wrong.

An answer is right where all its numbers are finite, memberships sum to one, and the check of the case finds no fault. A
refusal is one clear sentence where the library itself raises a ValueError or TypeError; one that comes from inside another
library is a traceback, however good its words. Everything else is wrong.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.verdict import Verdict, asked, lacking, of_refusal, wrong


class Found(NamedTuple):
    """What a fit says: its mixture, and memberships and log densities of the fitted rows, or of new ones."""

    weights: np.ndarray  # (k,)
    means: np.ndarray  # (k, d)
    scales: np.ndarray  # (k, d), standard deviations
    membership: np.ndarray  # (n, k)
    log_density: np.ndarray  # (n,)

    @property
    def mean(self) -> np.ndarray:
        """Of the mixture."""
        return self.weights @ self.means

    @property
    def sd(self) -> np.ndarray:
        """Of the mixture; in units in which squares neither overflow nor vanish."""
        unit = np.maximum(np.maximum(np.abs(self.means - self.mean).max(0), self.scales.max(0)), np.finfo(float).tiny)
        return unit * np.sqrt(self.weights @ (((self.means - self.mean) / unit) ** 2 + (self.scales / unit) ** 2))


class Expected(NamedTuple):
    """What a case asks for, in words, and what decides: a check of an answer, words of a sentence, or either."""

    says: str
    check: Callable[[Found], str | None] | None = None  # None: no answer is right; else it returns what is wrong
    refusal: tuple[str, ...] | None = None  # words of a refusal; None: no refusal is right
    warned: tuple[str, ...] = ()  # words that the warnings beside an answer must hold


def judged(call: Callable[[], Found], expected: Expected, packages: tuple[str, ...], *, one_line: bool = True) -> Verdict:
    """Run a case and judge it.

    :param packages: libraries whose refusals count as the library's own.
    :param one_line: whether a refusal is to be one line.
    """
    found, warned = asked(call)
    if isinstance(found, Exception):
        return _of_error(found, expected, packages, one_line)
    said = " | ".join(warned)
    fault = _not_numbers(found)
    if fault is None and expected.check is None:
        fault = "an answer where a refusal is due"
    elif fault is None and expected.check is not None:
        fault = expected.check(found)
    if fault is None and (missing := lacking(expected.warned, said)):
        fault = f"no warning says {missing}"
    return Verdict(True, "answer", said) if fault is None else wrong(fault)


def _of_error(error: Exception, expected: Expected, packages: tuple[str, ...], one_line: bool) -> Verdict:
    place = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    clear = isinstance(error, ValueError | TypeError) and any(map(place.is_relative_to, map(_folder, packages)))
    source = f"{type(error).__name__} from {place.name}"
    return of_refusal(str(error).strip(), expected.refusal, clear=clear, source=source, one_line=one_line, by_words=one_line)


def _folder(package: str) -> Path:
    """Where the code of a library lies."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _not_numbers(found: Found) -> str | None:
    """What is no number in an answer; a log density may be minus infinity."""
    for name, value in found._asdict().items():
        array = np.asarray(value, float)
        bad = np.isnan(array) | (array == np.inf) | ((array == -np.inf) & (name != "log_density"))
        if bad.any():
            return f"{name} has {array[bad][0]:g}"
    if found.membership.size and np.abs(found.membership.sum(1) - 1).max() > 1e-6:
        return "memberships do not sum to one"
    if abs(found.weights.sum() - 1) > 1e-6:
        return "weights do not sum to one"
    return None
