"""The line of progress: on terminals only, silent on request, one for each thread, and gone afterwards."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.core import progress


class Screen(io.StringIO):
    """What a terminal is sent."""

    def __init__(self, *, terminal: bool):
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def lines(self) -> list[str]:
        return [line.strip() for line in self.getvalue().split("\r") if line.strip()]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.001)
    monkeypatch.setattr(progress, "_INTERVAL", 0.005)


@contextlib.contextmanager
def screen(*, terminal: bool = True):
    with contextlib.redirect_stderr(Screen(terminal=terminal)) as shown:
        yield shown
    assert not [thread for thread in threading.enumerate() if thread.name == "bgmm-progress"]


def wait_for(shown: Screen, text: str) -> None:
    until = time.time() + 20
    while text not in shown.getvalue():
        assert time.time() < until, f"{text!r} does not appear in {shown.lines()}"
        time.sleep(0.002)


def fit(engine, x, **options):
    return bgmm.fit(models.finite(2), x, engine=engine, seed=0, **options)


@pytest.fixture
def x(rng):
    return rng.normal([[-3.0], [3.0]], 1, (2, 30)).reshape(-1, 1)  # as many places as in the tests of chains and threads


FEW = [bgmm.EM(), bgmm.NUTS(n_draws=60, n_warmup=50, n_chains=2), bgmm.Gibbs(n_draws=60, n_warmup=60, n_chains=2)]
SAYS = {
    "EM": ["looking for modes from 10 starts"],
    "NUTS": ["looking for modes from 16 starts", "2 chains"],
}
SAYS |= {"Gibbs": ["first states of the chains", "2 chains"]}
SAYS |= {"Laplace": ["looking for modes", "normal distributions at the modes", "adapting the proposal, and weighted draws"]}


@pytest.mark.parametrize(
    "engine",
    [FEW[0], *(pytest.param(engine, marks=pytest.mark.slow) for engine in FEW[1:]), bgmm.Laplace(n_draws=500)],
    ids=lambda engine: type(engine).__name__,
)
def test_a_terminal_is_told_what_each_engine_does_and_the_line_is_erased(engine, x, monkeypatch):
    monkeypatch.setattr(progress, "_INTERVAL", 0.0005)
    with screen() as shown:
        fit(engine, x)
    name = type(engine).__name__
    for stage in SAYS[name]:
        assert any(line.startswith(f"{name}: {stage}") for line in shown.lines()), stage
    assert shown.getvalue().endswith("\r")
    assert not shown.getvalue().split("\r")[-2].strip()
    assert "\n" not in shown.getvalue()


def test_pipes_and_progress_false_are_silent_and_progress_true_is_not(x):
    for terminal, options in ((False, {}), (False, {"progress": None}), (True, {"progress": False})):
        with screen(terminal=terminal) as shown:
            fit("em", x, **options)
            bgmm.log_evidence(models.finite(1), x, settings=bgmm.Laplace(n_draws=500), **options)
        assert shown.getvalue() == ""
    with screen(terminal=False) as shown:
        fit("em", x, progress=True)
    assert shown.lines()
    with pytest.raises(ValueError, match="progress must be True or False, not 'bar'"):
        fit("em", x, progress="bar")


def test_a_bar_goes_on_after_a_stage_without_one():
    with screen() as shown, progress.shown(), progress.stage("chains", total=10, unit="draws"):
        progress.advance(2)
        progress.advance(3)
        wait_for(shown, "50%")
        with progress.stage("look"):
            wait_for(shown, "chains: look")
        n_before = len(shown.lines())
        progress.advance(1)
        wait_for(shown, "60%")
    assert not [line for line in shown.lines()[n_before:] if " 0%" in line]


def test_what_takes_less_than_a_second_shows_nothing(monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 30.0)
    with screen() as shown, progress.shown(), progress.stage("quick"):
        pass
    assert shown.getvalue() == ""


def test_the_first_drawing_is_a_delayed_one_which_displays_the_widget_of_a_notebook(monkeypatch):
    delays = []

    class Bar(progress._Bar):
        def refresh(self, *args, **kwargs):
            delays.append(self.delay)
            return super().refresh(*args, **kwargs)

    monkeypatch.setattr(progress, "_Bar", Bar)
    with screen() as shown, progress.shown(), progress.stage("slow"):
        wait_for(shown, "slow [")
        time.sleep(0.05)
    assert delays[0] > 0
    assert set(delays[1:]) == {0}


SLOW = """
import time
from bgmm.core import progress
with progress.shown(), progress.stage("slow"):
    time.sleep(1.5)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("columns", [0, 40])
def test_a_real_terminal_is_shown_the_line_whether_or_not_it_tells_its_size(columns):
    import fcntl
    import pty
    import struct
    import termios

    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    subprocess.run([sys.executable, "-c", SLOW], stderr=end, check=True)
    shown = os.read(terminal, 10_000).decode()
    os.close(end)
    os.close(terminal)
    assert "slow [" in shown


def test_log_evidence_says_which_number_of_components_it_is_at(x):
    with screen() as shown:
        bgmm.log_evidence(models.finite(2), x, settings=bgmm.Laplace(n_draws=500))
    assert any(line.startswith("evidence of K = 2 (K+ = 1 leads): ") for line in shown.lines())


def test_a_bar_begins_with_its_first_step_and_shows_what_is_known():
    with screen() as shown, progress.shown(), progress.stage("chains", total=8, unit="draws"):
        wait_for(shown, "chains [")
        assert "0/8" not in shown.getvalue()
        progress.advance(2)
        progress.note("R-hat 1.01")
        wait_for(shown, "25%")
        with progress.stage("inner"):
            wait_for(shown, "chains: inner [")
    assert any("2/8 draws" in line and "R-hat 1.01" in line for line in shown.lines())


def test_the_time_left_does_not_count_the_time_before_the_first_step(monkeypatch):
    now = progress._Stage("chains", 10, "draws")
    now.began -= 1000.0
    now.advance(1)
    assert time.time() - now.began < 10.0
    assert now.at_first == 1


def test_compiling_is_said_while_jax_compiles_and_not_while_the_program_runs():
    compiled_now = np.random.default_rng().uniform()  # a constant that no cache knows

    @jax.jit
    def slow(x):
        for i in range(300):
            x = jnp.sin(x + compiled_now + i)
        return x

    with screen() as shown, progress.shown(), progress.stage("slow"):
        slow(jnp.ones(())).block_until_ready()
        wait_for(shown, "slow: compiling [")
        wait_for(shown, "slow [")


def test_threads_do_not_mix():
    both = threading.Barrier(2)

    def work(name: str) -> None:
        with progress.shown(), progress.stage(name):
            both.wait()
            progress.note(f"of {name}")
            time.sleep(0.1)
            both.wait()

    with screen() as shown:
        threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = shown.lines()
    assert any("one [" in line for line in lines)
    assert any("two [" in line for line in lines)
    assert not any("one" in line and "two" in line for line in lines)


def test_a_thread_without_a_line_of_its_own_says_nothing_on_that_of_another():
    with screen() as shown, progress.shown(), progress.stage("mine"):
        thread = threading.Thread(target=lambda: progress.note("not mine"))
        thread.start()
        thread.join()
        wait_for(shown, "mine [")
        time.sleep(0.03)
        assert "not mine" not in shown.getvalue()


def test_a_call_inside_another_uses_its_line_or_is_silent():
    with screen() as shown, progress.shown(), progress.stage("outer"):
        with progress.shown(), progress.stage("inner"):
            wait_for(shown, "outer: inner")
        with progress.shown(False), progress.stage("secret"):
            time.sleep(0.03)
        assert "secret" not in shown.getvalue()


def test_the_line_is_gone_after_an_error():
    def fail(shown: Screen) -> None:
        with progress.shown(), progress.stage("failing"):
            wait_for(shown, "failing")
            raise ValueError("wrong")

    with screen() as shown:
        with pytest.raises(ValueError, match="wrong"):
            fail(shown)
        assert not progress.is_shown()
        assert not shown.getvalue().split("\r")[-2].strip()


def test_split_r_hat_is_arvizs_without_ranks(rng):
    from arviz import rhat

    values = rng.normal(size=(4, 100)).cumsum(1)
    assert progress.split_r_hat(values) == pytest.approx(float(rhat(values, method="split")), rel=1e-6)
    assert np.isnan(progress.split_r_hat(values[:, :3]))
