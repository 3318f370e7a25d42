"""Processes: a fork of a process that has computed says at once that it cannot, and other processes compute."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


def run(when: str) -> list[str]:
    finished = subprocess.run([sys.executable, "-c", FORKED, when], capture_output=True, text=True, timeout=200, check=True)
    return finished.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_fork_after_a_fit_says_in_one_sentence_how_to_start_processes():
    fitted, asked = run("after")
    assert fitted == asked
    assert "spawn" in fitted
    assert "threads" in fitted


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_fork_before_the_first_fit_computes():
    assert run("before")[0] in ("[-3.0, 3.0]", "[3.0, -3.0]")
