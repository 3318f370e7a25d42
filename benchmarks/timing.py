"""Times of several contenders, interleaved: A B C A B C ..., and the ratios of neighbours."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

import numpy as np

PAUSE = 0.05  # seconds between two measurements, in which the threads of the last one stop spinning
_LONG = 2.0  # seconds of a measurement, on average, beyond which three repeats must do


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def enough_iterations(iterate: Callable[[int], object], at_least: float) -> int:
    """n such that n iterations take about ``at_least`` seconds more than one; compiles what that needs."""
    for n in (1, 3):
        iterate(n)
    one = (seconds(lambda: iterate(3)) - seconds(lambda: iterate(1))) / 2
    n = 1 + int(np.clip(np.ceil(at_least / max(one, 1e-6)), 1, 1000))
    iterate(n)
    return n


def iteration_times(iterates: dict[str, Callable[[int], object]], at_least: float, repeats: int) -> dict[str, list[float]]:
    """Seconds of one iteration: runs of n iterations less the median run of a single one, so that set-up cancels.

    What is lost in the noise, a difference that is not positive, is no number.
    """
    n = {name: enough_iterations(iterate, at_least) for name, iterate in iterates.items()}
    runs = {(name, i): lambda f=f, i=i: seconds(lambda: f(i)) for name, f in iterates.items() for i in (1, n[name])}
    times = interleaved(runs, repeats)
    differences = {name: np.array(times[name, n[name]]) - np.median(times[name, 1]) for name in iterates}
    return {name: list(np.where(d > 0, d, np.nan) / (n[name] - 1)) for name, d in differences.items()}


def interleaved[Name: Hashable](measures: dict[Name, Callable[[], float]], repeats: int) -> dict[Name, list[float]]:
    """``repeats`` values of every measure, one of each in turn; three at most when a turn is long."""
    values: dict[Name, list[float]] = {name: [] for name in measures}
    for turn in range(repeats):
        start = time.perf_counter()
        for name, measure in measures.items():
            time.sleep(PAUSE)
            values[name].append(measure())
        if turn >= 2 and time.perf_counter() - start > _LONG * len(measures):
            break
    return values


def quartiles(values) -> dict[str, float]:
    """Lower quartile, median and upper quartile."""
    low, middle, high = np.nanquantile(np.asarray(values, float), [0.25, 0.5, 0.75])
    return {"low": float(low), "median": float(middle), "high": float(high)}


def summary(values: dict[str, list[float]], us: str) -> dict[str, dict]:
    """Of each contender: quartiles of its time, ratio of its median to ours, quartiles of the ratios of neighbours."""
    ours = np.asarray(values[us])
    told = {}
    for name, theirs in values.items():
        pairs = quartiles(np.asarray(theirs) / ours)
        told[name] = {
            "seconds": quartiles(theirs),
            "ratio": {
                "of_medians": float(np.nanmedian(theirs) / np.nanmedian(ours)),
                "low": pairs["low"],
                "high": pairs["high"],
            },
            "repeats": len(theirs),
        }
    return told
