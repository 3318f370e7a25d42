"""The soak sees what it looks for: planted growth, open files, threads and resources."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from benchmarks import soak


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """Runs a soak of 100 fits, each of which is this instead."""

    def run(fault):
        monkeypatch.setattr(soak, "one", lambda i, folder: fault(i, tmp_path))
        return soak.soak(100)

    return run


@pytest.mark.slow
def test_a_process_that_holds_nothing_is_flat(planted):
    curve, leaks, _ = planted(lambda i, _: np.ones(10_000).sum())
    assert soak.growth(curve) < soak.FLAT
    assert leaks == []
    assert curve[100].files == curve[50].files
    assert curve[100].threads == curve[50].threads


@pytest.mark.slow
def test_planted_growth_is_seen(planted):
    kept = []
    curve, _, _ = planted(lambda i, _: kept.append(np.ones(200_000)))
    assert soak.growth(curve) > soak.FLAT


@pytest.mark.slow
def test_planted_files_and_threads_are_seen(planted):
    kept, ended = [], threading.Event()

    def leak(i, folder):
        kept.append((folder / "open").open("w"))
        thread = threading.Thread(target=ended.wait)
        thread.start()

    curve, _, _ = planted(leak)
    ended.set()
    for file in kept:
        file.close()
    assert curve[100].files - curve[50].files == 50
    assert curve[100].threads - curve[50].threads == 50


@pytest.mark.slow
def test_a_file_that_is_not_closed_is_told(planted):
    def forget(i, folder):
        (folder / "open").open("w")

    _, leaks, _ = planted(forget)
    assert len(leaks) == 100
    assert "unclosed file" in leaks[0]


def test_data_sets_are_random_and_of_few_shapes():
    sets = [soak.data_set(i) for i in range(12)]
    assert len({(x.shape, k, int(np.isnan(x).any())) for x, k in sets}) <= 8
    assert all(np.isfinite(x).any(0).all() and not np.isnan(x[:, 1:]).any() for x, _ in sets)
    assert len({float(np.nanmean(x)) for x, _ in sets}) == 12
