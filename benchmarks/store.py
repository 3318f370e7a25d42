"""What was measured, saved case by case, so that an interrupted run keeps what it had.

results.json has a section for each case and number of threads; longer benchmarks keep one line of JSON for each case.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

FILE = "results.json"
_DIGITS = 4
_FINE = {"log_likelihood": 9}  # digits of what is told apart only by its last ones


def load(folder: Path) -> dict:
    """All sections measured so far."""
    path = folder / FILE
    return json.loads(path.read_text()) if path.exists() else {"sections": {}}


def save(folder: Path, case: str, threads: int, section: dict) -> None:
    """Replace one section; the file is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    results = load(folder)
    results["sections"].setdefault(case, {})[str(threads)] = _rounded(section)
    unfinished = folder / f"{FILE}.unfinished"
    unfinished.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(unfinished, folder / FILE)


def _rounded(value, digits: int = _DIGITS):
    """Numbers to a few significant digits; what is no number becomes null."""
    if isinstance(value, dict):
        return {str(key): _rounded(entry, _FINE.get(key, digits)) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry, digits) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def kept_lines(file: Path) -> list[dict]:
    """The cases that earlier runs have measured."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep_line(file: Path, line: dict) -> None:
    """Add one case."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        opened.write(json.dumps(line) + "\n")
