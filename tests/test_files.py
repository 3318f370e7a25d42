"""Saved trees: written whole or not at all; a damaged or hostile file is one sentence and runs nothing."""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bgmm
from bgmm.data.table import read_table


@pytest.fixture(scope="module")
def tree():
    rng = np.random.default_rng(8)
    means = rng.normal(size=(1, 20, 2, 2))
    return bgmm.from_draws(
        np.full((1, 20, 2), 0.5), means, np.broadcast_to(np.eye(2), (1, 20, 2, 2, 2)), rng.normal(size=(30, 2))
    )


@pytest.fixture
def saved(tree, tmp_path):
    path = tmp_path / "fit.nc"
    bgmm.save(tree, path)
    return path


def refusal(function, path: Path) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(ValueError, match=path.name) as caught:
        function(path)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    return str(caught.value)


def elsewhere(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A process that runs the code."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)


# Damaged and hostile files


def test_every_changed_byte_of_a_saved_tree_is_noticed(saved, rng):
    whole = saved.read_bytes()
    for place in rng.integers(0, len(whole), 40):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        saved.write_bytes(changed)
        if place < len(whole) - 44:
            assert "damaged" in refusal(bgmm.load, saved)
    saved.write_bytes(whole)
    bgmm.load(saved)


def test_a_cut_off_tree_is_refused_wherever_it_ends(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole) - 44, len(whole) // 37):
        saved.write_bytes(whole[:length])
        refusal(bgmm.load, saved)


def test_a_tree_whose_last_bytes_were_never_written_is_damaged(saved):
    whole = saved.read_bytes()
    for lost in (1, 44, 500):
        for filler in (b"\0", b"x"):
            saved.write_bytes(whole[:-lost] + filler * lost)
            assert "damaged" in refusal(bgmm.load, saved)
    saved.write_bytes(whole + bytes(9))
    bgmm.load(saved)


def test_a_file_that_fails_early_fails_once(saved, monkeypatch):
    with h5py.File(saved, "r+") as file:
        file.attrs["_nc3_strict"] = 1
    content = bytearray(saved.read_bytes())
    place = content.index(b"_nc3_strict") - 40  # the message of the attribute
    content[place : place + 39] = b"\xff" * 39
    saved.write_bytes(content)
    failed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", failed.append)  # of a file that fails again while it is deleted
    refusal(bgmm.load, saved)
    gc.collect()
    assert not failed


def test_a_tree_that_another_program_changed_is_loaded(tree, saved):
    with h5py.File(saved, "r+") as file:
        file.attrs["note"] = "added"
    assert bgmm.load(saved).attrs["note"] == "added"


@pytest.mark.parametrize("entry", ["not json", "[]", "3", '{"components": {}}', "\ud7ff"])
def test_what_a_file_says_of_itself_is_checked(saved, entry):
    with h5py.File(saved, "r+") as file:
        file.attrs["bgmm"] = entry
    refusal(bgmm.load, saved)


def test_a_file_that_claims_more_than_it_holds_takes_no_memory(saved):
    with h5py.File(saved, "r+") as file:
        file["posterior"].create_dataset("bomb", shape=(10**12,), chunks=(10**6,), dtype="f8")
    refusal(bgmm.load, saved)


class Hostile:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_loading_runs_no_code_from_a_tree(saved, tmp_path):
    code = pickle.dumps(Hostile(tmp_path / "ran"))
    with h5py.File(saved, "r+") as file:
        file.attrs["bgmm"] = json.dumps({"components": f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"})
        file.attrs["pickled"] = np.void(code)
        file["posterior"].create_dataset("pickled", data=np.frombuffer(code, np.uint8))
    bgmm.load(saved)
    assert not (tmp_path / "ran").exists()


def test_parquet_runs_no_code_and_what_is_wrong_with_it_is_one_sentence(tmp_path, rng):
    path = tmp_path / "x.parquet"
    pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"]).to_parquet(path)
    whole = path.read_bytes()
    for length in range(1, len(whole), len(whole) // 30):
        path.write_bytes(whole[:length])
        refusal(read_table, path)
        refusal(bgmm.stream, path)
    field = pa.field("a", pa.float64(), metadata={
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Hostile(tmp_path / "ran")),
    })  # fmt: skip
    for metadata in (None, {"pandas": "not json"}, {"pandas": "{}"}):
        pq.write_table(pa.table([pa.array([1.0, 2.0])], schema=pa.schema([field], metadata=metadata)), path)
        if metadata is None:
            assert read_table(path).values.tolist() == [[1.0], [2.0]]
        else:
            refusal(read_table, path)
        if metadata == {"pandas": "not json"}:  # the index, which is no feature, cannot be told
            refusal(bgmm.stream, path)
        else:
            assert bgmm.stream(path).read(0, 2).tolist() == [[1.0], [2.0]]
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such devices")
def test_a_device_is_no_table_and_nothing_but_a_path_names_a_file(tree):
    for name in ("/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match=f"'{name}' is a device"):
            read_table(name)
    for path in (3, None, b"fit.nc"):
        for call in (bgmm.load, lambda path: bgmm.save(tree, path)):
            with pytest.raises((ValueError, TypeError)):
                call(path)


# Writing


FULL = """
import resource, sys
import bgmm
tree = bgmm.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    bgmm.save(tree, sys.argv[1])
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_on_a_full_disk_the_old_file_stays_and_one_sentence_says_why(saved):
    before = saved.read_bytes()
    for room in (0, 20_000):
        run = elsewhere(FULL, saved, room)
        assert run.returncode == 0
        assert run.stdout.count("\n") == 1
        assert f"cannot write '{saved}'" in run.stdout
        assert "make room" in run.stdout
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


KILLED = """
import os, signal, sys
import bgmm
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started the tests in the background
tree = bgmm.load(sys.argv[1])
os.fsync = lambda _: os.kill(os.getpid(), int(sys.argv[2]))
bgmm.save(tree, sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_while_saving_leaves_the_old_file(saved, by):
    before = saved.read_bytes()
    assert elsewhere(KILLED, saved, int(by)).returncode != 0
    assert saved.read_bytes() == before
    unfinished = [path for path in saved.parent.iterdir() if path != saved]
    assert len(unfinished) == (by == signal.SIGKILL)  # which no process can clean up after


def test_writers_at_once_leave_one_whole_tree_and_the_rights_of_new_files(tree, tmp_path):
    path, mask = tmp_path / "fit.nc", os.umask(0o027)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: (bgmm.save(tree, path), bgmm.load(path)), range(12)))
        assert path.stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(mask)
    assert bgmm.load(path).identical(tree)
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_while_the_command_writes_is_one_sentence(tmp_path):
    from bgmm.tree.files import replacing

    path = tmp_path / "rows.csv"
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"rows.csv'.*No space left") as caught, replacing(path):
        raise OSError(28, os.strerror(28))
    assert "\n" not in str(caught.value)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
