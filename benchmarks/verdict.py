"""What the judges of arrays and of files share: a call with its warnings, and the verdict on a refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

_LONGEST = 400  # characters of a sentence


class Verdict(NamedTuple):
    """Whether the case is met, by what, and the words."""

    met: bool
    kind: str  # answer, sentence, wrong
    says: str


def wrong(says: str) -> Verdict:
    """The verdict on a case that is not met."""
    return Verdict(False, "wrong", says)


def asked[A](call: Callable[[], A]) -> tuple[A | Exception, list[str]]:
    """The answer or the error of a call, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer: A | Exception = call()
        except Exception as error:
            answer = error
    return answer, [str(warning.message) for warning in caught]


def lacking(words: tuple[str, ...], text: str) -> str:
    """The words that the text lacks, as a verdict lists them."""
    return ", ".join(repr(word) for word in words if word not in text)


def of_refusal(
    message: str, words: tuple[str, ...] | None, *, clear: bool, source: str, one_line: bool = True, by_words: bool = True
) -> Verdict:
    """The verdict on a refusal.

    :param words: those that the sentence must hold; None where no refusal is right.
    :param clear: whether an error of this kind and from this place may be a refusal at all.
    :param source: the kind of the error, as a verdict names it.
    :param one_line: whether the refusal is to be one line; else its first line is judged.
    :param by_words: whether the words are looked for.
    """
    first = message.splitlines()[0] if message else ""
    judged = message if one_line else first
    if not clear or "\n" in judged or not 0 < len(judged) <= _LONGEST:
        return wrong(f"{source}: {first}")
    if words is None:
        return wrong(f"refuses: {first}")
    if by_words and (missing := lacking(words, message)):
        return wrong(f"the sentence lacks {missing}: {first}")
    return Verdict(True, "sentence", first)
