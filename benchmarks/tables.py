"""Markdown tables, one function a case: the rows of a section in, lines out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.contenders import E_STEP, US

R_HAT = 1.05  # beyond which effective draws mean nothing


def number(value: float | None, digits: int = 2) -> str:
    """A few significant digits, or a dash for what is not known."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """In microseconds, milliseconds or seconds."""
    if seconds is None:
        return "–"
    unit, name = next(((u, name) for u, name in ((1.0, "s"), (1e-3, "ms")) if seconds >= u), (1e-6, "µs"))
    return f"{number(seconds / unit, 3)} {name}"


def ratio(one: dict | None) -> str:
    """Ratio of medians, with the quartiles of the ratios of neighbours."""
    if one is None:
        return "–"
    r = one["ratio"]
    if r["of_medians"] is None:
        return "lost in noise"
    return f"{number(r['of_medians'])} ({number(r['low'])}–{number(r['high'])})"


def likely(p: Sequence[float]) -> str:
    """The numbers of clusters whose probability is at least .05, p[k] being that of k."""
    return ", ".join(f"{k}: {share:.2f}" for k, share in enumerate(p) if share >= 0.05)


def table(head: list[str], body: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body)]


def others(rows: list[dict]) -> list[str]:
    """Names of the peers in these rows."""
    names = dict.fromkeys(name for row in rows for name in row["contenders"])
    return [name for name in names if name not in (US, E_STEP)]


def _seconds(row: dict, name: str) -> float | None:
    return row["contenders"].get(name, {}).get("seconds", {}).get("median")


def limit_share(row: dict, name: str) -> float | None:
    """Least time of an iteration over the time that was measured."""
    seconds = _seconds(row, name)
    return None if seconds is None else row["least_seconds"] / seconds


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def iteration(rows: list[dict]) -> list[str]:
    """Two tables, one a float width."""
    lines = []
    for bits in (64, 32):
        chosen = [row for row in rows if row["bits"] == bits]
        if not chosen:
            continue
        peers = others(chosen)
        limits = {key: np.median([row["limits"][key] for row in chosen]) for key in ("flops", "exps")}
        head = ["N, D, K", US, *(f"{p} / {US}" for p in peers), "share of the limit", "E-step alone"]
        body = [
            [f"{r['n']:,}, {r['d']}, {r['k']}", duration(_seconds(r, US))]
            + [ratio(r["contenders"].get(p)) for p in peers]
            + [_percent(limit_share(r, US)), _percent(limit_share(r, E_STEP))]
            for r in chosen
        ]
        speed = f"{limits['flops'] / 1e9:.0f} GF/s in a matrix product, {limits['exps'] / 1e9:.2g}e9 exponentials a second"
        lines += ["", f"float{bits}; limit {speed}:", "", *table(head, body)]
        same = {p: max((r["means_differ_by"].get(p, 0.0) for r in chosen), default=0.0) for p in peers if "Bayesian" not in p}
        lines += ["", "Means after three iterations differ from ours by at most " + _listed(same) + " standard deviations."]
    return lines


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{value:.0e} ({name})" for name, value in values.items()) or "–"


def whole_fit(rows: list[dict]) -> list[str]:
    """Each contender of each problem on a line."""
    head = [
        "problem",
        "contender",
        "time",
        f"ratio to {US}",
        "log likelihood",
        "nats above scikit-learn",
        "passes of the best start",
    ]
    body = []
    for row in rows:
        for name, one in row["contenders"].items():
            answer = row["answers"][name]
            problem = f"{row['problem']}, {row['n']:,} x {row['d']}, K = {row['k']}"
            end = [f"{answer['log_likelihood']:,.2f}", f"{answer['ahead_of_scikit_learn']:.2f}", str(answer.get("passes", "–"))]
            body.append([problem, name, duration(one["seconds"]["median"]), ratio(one), *end])
        first = duration(row["first_fit_seconds"])
        body.append([problem, f"{US}, first fit of a process, compilation included", first, "", "", "", ""])
    return ["", *table(head, body)]


def memory(rows: list[dict]) -> list[str]:
    """One line a size and width."""
    names = sorted(dict.fromkeys(name for row in rows for name in row["extra_mb"]))
    body = [
        [f"{row['n']:,}", f"float{row['bits']}", number(row["data_mb"])]
        + [number(row["extra_mb"].get(name), 3) for name in names]
        for row in sorted(rows, key=lambda row: (-row["bits"], row["n"]))
    ]
    return ["", *table(["N", "width", "data, MB", *(f"{name}, MB" for name in names)], body)]


def streams(rows: list[dict]) -> list[str]:
    """One line a size: stream and memory."""
    body = [
        [f"{row['n']:,}", number(row["data_mb"])]
        + [number(row["fits"][kind].get("extra_mb"), 3) for kind in ("stream", "memory")]
        + [duration(row["fits"][kind].get("seconds")) for kind in ("stream", "memory")]
        + [_relative(row["fits"]["stream"].get("lp"), row["fits"]["memory"].get("lp"))]
        for row in rows
    ]
    head = ["N", "data, MB", "stream, MB", "memory, MB", "stream", "memory", "log posteriors differ by (relative)"]
    return ["", *table(head, body)]


def _relative(one: float | None, other: float | None) -> str:
    return "–" if one is None or other is None else f"{abs(one - other) / abs(other):.0e}"


def gradient(rows: list[dict]) -> list[str]:
    """One line a size."""
    peers = others(rows)
    head = ["N, D, K", US, *(part for p in peers for part in (p, "ratio")), "largest relative difference"]
    body = [
        [f"{r['n']:,}, {r['d']}, {r['k']}", duration(_seconds(r, US))]
        + [part for p in peers for part in (duration(_seconds(r, p)), ratio(r["contenders"].get(p)))]
        + [f"{r['differ_by']:.0e}"]
        for r in rows
    ]
    return ["", *table(head, body)]


def sampling(rows: list[dict]) -> list[str]:
    """Medians over seeds."""
    head = [
        "N, clusters",
        "sampler",
        "effective draws",
        "R-hat",
        "CPU seconds",
        "effective draws a CPU second",
        f"{US} is ahead by",
    ]
    body = []
    for row in rows:
        ours = row["contenders"].get(US, {}).get("ess_per_cpu_second")
        for name, one in row["contenders"].items():
            theirs = one["ess_per_cpu_second"]
            pairs = [] if not mixed(one) else [a / b for a, b in zip(ours or [], theirs, strict=False)] if name != US else []
            spread = (
                f"{number(np.median(ours) / np.median(theirs))} ({number(min(pairs))}–{number(max(pairs))})" if pairs else ""
            )
            middle = [number(float(np.median(one[key])), 3) for key in ("ess", "r_hat", "cpu_seconds", "ess_per_cpu_second")]
            body.append([f"{row['n']:,}, {row['k']}", name, *middle, spread])
    return ["", *table(head, body)]


def mixed(sampler: dict) -> bool:
    """Whether the chains of a sampler agreed, with most seeds."""
    return float(np.median(sampler["r_hat"])) < R_HAT


def scaling(rows: list[dict]) -> list[str]:
    """The fitted slopes; the points are in the picture."""
    body = [
        [row["axis"].upper(), name, f"{slope['whole']:.2f}", f"{slope['upper_half']:.2f}"]
        for row in rows
        if "slopes" in row
        for name, slope in row["slopes"].items()
    ]
    return ["", *table(["against", "contender", "slope over the whole axis", "over its upper half"], body)]


def compilation(rows: list[dict]) -> list[str]:
    """One line a fit."""
    head = ["engine", "fit", "N", "programs compiled", "seconds compiling", "seconds in all"]
    body = [
        [row["engine"], name, f"{one['n']:,}", str(one["programs"]), number(one["compile_seconds"]), number(one["seconds"])]
        for row in rows
        if "fits" in row
        for name, one in row["fits"].items()
    ]
    return ["", *table(head, body)]
