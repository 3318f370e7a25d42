"""Files and processes at the boundary: a right answer or one clear sentence, by bgmm beside pandas and scikit-learn.

    python -m benchmarks.boundary_files [words of the names of cases]

runs the cases of ``boundary_file_cases`` (tables), ``boundary_tree_cases`` (saved trees) and ``boundary_process_cases``
(writing, interrupts, threads, forks), and writes BOUNDARY_FILES.md; with words, only cases whose names hold them, printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks import boundary_file_cases, boundary_process_cases, boundary_tree_cases
from benchmarks.boundary_file_judge import Case, Expected, Sentence, run
from benchmarks.tables import table
from benchmarks.verdict import Verdict

_SHOWN = 150  # characters of what is said


def sections() -> dict[str, list[Case]]:
    """All cases."""
    return {**boundary_file_cases.sections(), **boundary_tree_cases.sections(), **boundary_process_cases.sections()}


def says(expected: Expected) -> str:
    """What is expected, in words."""
    if isinstance(expected, Sentence):
        return f"one sentence with {', '.join(map(repr, expected.words))}"
    if isinstance(expected.values, str | bool):
        return f"{expected.values}"
    shape = " x ".join(map(str, np.shape(expected.values)))  # type: ignore[arg-type]
    names = "" if expected.names is None else f" of {', '.join(expected.names)}"
    return f"{shape} values{names[:40]}" + (f", told {', '.join(map(repr, expected.told))}" if expected.told else "")


def main(*words: str) -> int:
    """Run all cases, or those that hold a word, and write or print them; how many are not met."""
    ran = {
        name: [(case, *run(case)) for case in cases if not words or any(word in case.name for word in words)]
        for name, cases in sections().items()
    }
    failed = [(case, verdict) for rows in ran.values() for case, verdict, _ in rows if not verdict.met]
    n = sum(map(len, ran.values()))
    lines = [
        "# Files and processes at the boundary",
        "",
        "``python -m benchmarks.boundary_files`` reads, fits, saves and loads what stands in the column *input*, and judges",
        "what comes back: the right answer, one clear sentence, or neither. A table is what ``bgmm fit`` reads of the file.",
        "Beside it stands what pandas and a scikit-learn mixture make of the same table: right, the error, or silent, where a",
        "wrong answer comes without a word. gmmx reads no files.",
        "",
        f"{n - len(failed)} of {n} cases are met.",
    ]
    for name, rows in ran.items():
        with_peer = any(peer is not None for *_, peer in rows)
        head = ["case", "input", "expected", "bgmm"] + ["pandas and scikit-learn"] * with_peer
        body = [
            [case.name, f"`{case.shown}`", says(case.expected), _shown(verdict)] + [peer or "-"] * with_peer
            for case, verdict, peer in rows
        ]
        lines += ["", f"## {name}", "", *table(head, [[_cell(text) for text in row] for row in body])]
    if words:
        print("\n".join(lines))
    else:
        (Path(__file__).parent / "BOUNDARY_FILES.md").write_text("\n".join(lines) + "\n")
    for case, verdict in failed:
        print(f"not met: {case.name}: {verdict.says}")
    print(f"{n - len(failed)} of {n} met")
    return len(failed)


def _shown(verdict: Verdict) -> str:
    return (
        f"met: {verdict.kind}{f', “{verdict.says}”' if verdict.says else ''}" if verdict.met else f"**not met**: {verdict.says}"
    )


def _cell(text: str) -> str:
    """A cell of a table: on one line, cut short."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..." + "`" * text.startswith("`")


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
