"""What ``make test`` runs of many similar cases; ``make calibration`` runs the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest


def also_slow(cases: Iterable, quick: Collection) -> list:
    """Each case, those that are not quick marked as slow: what takes long, and differs little from what is quick."""
    return [case if case in quick else pytest.param(*_values(case), marks=pytest.mark.slow) for case in cases]


def _values(case) -> tuple:
    return case if isinstance(case, tuple) else (case,)
