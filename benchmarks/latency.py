"""How long a new user waits: the first fit of a Python process, ``import bgmm`` included.

``python -m benchmarks.latency`` fits iris (150 rows, 4 features, 3 components) by each engine with its default settings and
writes LATENCY.md. Each line is two processes: one finds the cache of compiled programs empty, the next finds what the first
left. "again" is a second fit in that process with another seed, "140 rows" then leaves ten rows out. Wall seconds on two cores;
"programs" are those that XLA compiled or loaded from the cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.tables import table

ENGINES = {
    "EM, maximum likelihood": "bgmm.EM(prior=False)",
    "EM": "bgmm.EM()",
    "Laplace": "bgmm.Laplace()",
    "VI": "bgmm.VI()",
    "NUTS": "bgmm.NUTS()",
    "Gibbs": "bgmm.Gibbs()",
    "none is named": "None",
}
_PROGRAM = """
import json, time, warnings
start = time.perf_counter()
warnings.simplefilter("ignore")
import bgmm, jax
from bgmm import models
from sklearn.datasets import load_iris
x = load_iris().data
programs = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: programs.append(event) if event == "/jax/core/compile/backend_compile_duration" else None)
told = []
for rows, seed in ((x, 0), (x, 1), (x[:140], 2)):
    programs.clear()
    bgmm.fit(models.finite(3), rows, {engine}, seed=seed)
    told.append((time.perf_counter() - start, len(programs)))
    start = time.perf_counter()
print(json.dumps(told))
"""
HEAD = ["engine", "empty cache, s", "programs", "kept cache, s", "again, s", "programs", "140 rows, s", "programs"]


def main() -> None:
    """Time every engine and write the table."""
    lines = []
    for name, engine in ENGINES.items():
        with tempfile.TemporaryDirectory() as folder:
            (empty, _, _), (kept, again, other) = (fits(engine, folder) for _ in range(2))
        seconds = [f"{wall:.2g}" for wall, _ in (empty, kept, again, other)]
        programs = [str(n) for _, n in (empty, again, other)]
        lines.append([name, seconds[0], programs[0], seconds[1], seconds[2], programs[1], seconds[3], programs[2]])
        print(lines[-1], flush=True)
    text = ["# The first fit", "", (__doc__ or "").split("\n\n")[1].strip(), "", *table(HEAD, lines)]
    (Path(__file__).parent / "LATENCY.md").write_text("\n".join(text) + "\n")


def fits(engine: str, folder: str) -> list[tuple[float, int]]:
    """Wall seconds and programs of three fits in a new process."""
    environment = os.environ | {"BGMM_CACHE_DIR": folder}
    command = [sys.executable, "-c", _PROGRAM.replace("{engine}", engine)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
