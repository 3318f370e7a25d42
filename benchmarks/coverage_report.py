"""COVERAGE.md from the lines of ``benchmarks.coverage``: coverage of intervals, differences from NUTS, and what flags them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.tables import table
from bgmm.core.importance import weaknesses

LEVELS = (0.5, 0.8, 0.9, 0.95)
KINDS = {
    "density at fixed points": "density",
    "overall mean": "mean",
    "entropy of weights": "entropy",
    "largest weight": "largest",
}
NAMES = {"laplace": "Laplace", "vi": "VI", "nuts": "NUTS"}
CHOSEN_ON = 60  # data sets of each kind on which the limits of the rule were chosen; its rates are those on the others
OFF = 0.3  # posterior standard deviations of a mean from that of NUTS
R_HAT = 1.01  # beyond which NUTS is no reference
HEAD = """# Coverage of intervals

`python -m benchmarks.coverage --rows 300 --features 1` (2000 rows, 2 features: likewise), then `python -m benchmarks.coverage
--report`. Each data set has its parameters drawn from the prior of the model that is fitted: three overlapping components,
means N(0, 1), scales LogNormal(-1, 1), uniform weights. Exact inference covers as many truths as it says; in {sets} data sets
a coverage of 90 % has a standard error of {error:.1f} points. Every engine has its default settings and the same data sets."""


def write(source: Path, target: Path) -> None:
    """Write the report of all data sets that every engine has fitted."""
    fits: dict[tuple, dict[str, dict]] = defaultdict(dict)
    for line in source.read_text().splitlines():
        row = json.loads(line)
        fits[row["rows"], row["features"], row["seed"]][row["engine"]] = row
    complete = {key: engines for key, engines in fits.items() if set(engines) == set(NAMES)}
    cells = sorted({key[:2] for key in complete})
    sets = {cell: [engines for key, engines in sorted(complete.items()) if key[:2] == cell] for cell in cells}
    least = min(len(of_cell) for of_cell in sets.values())
    lines = [HEAD.format(sets=least, error=100 * np.sqrt(0.09 / least)), "", "## Coverage", ""]
    lines += ["Percent of the truths in central intervals of 50, 80, 90 and 95 %.", ""]
    lines += table(["rows, features", "of", *NAMES.values()], [line for cell in cells for line in _coverage(cell, sets[cell])])
    lines += ["", "## Differences from NUTS", "", DIFFERENCES, ""]
    head = [
        "rows, features",
        "engine",
        "CPU seconds",
        "effective draws",
        "mean off by over 0.3 sd",
        "sd under 0.8",
        "sd over 1.25",
    ]
    lines += table(head, [_difference(cell, name, sets[cell]) for cell in cells for name in ("laplace", "vi")])
    lines += ["", "## What the warning is worth", "", WARNING.format(chosen=CHOSEN_ON), ""]
    held_out = [engines for (_, _, seed), engines in complete.items() if seed >= CHOSEN_ON]
    head = ["engine", "rows", "wrong", "wrong ones warned of", "right ones warned of"]
    lines += table(head, [_rates(name, n, held_out) for name in ("laplace", "vi") for n in (300, 2000)])
    target.write_text("\n".join(lines) + "\n")


DIFFERENCES = f"""Over data sets on which the chains of NUTS agree (R-hat at most {R_HAT} for every quantity): shares of those
where some quantity (log densities at fixed points, overall mean, entropy of the weights, largest weight) has a posterior mean
that is over {OFF} of NUTS's standard deviations from NUTS's, or a standard deviation under 0.8 or over 1.25 times NUTS's. CPU
seconds and effective draws are medians over the data sets, most of which compile nothing."""

WARNING = """A fit is wrong where a mean is off by over 0.3 sd, or a standard deviation by a factor of 0.75 or 1.33. The limits
of the warning (log evidence over 1 nat above the ELBO, k-hat over 0.7, under 400 effective draws) were chosen on the first
{chosen} data sets of each kind; these are its rates on the others. Some of what counts as wrong is an error of NUTS, whose
chains can agree in one of two modes."""


def _quantities(engines: dict[str, dict], kind: str = "") -> list[str]:
    return [name for name in engines["nuts"]["truth"] if name.startswith(kind)]


def _cell(cell: tuple[int, int]) -> str:
    return f"{cell[0]}, {cell[1]}"


def _coverage(cell: tuple[int, int], sets: list[dict]) -> list[list[str]]:
    lines = []
    for title, kind in KINDS.items():
        line = [_cell(cell), title]
        for engine in NAMES:
            below = np.array([[engines[engine][name][0] for name in _quantities(engines, kind)] for engines in sets])
            inside = [100 * np.mean(np.abs(below - 0.5) <= level / 2) for level in LEVELS]
            line.append(" / ".join(f"{share:.0f}" for share in inside))
        lines.append(line)
    return lines


def _off(engines: dict[str, dict], name: str) -> tuple[float, float, float]:
    """Largest shift of a mean in sd of NUTS, smallest and largest ratio of sd."""
    nuts, own = engines["nuts"], engines[name]
    shifts = [abs(own[q][1] - nuts[q][1]) / nuts[q][2] for q in _quantities(engines)]
    ratios = [own[q][2] / nuts[q][2] for q in _quantities(engines)]
    return max(shifts), min(ratios), max(ratios)


def _sure(sets: list[dict]) -> list[dict]:
    return [engines for engines in sets if all(engines["nuts"][q][3] <= R_HAT for q in _quantities(engines))]


def _difference(cell: tuple[int, int], name: str, sets: list[dict]) -> list[str]:
    sure = _sure(sets)
    off = np.array([_off(engines, name) for engines in sure])
    shares = (off[:, 0] > OFF, off[:, 1] < 0.8, off[:, 2] > 1.25)
    seconds, nuts = (np.median([engines[engine]["cpu_seconds"] for engines in sets]) for engine in (name, "nuts"))
    effective = np.median([e[name]["effective_draws"] for e in sets])
    return [
        f"{_cell(cell)} ({len(sure)} of {len(sets)})",
        NAMES[name],
        f"{seconds:.2g} (NUTS {nuts:.2g})",
        f"{effective:.0f}",
        *(f"{100 * share.mean():.0f} %" for share in shares),
    ]


def _rates(name: str, n: int, sets: list[dict]) -> list[str]:
    sure = _sure([engines for engines in sets if engines["nuts"]["rows"] == n])
    off = np.array([_off(engines, name) for engines in sure])
    wrong = (off[:, 0] > OFF) | (off[:, 1] < 0.75) | (off[:, 2] > 1.33)
    warned = np.array([bool(weaknesses(engines[name])) for engines in sure])
    shares = (f"{int(warned[of].sum())} of {int(of.sum())}" for of in (wrong, ~wrong))
    return [NAMES[name], str(n), f"{int(wrong.sum())} of {len(wrong)}", *shares]
