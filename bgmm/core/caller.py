"""Warnings that point at the line of the user's that called bgmm, however deep in bgmm they are raised."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"


def warn(sentence: str, category: type[Warning] = UserWarning) -> None:
    """Warn whoever called bgmm."""
    warnings.warn(sentence, category, skip_file_prefixes=(_PACKAGE,))
