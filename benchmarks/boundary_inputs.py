"""A boundary case, inputs that many cases share, and the checks of their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.boundary_judge import Expected, Found

N = 60
_RNG = np.random.default_rng(38)
Z = np.repeat([0, 1], N // 2)
BLOBS = _RNG.normal(size=(N, 2)) + np.where(Z[:, None] == 0, -5.0, 5.0)  # two groups, 14 standard deviations apart
CLOUD = _RNG.normal(size=(N, 2))


class Case(NamedTuple):
    """One input. ``new`` are rows to predict; a case with ``options`` of ``bgmm.fit`` is put to bgmm alone."""

    name: str
    x: Any  # or a function that makes it
    expected: Expected
    k: int = 2
    new: Any = None
    options: dict[str, Any] = {}  # noqa: RUF012


FINITE = Expected("a finite answer", lambda _: None)
FLOAT_MAX = float(np.finfo(np.float32).max)
DOUBLE_MAX = float(np.finfo(float).max)


def placed(offset=0.0, scale=1.0) -> np.ndarray:
    """The two groups in other units."""
    return np.asarray(offset) + np.asarray(scale) * BLOBS


def groups(offset=0.0, scale=1.0, rows=slice(None), says: str = "the two groups", warned: tuple[str, ...] = ()) -> Expected:
    """The two groups in these units: memberships of the ``rows`` that are theirs, means within half a standard deviation."""
    return Expected(says, lambda found: two_groups(found, offset, scale, rows), warned=warned)


def two_groups(found: Found, offset=0.0, scale=1.0, rows=slice(None)) -> str | None:
    """What is wrong with an answer about the two groups."""
    offset, scale = np.broadcast_to(offset, 2), np.broadcast_to(scale, 2)
    membership = found.membership[rows]
    if len(membership) != N:
        return f"{len(membership)} memberships of {N} rows"
    own = [int(membership[z == Z].sum(0).argmax()) for z in (0, 1)]
    if own[0] == own[1]:
        return "both groups in one component"
    sure = np.concatenate([membership[z == Z][:, own[z]] for z in (0, 1)])
    if sure.min() < 0.95:
        return f"a row belongs to its group with probability {sure.min():.2g}"
    for z in (0, 1):
        truth = BLOBS[z == Z]
        if (np.abs((found.means[own[z]] - offset) / scale - truth.mean(0)) > 0.5).any():
            return "the mean of a group is off"
        ratio = found.scales[own[z]] / np.abs(scale) / truth.std(0)
        if (ratio < 0.6).any() or (ratio > 1.7).any():
            return f"a standard deviation is {ratio[np.abs(np.log(ratio)).argmax()]:.2g} times that of its group"
    return None


def moments(x, says: str = "the mean and the spread of the data", warned: tuple[str, ...] = ()) -> Expected:
    """An answer whose mixture has mean and standard deviation of the data, columns without spread set aside."""
    x = np.asarray(x, float)
    x = x[:, None] if x.ndim == 1 else x
    x = x[~np.isnan(x).all(1)]

    def check(found: Found) -> str | None:
        mean = np.nanmean(x, axis=0)
        unit = np.nanmax(np.abs(x - mean), axis=0)
        sd = unit * np.nanstd((x - mean) / np.where(unit > 0, unit, 1.0), axis=0)
        varies = sd > 1e-12 * np.abs(mean)
        if (np.abs(found.mean - mean)[varies] > 0.3 * sd[varies]).any():
            return "the mean is off"
        ratio = found.sd[varies] / sd[varies]
        if (ratio < 0.6).any() or (ratio > 1.6).any():
            return f"a standard deviation is {ratio[np.abs(np.log(ratio)).argmax()]:.2g} times that of the data"
        steady = np.abs(found.mean - mean)[~varies]
        return "the mean of a constant column is off" if (steady > 1e-6 * np.maximum(np.abs(mean[~varies]), 1)).any() else None

    return Expected(says, check, warned=warned)


def refused(*words: str, says: str | None = None) -> Expected:
    """One sentence with these words."""
    return Expected(says or "one sentence" + (f" with {', '.join(repr(word) for word in words)}" if words else ""), None, words)


def either(expected: Expected, *words: str) -> Expected:
    """The answer, or one sentence with these words."""
    return expected._replace(says=f"{expected.says}, or one sentence", refusal=words)


def beside(*rows, says: str, warned: tuple[str, ...] = ()) -> tuple[np.ndarray, Expected]:
    """The two groups and further rows, in three components: the groups are found."""
    x = np.concatenate([BLOBS, np.array(rows, float).reshape(-1, 2)])
    return x, groups(rows=slice(0, N), says=says, warned=warned)


def missing(pattern: Callable[[np.ndarray], None]) -> np.ndarray:
    """The two groups with some values missing."""
    x = BLOBS.copy()
    pattern(x)
    return x
