"""The targets, and what was measured of each: the worst cell counts, not the best."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.contenders import E_STEP, US
from benchmarks.sampling import GIBBS
from benchmarks.tables import limit_share, mixed, number

NOT_YET = "not measured"


def lines(sections: dict) -> Iterator[list[str]]:
    """Quantity, target, measured."""
    for t in (1, 2):
        rows = _rows(sections, "iteration", t)
        iteration = [r for r in rows if r["bits"] == 64 and r["d"] <= 16 and r["n"] >= 10_000]
        yield [
            f"EM iteration, float64, D <= 16, N >= 1e4, scikit-learn's time over ours, {_threads(t)}",
            "6 to 25, never under 5",
            _range([_ratio(r, "scikit-learn") for r in iteration]),
        ]
        k16 = [r for r in rows if r["bits"] == 64 and r["k"] >= 16]
        alone = _range([limit_share(r, E_STEP) for r in k16], percent=True)
        whole = _range([limit_share(r, US) for r in k16], percent=True)
        measured = NOT_YET if not k16 else f"{whole}; the E-step alone {alone}"
        yield [f"share of the limit at K >= 16, float64, {_threads(t)}", "over 60 %", measured]
        yield [
            f"whole fit to the log likelihood of scikit-learn, 10 restarts, N=1e5, D=8, K=16, {_threads(t)}",
            "20",
            _whole_fit([r for r in _rows(sections, "whole_fit", t) if (r["n"], r["d"], r["k"]) == (100_000, 8, 16)]),
        ]
        yield [
            f"value and gradient, NumPyro's time over ours, {_threads(t)}",
            "5",
            _range([_ratio(r, "NumPyro MixtureSameFamily") for r in _rows(sections, "gradient", t)]),
        ]
    for what, name in (("EM from rows to answer", US), ("a whole fit, its tree included", "bgmm.fit, whole")):
        yield [f"extra memory, {what}, float64", "under 100 MB at any N", _memory(_rows(sections, "memory", 2), name)]
    sampling = _rows(sections, "sampling", 1) + _rows(sections, "sampling_large", 1)
    for name in dict.fromkeys(name for r in sampling for name in r["contenders"] if name not in (US, GIBBS)):
        for engine, ours in (("NUTS", US), ("Gibbs", GIBBS)):
            yield [f"{engine}, effective draws a CPU second, ours over {name}", "5", _sampling(sampling, ours, name)]
    yield from _compilation(_rows(sections, "compilation", 2))


def _rows(sections: dict, case: str, threads: int) -> list[dict]:
    return sections.get(case, {}).get(str(threads), {}).get("rows", [])


def _threads(t: int) -> str:
    return f"{t} thread{'s' * (t > 1)}"


def _ratio(row: dict, name: str) -> float | None:
    return row["contenders"].get(name, {}).get("ratio", {}).get("of_medians")


def _range(values: list[float | None], percent: bool = False) -> str:
    known = [100 * v if percent else v for v in values if v is not None]
    if not known:
        return NOT_YET
    ends = f"{number(min(known))} to {number(max(known))}" if len(known) > 1 else number(known[0])
    return ends + " %" * percent


def _whole_fit(rows: list[dict]) -> str:
    if not rows:
        return NOT_YET
    (row,) = rows
    ahead = row["answers"][US]["ahead_of_scikit_learn"]
    reached = f"{ahead:+.1f} nats" if ahead >= 0 else f"not reached: {ahead:.1f} nats"
    return f"{number(_ratio(row, 'scikit-learn'))} ({reached})"


def _memory(rows: list[dict], name: str) -> str:
    told = [f"{number(r['extra_mb'][name], 3)} MB at N={r['n']:,}" for r in rows if r["bits"] == 64 and name in r["extra_mb"]]
    return "; ".join(told) or NOT_YET


def _sampling(rows: list[dict], own: str, name: str) -> str:
    told = []
    for r in rows:
        both = [r["contenders"].get(who) for who in (own, name)]
        if None in both or not all(one["ess_per_cpu_second"] for one in both):
            continue
        ours, theirs = (float(np.median(one["ess_per_cpu_second"])) for one in both)
        compared = number(ours / theirs) if all(mixed(one) for one in both) else "chains disagree, not compared,"
        told.append(f"{compared} at N={r['n']:,}, K={r['k']}")
    return "; ".join(told) or NOT_YET


def _compilation(rows: list[dict]) -> Iterator[list[str]]:
    for row in rows:
        if "fits" in row:
            second = row["fits"]["other data, 1 % more rows"]
            told = f"{second['programs']} programs; {number(row['second_over_compute'], 3)} times"
            yield [
                f"second data set of similar size, {row['engine']}",
                "compiles nothing; within 1.2 times its compute time",
                told,
            ]
