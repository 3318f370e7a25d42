"""RESULTS.md from results.json."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks import store, tables, targets
from benchmarks.cases import CASES

TITLES = {
    "iteration": "EM time per iteration",
    "whole_fit": "A whole fit",
    "memory": "Memory",
    "streams": "Streams",
    "gradient": "Value and gradient",
    "sampling": "Sampling",
    "sampling_large": "Sampling, many rows",
    "scaling": "Scaling",
    "compilation": "Compilation",
}
PICTURES = {
    "scaling": ("scaling.png", "Time of an EM iteration against N, D and K"),
    "memory": ("memory.png", "Memory against N"),
    "streams": ("streams.png", "Memory of a fit from a stream and from memory against N"),
}
QUIET = 0.05  # share of the cores that other work may have
HEAD = """# bgmm beside its peers

Written by `make bench`; the numbers are in [results.json](results.json). Contenders run in one process, one measurement of each
in turn, on the same rows from the same start, with equal threads and float width; where a fresh process is needed for each
number (memory, sampling, compilation) the processes take turns. A ratio is that of the medians of the wall times, theirs over
ours, so above one bgmm is ahead; in brackets the quartiles of the ratios of neighbours, for sampling the least and the
greatest. Ratios under 1.3 mean nothing. One thread means one core for the process. Where a target asks for a range, the
worst and the best cell stand there."""


def write(folder: Path) -> None:
    """Write RESULTS.md beside results.json."""
    (folder / "RESULTS.md").write_text("\n".join(_lines(store.load(folder)["sections"], folder)) + "\n")


def _lines(sections: dict, folder: Path) -> Iterator[str]:
    yield from HEAD.splitlines()
    if any(section["quick"] for by_threads in sections.values() for section in by_threads.values()):
        yield from ("", "**Some numbers come from a quick run at small sizes: they show that it works, and nothing else.**")
    yield from (
        "",
        "## Where it must end up",
        "",
        *tables.table(["quantity", "target", "measured"], list(targets.lines(sections))),
    )
    for name, case in CASES.items():
        by_threads = sections.get(name)
        if not by_threads:
            continue
        module = importlib.import_module(f"benchmarks.{case.module}")
        yield from ("", f"## {TITLES[name]}", "", (module.__doc__ or "").strip())
        if name in PICTURES and (folder / "pictures" / PICTURES[name][0]).exists():
            yield from ("", f"![{PICTURES[name][1]}](pictures/{PICTURES[name][0]})")
        for threads, section in sorted(by_threads.items()):
            unfinished = "" if section["complete"] else " The run was interrupted: some rows are missing."
            busy = section["others_share"]
            if busy > QUIET:
                unfinished += f" **Other work had {100 * busy:.0f} % of the machine's cores: measure again when it is quiet.**"
            yield from ("", f"**{threads} thread{'s' * (threads != '1')}**, measured {section['measured']}.{unfinished}")
            yield from getattr(tables, TABLES.get(name, name))(section["rows"])
            yield from _missing(section["rows"])
    yield from _machines(sections)


TABLES = {"sampling_large": "sampling"}


def _missing(rows: list[dict]) -> Iterator[str]:
    """Who did not take part, each reason once, with the first cell it was given in."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        missing = row.get("missing", {})
        cell = ", ".join(f"{key} {row[key]}" for key in ("n", "d", "k", "bits") if key in row)
        for name, reason in missing.items() if isinstance(missing, dict) else [(row.get("engine", ""), missing)]:
            reasons.setdefault((name, reason), []).append(cell)
    if reasons:
        yield ""
    for (name, reason), cells in reasons.items():
        where = cells[0] if len(cells) == 1 else f"{cells[0]} and {len(cells) - 1} more"
        yield f"- {name} is missing ({where}): {reason}."


def _machines(sections: dict) -> Iterator[str]:
    """What the sections were measured on, each machine once."""
    seen = {}
    for section in (section for by_threads in sections.values() for section in by_threads.values()):
        m = section["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
        told = f"- {m['cpu']}, {m['cores']} cores, {m['vectors']}, {m['memory_gb']} GB, {m['system']}, Python {m['python']}"
        seen[f"{told}; {versions}."] = None
    yield from (
        "",
        "## Machine",
        "",
        "CPU, memory and versions of everything above; each process was held to as many cores as it had threads.",
        "",
        *seen,
    )
