"""Progress: one line on stderr says what a long call does, how far it is, and the time left.

A public function opens the line with ``shown``. Whatever runs inside says what it does with ``stage``, ``advance`` and
``note``, which do nothing where no line is open. The line is the value of a context variable, so that calls in different
threads have one each. A thread draws it, after the first second: a compiled program gives no sign while it runs. That thread
also looks at the stack of the call to see whether JAX compiles at the moment.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

_PATIENCE = 1.0  # seconds before the line is first drawn
_INTERVAL = 0.5  # seconds between two drawings
_WIDTH = 80  # of a terminal that does not tell its own
_COMPILING = tuple(f"jax/_src/{name}.py" for name in ("compiler", "interpreters/mlir", "interpreters/partial_eval"))
_WITH_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}<{remaining}{postfix}]"
_WITHOUT_BAR = "{desc} [{elapsed}{postfix}]"


class _Bar(tqdm):
    monitor_interval = 0  # no thread of tqdm's own, which would outlive the call


@dataclass(eq=False)
class _Stage:
    name: str
    total: int | None
    unit: str
    note: str = ""
    done: int = 0
    began: float = field(default_factory=time.time)
    at_first: int | None = None  # done when the first step ended: the time before it went into compiling

    def advance(self, n: int) -> None:
        self.done += n
        if self.at_first is None:
            self.at_first, self.began = self.done, time.time()


class _Line:
    """The line of one call, and the thread that draws it."""

    def __init__(self, bar: _Bar):
        self.stages: list[_Stage] = []
        self._bar, self._call, self._ended = bar, threading.get_ident(), threading.Event()
        # in a copy of the context, by which a notebook knows the cell that the line belongs to
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._draw_until_ended,), name="bgmm-progress", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Wait for the thread and erase the line."""
        self._ended.set()
        self._thread.join()
        self._bar.total = None  # a bar that is not full would stay in a notebook
        self._bar.close()

    def _draw_until_ended(self) -> None:
        if self._ended.wait(_PATIENCE):
            return
        while True:
            if stages := list(self.stages):
                self._draw(stages)
            if self._ended.wait(_INTERVAL):
                return

    def _draw(self, stages: list[_Stage]) -> None:
        bar, now = self._bar, stages[-1]
        compiling = _compiles(self._call)
        text = ": ".join([stage.name for stage in stages] + ["compiling"] * compiling)
        begun = now.total is not None and now.at_first is not None
        bar.bar_format = _WITH_BAR if begun else _WITHOUT_BAR
        if not begun and (width := bar.format_dict["ncols"]):  # a longer line would wrap, and could not be erased
            text = text[: max(width - len(now.note) - 12, 0)]
        bar.set_description_str(text, refresh=False)
        bar.set_postfix_str(now.note, refresh=False)
        bar.unit = f" {now.unit}" if now.unit else ""
        if begun and bar.total != now.total:
            bar.reset(now.total)  # which tells the widget of a notebook how long the bar is
        if begun:  # a stage without a bar keeps the total: the bar after it is the same, and need not begin anew
            bar.n, bar.initial = now.done, now.at_first or 0
        bar.start_t = bar.last_print_t = now.began
        bar.refresh()  # the first time with a delay, by which tqdm displays the widget of a notebook
        bar.delay = 0  # else tqdm takes the line for one that was never drawn, and does not erase it


_line: ContextVar[_Line | None] = ContextVar("bgmm_progress", default=None)


@contextmanager
def shown(progress: bool | None = None) -> Iterator[None]:
    """Open a line for what runs inside, unless one is open.

    :param progress: True or False, or None for a line on terminals and in notebooks only.
    """
    if progress is not False and _line.get() is not None:
        yield
        return
    disable = None if progress is None else not progress  # None: tqdm looks for a terminal or a notebook
    bar = _Bar(disable=disable, leave=False, delay=_PATIENCE, dynamic_ncols=True)
    if not bar.disable and bar.ncols is not None and bar.ncols < 1:  # a terminal that does not tell its size
        bar.dynamic_ncols, bar.ncols, bar.nrows = None, _WIDTH, None
    line = None if bar.disable else _Line(bar)
    token = _line.set(line)
    try:
        yield
    finally:
        _line.reset(token)
        if line is not None:
            line.close()


@contextmanager
def stage(name: str, *, total: int | None = None, unit: str = "") -> Iterator[None]:
    """Say what runs inside; with a ``total`` number of ``unit``s, a bar shows how many of them ``advance`` was told of."""
    line = _line.get()
    if line is None:
        yield
        return
    now = _Stage(name, total, unit)
    line.stages.append(now)
    try:
        yield
    finally:
        line.stages.remove(now)


def is_shown() -> bool:
    """Whether a line is open: else nothing need be computed for it."""
    return _line.get() is not None


def advance(n: int = 1) -> None:
    """Count ``n`` more steps of the current stage as done."""
    line = _line.get()
    if line is not None and line.stages:
        line.stages[-1].advance(n)


def note(text: str) -> None:
    """Say what is known so far, beside the current stage."""
    line = _line.get()
    if line is not None and line.stages:
        line.stages[-1].note = text


def split_r_hat(values: Float[np.ndarray, "c s"]) -> float:
    """R-hat of half chains (Gelman et al. 2013, section 11.4), without ranks; NaN for fewer than four draws."""
    half = values.shape[1] // 2
    if half < 2:
        return float("nan")
    halves = np.concatenate([values[:, :half], values[:, -half:]])
    within, between = halves.var(1, ddof=1).mean(), halves.mean(1).var(ddof=1)  # W and B / n
    return float(np.sqrt((half - 1) / half + between / within)) if within > 0 else float("nan")


def _compiles(thread: int) -> bool:
    """Whether JAX traces, lowers or compiles in a thread: a program that runs has none of these files on the stack."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code.co_filename.replace("\\", "/").endswith(_COMPILING):
            return True
        frame = frame.f_back
    return False
