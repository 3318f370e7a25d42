"""Importing bgmm is quick and changes nothing for the program that imports it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CACHE = Path(__file__).parent.parent / ".cache" / "jax"  # that of conftest.py
HEAVY = {"jax", "jaxlib", "numpyro", "arviz", "xarray", "matplotlib", "pandas", "scipy", "numpy"}

LIGHT = """
import contextlib, io, json, sys
import bgmm, bgmm.cli
with contextlib.redirect_stdout(io.StringIO()):
    for arguments in (["--help"], ["fit", "--help"], ["--version"]):
        with contextlib.suppress(SystemExit):
            bgmm.cli.main(arguments)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""

# Third parties first: what they change as they are imported is theirs.
WHOLE = """
import json, logging, warnings
import arviz, jax, jaxtyping, matplotlib, matplotlib.pyplot, numpyro, numpyro.infer, pandas, scipy.stats, tqdm, xarray
import numpy as np

def state():
    return {
        "jax.config": dict(jax.config.values),
        "warnings.filters": list(warnings.filters),
        "logging handlers": list(logging.root.handlers),
        "logging level": logging.root.level,
        "rcParams and backend": matplotlib.rcParams.copy(),
        "arviz rcParams": dict(arviz.rcParams),
        "numpy errors": np.geterr(),
    }

before = state()
import bgmm
for name in bgmm.__all__:
    getattr(bgmm, name)
imported = state()

x = np.random.default_rng(1).normal([[-3.0], [3.0]], 1, (2, 20)).reshape(-1, 1).astype(np.float32)
tree = bgmm.fit(bgmm.models.finite(2), x, engine="em", seed=0)
answers = [bgmm.membership(tree), bgmm.log_density(tree), bgmm.sample(tree, 3), *tree["posterior"].data_vars.values()]
fitted = state()
print(json.dumps({
    "changed by import": [name for name in before if before[name] != imported[name]],
    "changed by fit": [name for name in before if before[name] != fitted[name]],
    "dtypes": sorted({str(a.dtype) for a in answers if a.dtype.kind == "f"}),
    "x64": jax.config.jax_enable_x64,
    "default": str(jax.numpy.zeros(1).dtype),
}))
"""

MISSING = """
import contextlib, io, json, sys
import bgmm.cli
said = []
for line in ("summary nope.nc", "summary .", "predict nope.nc nope.csv -o rows.csv", "fit nope.csv", "fit . -k 2"):
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()) as error:
        bgmm.cli.main(line.split())
    said.append(error.getvalue())
print(json.dumps([said, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def said_by(program: str, *arguments: str):
    """The last line that a fresh interpreter prints, which is JSON."""
    kept = "JAX_DISABLE_MOST_OPTIMIZATIONS"
    environment = {name: value for name, value in os.environ.items() if name == kept or not name.startswith("JAX_")}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(CACHE), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def whole():
    return said_by(WHOLE)


def test_the_front_door_and_the_help_of_the_command_import_nothing_heavy():
    assert HEAVY.isdisjoint(said_by(LIGHT))


def test_a_missing_file_is_named_before_anything_heavy_is_imported():
    said, imported = said_by(MISSING)
    assert all("does not exist" in line or "is a folder" in line for line in said)
    assert HEAVY.isdisjoint(imported)


def test_importing_every_public_name_changes_no_global_state(whole):
    assert whole["changed by import"] == []


def test_a_fit_computes_in_double_precision_and_leaves_jax_as_it_was(whole):
    assert whole["dtypes"] == ["float64"]
    assert whole["changed by fit"] == []
    assert not whole["x64"]
    assert whole["default"] == "float32"
