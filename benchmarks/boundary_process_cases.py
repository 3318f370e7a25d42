"""Writing and processes at the boundary: full disks, kills, writers at once, interrupts, threads and forks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.boundary_file_judge import Answer, Case, Expected, Right, Sentence
from benchmarks.boundary_tree_cases import save_tree, whole

_SECONDS = 300
_STAYS = Right("the old file stays")
_IN_ITS_PLACE = Right("loaded as it was saved")

_LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
"""
_SAVES = """
import bgmm
tree = bgmm.load({path!r})
{before}
bgmm.save(tree, {path!r})
"""
_KILLED = """
import os
os.fsync = lambda _: os.kill(os.getpid(), {signal})
"""
_FITS = """
import warnings
import numpy as np
import bgmm
from bgmm import models

warnings.simplefilter("ignore")
x = np.concatenate([np.linspace(-4, -2, 20), np.linspace(2, 4, 20)])

def fitted(seed, engine=bgmm.EM(n_starts=2)):
    return bgmm.fit(models.finite(2), x, engine, seed=seed)["posterior"]["means"].values
"""
_THREADS = (
    _FITS
    + """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    together = list(pool.map(fitted, range(8)))
print(all(np.array_equal(one, fitted(seed)) for seed, one in enumerate(together)))
"""
)
_FORK = (
    _FITS
    + """
import multiprocessing
def said(seed):
    try:
        return fitted(seed).shape
    except RuntimeError as error:
        return str(error)
fitted(0)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(said, [0]).get({seconds})[0])
""".replace("{seconds}", str(_SECONDS // 3))
)
_INTERRUPT = (
    _FITS
    + """
import signal, sys
from bgmm.engines import nuts
count = iter(range(100))
def interrupt(n):
    if next(count) == 5:
        signal.raise_signal(signal.SIGINT)
nuts.advance_bar = interrupt
try:
    means = fitted(0, bgmm.NUTS(n_draws=500, n_warmup=100, n_chains=2, n_starts=2, on_interrupt=sys.argv[1]))
    print(means.shape[1], "draws")
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""
)


def _elsewhere(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)


def _printed(code: str, *arguments: str) -> Callable[[Path], Answer]:
    """What a process prints; a sentence is an error, as if it was raised here."""

    def ask(_: Path) -> Answer:
        run = _elsewhere(code, *arguments)
        said = run.stdout.strip() or run.stderr.strip()
        if " " in said and not said.endswith("draws"):
            raise RuntimeError(said)
        return Answer(said)

    return ask


def _stays(before: str) -> Callable[[Path], Answer]:
    """Whether the old file stays as it was where saving fails; the sentence of the failure is raised."""

    def ask(path: Path) -> Answer:
        old = path.read_bytes()
        run = _elsewhere(_SAVES.format(path=str(path), before=before))
        if path.read_bytes() != old:
            return Answer("the old file is lost")
        errors = run.stderr.strip().splitlines()
        if errors and errors[-1].startswith("ValueError: "):
            if [other for other in path.parent.iterdir() if other != path]:
                return Answer("a part of the new file stays")
            raise ValueError(errors[-1].removeprefix("ValueError: "))
        return Answer("the old file stays" if run.returncode else "saved")

    return ask


def _at_once(path: Path) -> Answer:
    import bgmm

    tree = bgmm.load(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: (bgmm.save(tree, path), whole(path)), range(12)))
    return whole(path)


def _fit_into(output: str) -> Callable[[Path], Answer]:
    """What the command answers that fits a table into this file; more than a sentence on stderr is wrong."""

    def ask(path: Path) -> Answer:
        folder = path.parent
        (folder / "data.csv").write_text("x,y\n" + "".join(f"{i % 7}.5,{i % 11}.25\n" for i in range(40)))
        code = f"import os; os.chdir({str(folder)!r}); from bgmm.cli import main; main()"
        before = {one.name: one.read_bytes() for one in folder.iterdir()}
        run = _elsewhere(code, "fit", "data.csv", "-k", "2", "-o", output)
        if run.returncode != 2:
            return Answer(f"exit code {run.returncode}: {run.stderr}")
        if {one.name: one.read_bytes() for one in folder.iterdir()} != before:
            return Answer("it leaves other files")
        raise ValueError(run.stderr.strip().removeprefix("bgmm: "))

    return ask


def _case(name: str, shown: str, expected: Expected, ask: Callable[[Path], Answer]) -> Case:
    return Case(name, shown, save_tree, expected, ask)


def sections() -> dict[str, list[Case]]:
    """Cases of writing and of processes."""
    full = Sentence(("fit.nc", "cannot write", "make room"))
    writing = [
        _case("a full disk", "no byte left", full, _stays(_LIMITED.format(room=0))),
        _case("a disk that fills", "1000 bytes left", full, _stays(_LIMITED.format(room=1000))),
        _case("a disk that fills late", "20000 bytes left", full, _stays(_LIMITED.format(room=20_000))),
        _case("killed while saving", "SIGKILL", _STAYS, _stays(_KILLED.format(signal=9))),
        _case("interrupted while saving", "SIGINT", _STAYS, _stays(_KILLED.format(signal=2))),
        _case("four writers at once", "bgmm.save in threads", _IN_ITS_PLACE, _at_once),
        _case("a device", "-o /dev/full", Sentence(("/dev/full", "-o")), _fit_into("/dev/full")),
        _case("over its input", "-o data.csv", Sentence(("data.csv", "-o")), _fit_into("data.csv")),
        _case("no such folder", "-o no/a.nc", Sentence(("no/a.nc", "-o")), _fit_into("no/a.nc")),
    ]  # fmt: skip
    processes = [
        _case("fits in threads", "ThreadPoolExecutor(4)", Right("True"), _printed(_THREADS)),
        _case("a fork after a fit", 'get_context("fork")', Sentence(("spawn", "threads")), _printed(_FORK)),
        _case("interrupted while sampling", "Ctrl-C", Right("KeyboardInterrupt"), _printed(_INTERRUPT, "raise")),
        _case("the same, draws kept", 'on_interrupt="keep"', Right("150 draws"), _printed(_INTERRUPT, "keep")),
    ]
    return {"Writing": writing, "Processes": processes}
