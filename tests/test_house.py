"""The house in order: imports point one way, and the wheel holds what the tree holds."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "models": {"core", "models"},
    "core": {"core"},
    "engines": {"core", "engines"},
    "data": {"data"},
    "tree": {"core"},
    "posterior": {"core", "data", "posterior", "tree"},
    "show": {"posterior", "show", "tree"},
}
BORROWED = {"models": {"__future__", "dataclasses", "jax", "jaxtyping", "numpyro"}}


def room(path: Path) -> str:
    """The folder or file of the house that a module belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "models" if parts[0] == "models" else parts[1]


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"bgmm.{alias.name}" for alias in node.names] if node.module == "bgmm" else [node.module]
    return names


MODULES = [
    path
    for path in sorted([*ROOT.glob("models/*.py"), *ROOT.glob("bgmm/*/*.py"), ROOT / "bgmm" / "tree.py"])
    if not path.is_relative_to(ROOT / "bgmm" / "models")
]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    for name in imported(path):
        if name.startswith("bgmm."):
            assert name.split(".")[1] in ALLOWED[room(path)], f"{path} imports {name}"
        elif room(path) in BORROWED:
            assert name.split(".")[0] in BORROWED[room(path)], f"{path} imports {name}"


def test_nobody_imports_models_by_its_bare_name():
    for path in [*ROOT.glob("bgmm/**/*.py"), *ROOT.glob("models/*.py"), *ROOT.glob("tests/**/*.py")]:
        assert not any(name == "models" or name.startswith("models.") for name in imported(path)), path


def test_the_wheel_holds_the_tree(tmp_path):
    tracked = subprocess.run(["git", "ls-files", "bgmm", "models"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {f for f in tracked.stdout.split() if f != "bgmm/models"}
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"bgmm/{f}" if f.startswith("models/") else f for f in files}
    assert held == expected
