"""scikit-learn's own tests of its mixtures, with bgmm's classes in their place."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_scikit_learns_own_tests_pass():
    """In a process of its own, because the classes of scikit-learn are replaced in it."""
    command = [sys.executable, "-m", "benchmarks.sklearn_tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"^(\d+) passed", done.stdout, re.M)[1]) >= 60
