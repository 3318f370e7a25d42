"""Processes: a fork of a process that has computed says at once that it cannot, and other processes compute."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.marks import also_slow

FORKED = """
import multiprocessing, sys, warnings
import numpy as np
import bgmm
from bgmm import models

warnings.simplefilter("ignore")  # JAX and Python warn of the fork itself
x = np.concatenate([np.linspace(-4, -2, 20), np.linspace(2, 4, 20)])

def fit(seed):
    try:
        tree = bgmm.fit(models.finite(2), x, engine=bgmm.EM(n_starts=2, prior=False), seed=seed)
        return tree["posterior"]["means"].values.round(3).ravel().tolist()
    except RuntimeError as error:
        return str(error)

def ask(_):
    try:
        return bgmm.membership(tree, x).shape
    except RuntimeError as error:
        return str(error)

if sys.argv[1] == "after":
    tree = bgmm.fit(models.finite(2), x, engine=bgmm.EM(n_starts=2))
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(fit, [0]).get(100)[0])
    print(pool.map_async(ask, [0]).get(100)[0] if sys.argv[1] == "after" else "")
"""
UNKNOWN = """
import multiprocessing, sys, warnings
import jax, jax.numpy as jnp

warnings.simplefilter("ignore")
if sys.argv[1] == "imported":
    import bgmm

def fit(_):
    import bgmm
    import bgmm.core.precision
    bgmm.core.precision._PATIENCE = 3.0  # here it waits in any case
    try:
        return bgmm.fit(bgmm.models.finite(1), [[1.0], [2.0], [4.0]], "em", progress=False)["posterior"]["means"].item()
    except RuntimeError as error:
        return str(error)

jnp.ones(3).sum().block_until_ready()
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(fit, [0]).get(100)[0])
"""
FIRST_IN_CHILD = """
import os, signal, sys, warnings

warnings.simplefilter("ignore")
if sys.argv[1] in ("computed", "lazy"):
    if sys.argv[1] == "lazy":
        import bgmm  # which imports nothing before it is used
    import jax.numpy as jnp
    jnp.ones(3).sum().block_until_ready()
assert "bgmm.core" not in sys.modules
child = os.fork()
if child == 0:
    signal.alarm(100)
    try:
        import bgmm
        import bgmm.core.precision
        if sys.argv[1] != "unknown":
            bgmm.core.precision._PATIENCE = 3.0  # here it waits in any case
        fit = bgmm.fit(bgmm.models.finite(1), [[1.0], [2.0], [6.0]], bgmm.EM(n_starts=1, prior=False), progress=False)
        print(round(fit["posterior"]["means"].item(), 6), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    finally:
        os._exit(0)
os.waitpid(child, 0)
"""


def run(when: str, program: str = FORKED) -> list[str]:
    finished = subprocess.run([sys.executable, "-c", program, when], capture_output=True, text=True, timeout=200, check=True)
    return finished.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_fork_after_a_fit_says_in_one_sentence_how_to_start_processes():
    fitted, asked = run("after")
    assert fitted == asked
    assert "spawn" in fitted
    assert "threads" in fitted


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.slow
@pytest.mark.parametrize("bgmm_is", ["imported", "unknown"])
def test_a_fork_after_jax_computed_without_bgmm_says_it_too(bgmm_is):
    (fitted,) = run(bgmm_is, UNKNOWN)
    assert "forked after JAX had computed in its parent" in fitted
    assert "spawn" in fitted


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_fork_before_the_first_fit_computes():
    assert run("before")[0] in ("[-3.0, 3.0]", "[3.0, -3.0]")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize(
    ("parent", "says"),
    also_slow([("unknown", "3.0"), ("computed", "spawn"), ("lazy", "spawn")], [("unknown", "3.0")]),
)
def test_a_fork_that_imports_bgmm_first_computes_or_says_it_cannot(parent, says):
    (said,) = run(parent, FIRST_IN_CHILD)
    assert says in said
