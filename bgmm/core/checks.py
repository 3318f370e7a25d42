"""One check, and one sentence, for each kind of option."""

from __future__ import annotations

import math
from numbers import Integral, Real


def check_count(name: str, value: object) -> None:
    """Insist on a whole number of at least one."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")


def check_positive(name: str, value: object) -> None:
    """Insist on a finite number above zero."""
    check_number(name, value)
    if not value > 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be above 0, not {value!r}")


def check_not_negative(name: str, value: object) -> None:
    """Insist on a finite number of at least zero."""
    check_number(name, value)
    if value < 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be 0 or more, not {value!r}")


def check_number(name: str, value: object) -> None:
    """Insist on a finite number."""
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")


def check_between(name: str, value: object, low: float, high: float) -> None:
    """Insist on a number strictly between two others."""
    check_number(name, value)
    if not low < value < high:  # type: ignore[operator]
        raise ValueError(f"{name} must be between {low:g} and {high:g}, not {value!r}")
