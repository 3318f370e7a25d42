"""Pictures from results.json: time of an iteration against N, D and K, and memory against N, of streams too."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator

from benchmarks import store

COLOURS = {
    "bgmm": "#d1495b",
    "bgmm, E-step alone": "#edae49",
    "bgmm.fit, whole": "#8d2f3d",
    "scikit-learn": "#00798c",
    "scikit-learn Bayesian": "#66a182",
    "gmmx": "#2e4057",
    "pomegranate": "#8d96a3",
}
AXES = {"n": "rows N", "d": "features D", "k": "components K"}
EXPECTED = {"n": 1, "d": 2, "k": 1}


def write(folder: Path) -> None:
    """Write the pictures whose sections were measured."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    sections = store.load(folder)["sections"]
    for name, draw in (("scaling", _scaling), ("memory", _memory), ("streams", _streams)):
        for section in sections.get(name, {}).values():
            figure = draw(section["rows"])
            figure.savefig(folder / "pictures" / f"{name}.png", dpi=110, metadata={"Software": None})
            plt.close(figure)


def _scaling(rows: list[dict]):
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True, layout="constrained")
    for panel, (axis, label) in zip(panels, AXES.items(), strict=True):
        points = [row for row in rows if row["axis"] == axis and "contenders" in row]
        if not points:
            continue
        for name in points[0]["contenders"]:
            missing = {"low": math.nan, "median": math.nan, "high": math.nan}  # the line breaks there
            times = [row["contenders"].get(name, {}).get("seconds") or missing for row in points]
            x = [row[axis] for row in points]
            panel.fill_between(x, [t["low"] for t in times], [t["high"] for t in times], color=COLOURS[name], alpha=0.25, lw=0)
            panel.plot(x, [t["median"] for t in times], "o-", ms=4, color=COLOURS[name], label=name)
        _guide(panel, [row[axis] for row in points], points[-1]["contenders"]["bgmm"]["seconds"]["median"], EXPECTED[axis])
        fixed = ", ".join(f"{key.upper()} = {points[0][key]:,}" for key in AXES if key != axis)
        panel.set(xscale="log", yscale="log", xlabel=label, title=fixed)
        _ticks(panel, [row[axis] for row in points])
    panels[0].set_ylabel("seconds an EM iteration, one thread")
    _legend(figure, panels)
    return figure


def _guide(panel, x: list[float], end: float, power: int) -> None:
    """A dashed line of the expected slope under the last point of ours."""
    y = [0.4 * end * (value / x[-1]) ** power for value in x]
    panel.plot(x, y, "--", color="0.6", lw=1, label="slope 1 (2 for D)")


def _memory(rows: list[dict]):
    widths = sorted({row["bits"] for row in rows}, reverse=True)
    figure, panels = plt.subplots(1, len(widths), figsize=(11, 4), sharey=True, layout="constrained", squeeze=False)
    panels = panels[0]
    for panel, bits in zip(panels, widths, strict=True):
        points = [row for row in rows if row["bits"] == bits]
        for name, colour in COLOURS.items():
            known = [(row["n"], row["extra_mb"][name]) for row in points if name in row["extra_mb"]]
            if known:
                panel.plot(*zip(*known, strict=True), "o-", ms=4, color=colour, label=name)
        panel.plot([r["n"] for r in points], [r["data_mb"] for r in points], ":", color="0.5", label="the data themselves")
        panel.axhline(100, color="0.7", lw=1, ls="--")
        panel.set(xscale="log", yscale="log", xlabel="rows N", title=f"float{bits}, D = 8, K = 16")
        _ticks(panel, [row["n"] for row in points])
    panels[0].set_ylabel("peak memory above the data, MB (target: dashed)")
    _legend(figure, panels)
    return figure


def _streams(rows: list[dict]):
    figure, panel = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for kind, colour in (("stream", COLOURS["bgmm"]), ("memory", COLOURS["scikit-learn"])):
        known = [(row["n"], row["fits"][kind]["extra_mb"]) for row in rows if "extra_mb" in row["fits"][kind]]
        panel.plot(
            *zip(*known, strict=True),
            "o-",
            ms=4,
            color=colour,
            label=f"rows from a {kind}" if kind == "stream" else "rows in memory",
        )
    panel.plot([r["n"] for r in rows], [r["data_mb"] for r in rows], ":", color="0.5", label="the data themselves")
    panel.set(xscale="log", yscale="log", xlabel="rows N", ylabel="peak memory of a MAP fit, MB", title="D = 4, K = 5")
    _ticks(panel, [row["n"] for row in rows])
    panel.legend(frameon=False)
    return figure


def _legend(figure, panels) -> None:
    """One legend for all panels, beside them."""
    lines = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines, loc="outside right upper", frameon=False, fontsize=9)


def _ticks(panel, x: list[int]) -> None:
    """The measured values as ticks, thousands as k."""
    panel.set_xticks(x, [f"{v // 1_000_000}M" if v >= 1_000_000 else f"{v / 1000:g}k" if v >= 1000 else str(v) for v in x])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(alpha=0.25, lw=0.5)
