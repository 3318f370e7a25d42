"""Measure bgmm beside its peers: results.json, RESULTS.md and pictures.

``python -m benchmarks.run`` measures everything, ``--only iteration gradient`` some cases, ``--quick`` small sizes for a look
at whether it works, ``--report`` nothing at all and writes the tables and pictures anew. Each case runs in a process of its
own, and a case measured before keeps its numbers until it is measured again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.cases import CASES

HERE = Path(__file__).parent


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=[], metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--threads", nargs="*", type=int, default=[], help="1, 2: only with so many threads")
    parser.add_argument("--quick", action="store_true", help="small sizes; writes to build/benchmarks")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    given = parser.parse_args()
    folder = HERE.parent / "build" / "benchmarks" if given.quick else HERE
    failed = [] if given.report else _measure(given.only, given.threads, given.quick, folder)
    if given.report:
        _write(folder)
    print(f"wrote {(folder / 'RESULTS.md').relative_to(HERE.parent)}")
    if failed:
        raise SystemExit(f"not complete: {', '.join(failed)}")


def _measure(only: list[str], threads: list[int], quick: bool, folder: Path) -> list[str]:
    """The cases that did not come to their end."""
    failed = []
    for name, case in CASES.items():
        if name not in only if only else not case.unasked:
            continue
        for t in case.threads:
            if (threads and t not in threads) or t > len(os.sched_getaffinity(0)):
                continue
            command = [sys.executable, "-m", "benchmarks.worker", name, str(folder), "--threads", str(t)]
            start = time.perf_counter()
            done = subprocess.run(command + ["--quick"] * quick, env=machine.environment(t), cwd=HERE.parent, check=False)
            print(f"{name} with {t} thread{'s' * (t > 1)}: {time.perf_counter() - start:.0f} s", flush=True)
            _write(folder)
            if done.returncode:
                failed.append(f"{name} with {t} threads")
    return failed


def _write(folder: Path) -> None:
    """Tables and pictures of all that is known."""
    from benchmarks import pictures, report

    pictures.write(folder)
    report.write(folder)


if __name__ == "__main__":
    main()
