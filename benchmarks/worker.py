"""One case in a process of its own, held to as many cores as it may have threads; started by ``benchmarks.run``.

``python -m benchmarks.worker CASE FOLDER --threads 1`` measures a case and saves each row as it is known.
``python -m benchmarks.worker --call MODULE FUNCTION '{"argument": 1}'`` calls one function and prints what it returned, for
cases that need a fresh process for each number.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks.cases import CASES

_MARK = "benchmark-answer:"


def fresh(module: str, function: str, timeout: float | None = None, **arguments) -> dict:
    """What ``function(**arguments)`` of a module of benchmarks returns in a new process; ``missing`` says why it did not."""
    command = [sys.executable, "-m", "benchmarks.worker", "--call", module, function, json.dumps(arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"missing": f"not done after {timeout:.0f} s"}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    said = done.stderr.strip().splitlines()
    return {"missing": said[-1][:160] if said else f"the process ended with {done.returncode}"}


def measured(case: str, folder: Path, *, quick: bool, threads: int) -> None:
    """Run a case and save each row as it comes."""
    from benchmarks import machine, store

    about = {"machine": machine.description(), "measured": date.today().isoformat(), "quick": quick}
    rows = []
    started, busy, own = time.perf_counter(), machine.busy_seconds(), machine.own_seconds()
    for row in importlib.import_module(f"benchmarks.{CASES[case].module}").measure(quick):
        rows.append(row)
        others = machine.busy_seconds() - busy - (machine.own_seconds() - own)
        about["others_share"] = max(0.0, others / (time.perf_counter() - started) / (os.cpu_count() or 1))
        store.save(folder, case, threads, about | {"rows": rows, "complete": False})
        print(f"  {case}, {threads} threads: {_brief(row)}", flush=True)
    store.save(folder, case, threads, about | {"rows": rows, "complete": True})


def _brief(row: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items() if isinstance(value, int | str))


def main() -> None:
    """The command line of a worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case")
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--call", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.call:
        function, arguments = given.rest
        answer = getattr(importlib.import_module(f"benchmarks.{given.case}"), function)(**json.loads(arguments))
        print(_MARK + json.dumps(answer))
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    measured(given.case, Path(given.rest[0]), quick=given.quick, threads=given.threads)


if __name__ == "__main__":
    main()
