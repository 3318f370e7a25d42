"""Compiled programs are kept where the user says, and JAX's own settings are left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import jax
import bgmm
from bgmm import models
if len(sys.argv) > 1:
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs",
         "jax_persistent_cache_min_entry_size_bytes", "jax_enable_x64")
before = [getattr(jax.config, name) for name in names]
bgmm.fit(models.finite(1), [[0.0], [1.0], [2.5]], bgmm.EM(n_starts=1), seed=0)
assert [getattr(jax.config, name) for name in names] == before
count = len(list(__import__("pathlib").Path(PLACE).rglob("*-cache")))
jax.jit(lambda x: x * 3 + 1)(2.0)  # no program of ours: not kept
assert len(list(__import__("pathlib").Path(PLACE).rglob("*-cache"))) == count
print(count)
"""


def kept(place, variable, *arguments, **settings):
    """How many programs a process leaves in ``place``; ``variable`` is BGMM_CACHE_DIR, None to leave it unset."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "BGMM_"))} | settings
    program = PROGRAM.replace("PLACE", repr(str(place)))
    command = [sys.executable, "-c", program, *arguments]
    environment |= {} if variable is None else {"BGMM_CACHE_DIR": variable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_programs_are_kept_once_and_settings_are_left_alone(tmp_path):
    first = kept(tmp_path, str(tmp_path))
    assert first > 10
    assert kept(tmp_path, str(tmp_path)) == first
    assert tmp_path.stat().st_mode & 0o022 == 0
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_the_cache_can_be_off_and_gives_way_to_the_users_own(tmp_path, own):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    assert kept(ours, str(ours) if own else "", *([str(theirs)] if own else [])) == 0
    assert theirs.exists() == own


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="XDG_CACHE_HOME is of Linux")
@pytest.mark.slow
@pytest.mark.parametrize("writable", [True, False])
def test_programs_are_kept_in_the_users_cache_where_it_can_be_written(writable, tmp_path):
    cache = tmp_path / "cache"
    if not writable:
        cache.write_text("not a folder")
    assert (kept(cache / "bgmm", None, XDG_CACHE_HOME=str(cache)) > 10) == writable


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    place = tmp_path / "file"
    place.write_text("no folder")
    assert kept(tmp_path, str(place)) == 0
