"""Arrays at the boundary: a right answer or one clear sentence, by bgmm beside scikit-learn and gmmx.

    python -m benchmarks.boundary_arrays [words of the names of cases]

runs the cases of ``boundary_cases`` and writes BOUNDARY_ARRAYS.md; with words, only cases whose names hold them, printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.boundary_cases import SECTIONS
from benchmarks.boundary_contenders import PEERS, US, Asked, Contender, installed
from benchmarks.boundary_inputs import Case
from benchmarks.boundary_judge import judged
from benchmarks.tables import table
from benchmarks.verdict import Verdict

_SHOWN = 110  # characters of what is said


def verdict_of(case: Case, contender: Contender) -> Verdict | None:
    """None where the contender cannot be asked."""
    if not installed(contender) or (case.options and contender is not US):
        return None
    x = case.x() if callable(case.x) and not hasattr(case.x, "__next__") else case.x
    asked = Asked(x, case.k, case.new, case.options)
    return judged(lambda: contender.run(asked), case.expected, contender.packages, one_line=contender.one_line)


def main(*words: str) -> None:
    """Run all cases, or those that hold a word, and write or print them."""
    contenders = (US, *PEERS)
    verdicts = {
        section: [(case, [verdict_of(case, one) for one in contenders]) for case in cases() if not words or _holds(case, words)]
        for section, cases in SECTIONS.items()
    }
    if words:
        for rows in verdicts.values():
            for case, of_each in rows:
                print(case.name, *(f"\n  {one.name}: {v}" for one, v in zip(contenders, of_each, strict=True)))
        return
    path = Path(__file__).parent / "BOUNDARY_ARRAYS.md"
    path.write_text("\n".join(_lines(verdicts)) + "\n")
    print("\n".join(_counts(verdicts)))
    for rows in verdicts.values():
        for case, (ours, *_) in rows:
            if ours is not None and not ours.met:
                print(f"not met: {case.name}: {ours.says}")


def _holds(case: Case, words: tuple[str, ...]) -> bool:
    return any(word in case.name for word in words)


def _lines(verdicts: dict[str, list]) -> list[str]:
    lines = [
        "# Arrays at the boundary",
        "",
        "``python -m benchmarks.boundary_arrays`` gives each input to bgmm (EM, in the last section Gibbs), to scikit-learn's",
        "GaussianMixture and to gmmx, and judges what comes back: a right answer, one clear sentence that the library raises",
        "itself, or neither. A case is met by what its column *expected* asks for. Sentences about far rows, fill values and",
        "constant columns are part of that, and only bgmm says them; scikit-learn and gmmx take no missing values. A dash: not",
        "asked, because the case is about an option of bgmm, or the library is not installed.",
        "",
        *_counts(verdicts),
    ]
    for section, rows in verdicts.items():
        head = ["case", "expected", US.name, *(peer.name for peer in PEERS)]
        body = [[case.name, case.expected.says, *map(_shown, of_each)] for case, of_each in rows]
        lines += ["", f"## {section}", "", *table(head, [[cell.replace("|", "/") for cell in row] for row in body])]
    return lines


def _counts(verdicts: dict[str, list]) -> list[str]:
    """How many cases each met."""
    of_each = list(zip(*(row for rows in verdicts.values() for _, row in rows), strict=True))
    counts = []
    for contender, asked in zip((US, *PEERS), of_each, strict=True):
        known = [verdict for verdict in asked if verdict is not None]
        told = f"{sum(v.met for v in known)} of {len(known)} met" if known else "not installed, so not asked"
        counts.append(f"- {contender.name}: {told}")
    return counts


def _shown(verdict: Verdict | None) -> str:
    if verdict is None:
        return "–"
    if verdict.met and verdict.kind == "answer":
        return "met: answer"
    says = verdict.says if len(verdict.says) <= _SHOWN else verdict.says[:_SHOWN] + " ..."
    return f"met: “{says}”" if verdict.met else f"**not met**: {says}"


if __name__ == "__main__":
    main(*sys.argv[1:])
