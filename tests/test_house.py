"""The order of the house: each folder and each file at the top of bgmm imports only what it may; the wheel holds the tree."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What each room may import from bgmm. A room is a folder of bgmm or a file at its top; __init__ is ``import bgmm`` itself.
# A room that is not listed here fails the test, so that a new one gets its place in the order.
MAY_IMPORT = {
    "core": {"core"},
    "program": {"core", "program"},
    "models": {"core", "program", "models"},
    "engines": {"core", "program", "engines"},
    "data": {"core", "data"},
    "tree": {"core", "tree"},
    "posterior": {"core", "data", "posterior", "tree"},
    "show": {"core", "posterior", "show", "tree"},
    "inputs": {"core", "data", "engines", "models", "program", "tree"},
    "prior": {"core", "models", "posterior", "program"},
    "assembly": {"core", "engines", "inputs", "posterior", "prior", "program", "tree"},
    "fitting": {"assembly", "core", "engines", "inputs", "posterior", "program", "tree"},
    "evidence": {"core", "engines", "fitting", "inputs", "models", "prior", "program"},
    "estimators": {"core", "data", "engines", "estimators", "fitting", "models", "posterior", "tree"},
    "external_draws": {"core", "data", "posterior", "tree"},
    "cli": {"__init__", "core", "data", "engines", "show", "tree"},
    "__main__": {"cli"},
    "__init__": {
        *("core", "data", "engines", "estimators", "evidence", "external_draws", "fitting"),
        *("models", "posterior", "prior", "program", "show", "tree"),
    },
}
# What a room may import from other packages, where that is limited.
THIRD_PARTY = {"models": {"__future__", "abc", "dataclasses", "jax", "jaxtyping", "numpyro", "typing"}}
WITHOUT = {"core": {"numpyro"}}  # the mathematics knows nothing of programs

MODULES = sorted(
    path
    for path in [*ROOT.glob("bgmm/**/*.py"), *ROOT.glob("models/**/*.py")]
    if not path.is_relative_to(ROOT / "bgmm" / "models")  # a link to models
)


def room_of(path: Path) -> str:
    """The room that a module belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "models" if parts[0] == "models" else parts[1]


def imported(path: Path) -> list[str]:
    """Full names of what a module imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by a relative name, which this test does not follow"
            names += [f"bgmm.{alias.name}" for alias in node.names] if node.module == "bgmm" else [str(node.module)]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_its_room_may(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"{path} is in no room that MAY_IMPORT lists; say there what it may import"
    for name in imported(path):
        package, *inner = name.split(".")
        if package == "bgmm":
            assert (inner or ["__init__"])[0] in MAY_IMPORT[room], f"{path} imports {name}"
        elif room in THIRD_PARTY:
            assert package in THIRD_PARTY[room], f"{path} imports {name}"
        assert package not in WITHOUT.get(room, set()), f"{path} imports {name}"


def test_nobody_imports_models_by_its_bare_name():
    for path in [*MODULES, *ROOT.glob("tests/**/*.py")]:
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
