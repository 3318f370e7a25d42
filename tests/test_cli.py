"""The command: right answers, one sentence for each mistake, and nothing half written."""

import logging
import os
import subprocess
import sys
from typing import get_args

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bgmm
from bgmm import cli, models
from bgmm.fitting import ENGINES


def call(*arguments: str) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return left.value.code or 0


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder with tables, right and wrong, and the tree of one fit."""
    folder = tmp_path_factory.mktemp("filled")
    rng = np.random.default_rng(5)
    x, y = (rng.normal([[-3.0], [3.0]], 1, size=(2, 30)).ravel() for _ in range(2))
    kind = np.repeat(["a", "b"], 30)
    pd.DataFrame({"x": x, "kind": kind, "y": y}).to_csv(folder / "data.csv", index=False)
    pd.DataFrame({"x": x, "y": 7.0}).to_csv(folder / "constant.csv", index=False)
    (folder / "infinite.csv").write_text("x,y\n1,2\n3,inf\n5,6\n")
    (folder / "words.csv").write_text("x,y\na,b\nc,d\n")
    (folder / "short.csv").write_text("x,z\n1,2\n3,4\n")
    with h5py.File(folder / "plain.h5", "w") as file:
        file["a"] = [1.0, 2.0]
    (folder / "folder").mkdir()
    (folder / "link.nc").symlink_to("elsewhere.nc")
    xr.Dataset({"a": ("b", [1.0])}).to_netcdf(folder / "other.nc", engine="h5netcdf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_prepare_jax", lambda: None)
        assert call("fit", f"{folder}/data.csv", "-k", "2", "--engine", "em", "-o", f"{folder}/fit.nc") == 0
    return folder


@pytest.fixture
def here(filled, monkeypatch):
    """That folder as the working directory; the cache of the tests stays where it is."""
    monkeypatch.chdir(filled)
    monkeypatch.setattr(cli, "_prepare_jax", lambda: None)
    return filled


def contents(folder) -> dict[str, bytes | None]:
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


# Right input


def test_fit_prints_the_summary_and_writes_the_tree(here, tmp_path, capsys):
    assert call("fit", "data.csv", "-k", "2", "--engine", "em", "-o", f"{tmp_path}/fit.nc") == 0
    out, err = capsys.readouterr()
    assert err == "skipped column 'kind': its values are not numbers (row 1 has 'a')\n"
    assert f"the tree is in {tmp_path}/fit.nc" in out
    assert call("summary", f"{tmp_path}/fit.nc") == 0
    assert capsys.readouterr().out.strip() in out
    means = bgmm.load(tmp_path / "fit.nc")["posterior"]["means"].values[0, 0]
    np.testing.assert_allclose(np.sort(means[:, 0]), [-3, 3], atol=1)


def test_predict_writes_what_membership_and_log_density_say(here, tmp_path, capsys):
    assert call("predict", "fit.nc", "data.csv", "-o", f"{tmp_path}/rows.csv") == 0
    assert capsys.readouterr() == (f"60 rows in {tmp_path}/rows.csv\n", "")
    rows, tree = pd.read_csv(tmp_path / "rows.csv"), bgmm.load("fit.nc")
    assert list(rows.columns) == ["cluster_0", "cluster_1", "cluster", "log_density"]
    np.testing.assert_allclose(rows[["cluster_0", "cluster_1"]], bgmm.membership(tree), rtol=1e-9)
    np.testing.assert_allclose(rows["log_density"], bgmm.log_density(tree), rtol=1e-9)
    np.testing.assert_array_equal(rows["cluster"], rows[["cluster_0", "cluster_1"]].to_numpy().argmax(1))
    assert rows["cluster"].groupby(np.repeat([0, 1], 30)).nunique().eq(1).all()


def test_predict_gives_far_rows_memberships_and_names_them_once(here, tmp_path, capsys):
    (tmp_path / "far.csv").write_text("x,y\n1,2\n1e155,-1e155\n1e308,1\n")
    assert call("predict", "fit.nc", f"{tmp_path}/far.csv", "-o", f"{tmp_path}/rows.csv") == 0
    written = pd.read_csv(tmp_path / "rows.csv")
    np.testing.assert_allclose(written[["cluster_0", "cluster_1"]].sum(axis=1), 1)
    assert not written["log_density"].isna().any()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: row 2 of x and 1 more lie over 100 times as far out as any cluster reaches (x is 1e+155")


def test_a_column_of_ids_is_skipped_with_a_note_that_says_how_to_use_it(here, tmp_path, capsys):
    x = pd.read_csv("data.csv")[["x", "y"]].assign(id=np.random.default_rng(0).permutation(1000)[:60])
    x.to_csv(tmp_path / "ids.csv", index=False)
    options = (f"{tmp_path}/ids.csv", "-k", "2", "--engine", "em", "-o", f"{tmp_path}/fit.nc")
    assert call("fit", *options) == 0
    assert "skipped column 'id': " in (said := capsys.readouterr().err)
    assert "--columns" in said
    assert call("fit", *options, "--columns", "x,id") == 0
    assert "skipped" not in capsys.readouterr().err
    assert call("predict", f"{tmp_path}/fit.nc", f"{tmp_path}/ids.csv", "-o", f"{tmp_path}/1.csv") == 0
    assert list(bgmm.load(tmp_path / "fit.nc")["posterior"]["feature"]) == ["x", "id"]


def test_predict_takes_the_columns_of_the_fit_by_name_or_as_listed(here, tmp_path):
    table = pd.read_csv("data.csv")
    table[["y", "x"]].assign(unused=np.inf).to_csv(tmp_path / "turned.csv", index=False)
    table[["x", "y"]].to_csv(tmp_path / "nameless.csv", index=False, header=False)
    assert call("predict", "fit.nc", "data.csv", "-o", f"{tmp_path}/0.csv") == 0
    assert call("predict", "fit.nc", f"{tmp_path}/turned.csv", "-o", f"{tmp_path}/1.csv") == 0
    assert call("predict", "fit.nc", f"{tmp_path}/nameless.csv", "--columns", "x1, x2", "-o", f"{tmp_path}/2.csv") == 0
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_without_a_name_the_tree_stands_beside_the_data_and_replaces_an_older_one(here, tmp_path, capsys):
    (tmp_path / "data.csv").write_bytes((here / "data.csv").read_bytes())
    (tmp_path / "data.nc").write_text("an older tree")
    assert call("fit", f"{tmp_path}/data.csv", "-k", "2", "--engine", "em") == 0
    assert f"the tree is in {tmp_path}/data.nc" in capsys.readouterr().out
    assert set(contents(tmp_path)) == {"data.csv", "data.nc"}
    xr.testing.assert_allclose(bgmm.load(tmp_path / "data.nc")["posterior"], bgmm.load("fit.nc")["posterior"])


def test_a_warning_of_ours_is_a_line_on_stderr(here, tmp_path, capsys):
    assert call("fit", "constant.csv", "-k", "2", "--engine", "em", "-o", f"{tmp_path}/fit.nc") == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "'y'" in warned[0]


def test_demo_writes_a_tree_and_its_picture(here, tmp_path, monkeypatch, capsys):
    def fit(model, x, seed, fit=bgmm.fit):
        assert model == models.random_k()  # sampled elsewhere; here it is what is written
        return fit(models.finite(2), x, engine="em", seed=seed)

    monkeypatch.setattr(bgmm, "fit", fit)
    assert call("demo", "-o", f"{tmp_path}/geyser.nc") == 0
    out, err = capsys.readouterr()
    assert "occupied components: " in out
    assert f"the tree is in {tmp_path}/geyser.nc, the plot in {tmp_path}/geyser.png" in out
    assert err == ""
    assert contents(tmp_path)["geyser.png"].startswith(b"\x89PNG")
    assert bgmm.load(tmp_path / "geyser.nc")["observed_data"].sizes["observation"] == 272


@pytest.mark.parametrize("arguments", [(), ("--help",), ("fit", "--help")])
def test_help_is_given_when_asked_and_when_nothing_is(arguments, capsys):
    assert call(*arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: bgmm")
    assert err == ""


@pytest.mark.parametrize("module", ["bgmm", "bgmm.cli"])
def test_python_runs_the_command_as_a_module(module):
    ended = subprocess.run([sys.executable, "-m", module, "summary", "no.nc"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("bgmm: 'no.nc' does not exist")


def test_version_is_printed(capsys):
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("bgmm 0.")


def test_the_command_offers_every_engine_and_model():
    def offered(option) -> set[str]:
        named, _ = get_args(get_args(option)[0])  # or None
        return set(get_args(named))

    assert offered(cli.Engine) == set(ENGINES)
    assert offered(cli.Model) == {name for name in models.__all__ if name.islower()}


# Mistakes

FIT = "fit data.csv -k 2"
PREDICT = "predict fit.nc data.csv"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        # how the command is called
        ("frobnicate", "'frobnicate'"),
        ("fti data.csv", "'fit'"),
        ("--verbose", "--verbose"),
        ("fit", "'DATA'"),
        ("fit data.csv --model finite", "-k 3"),
        ("fit data.csv -k 3 --model random_k", "leave -k out"),
        ("fit data.csv -k", "'-k'"),
        ("fit data.csv -k three", "'-k'"),
        ("fit data.csv -k 0", "'-k'"),
        ("fit data.csv -k 61", "-k 61"),
        (f"{FIT} more", "more"),
        (f"{FIT} --engin em", "--engine"),
        (f"{FIT} --n_init 3", "in Python, write engine=bgmm.EM(n_starts=10)"),
        (f"{FIT} --random-state 3", "did you mean --seed?"),
        ("fit data.csv --n-clusters 3", "did you mean --n-components?"),
        (f"{FIT} --engine gibs", "'em', 'gibbs', 'laplace', 'nuts', 'vi'"),
        (f"{FIT} --model finit", "'finite'"),
        (f"{FIT} --seed -1", "'--seed'"),
        (f"{FIT} --seed 99999999999999999999", "'--seed'"),
        ("summary", "'FIT.nc'"),
        ("predict fit.nc", "'DATA'"),
        (PREDICT, "'--output'"),
        # tables
        ("fit nothere.csv -k 2", "'nothere.csv'"),
        ("fit ~nobody/data.csv -k 2", "'~nobody/data.csv'"),
        ("fit folder -k 2", "'folder'"),
        ("fit fit.nc -k 2", "'fit.nc'"),
        ("fit infinite.csv -k 2", "column 'y' of 'infinite.csv' is infinite in row 2"),
        ("fit words.csv -k 2", "'words.csv'"),
        (f"{FIT} --columns x,yy", "'yy'"),
        (f"{FIT} --columns kind", "'kind'"),
        (f"{FIT} --columns=", "''"),
        ("predict fit.nc nothere.csv -o rows.csv", "'nothere.csv'"),
        ("predict fit.nc short.csv -o rows.csv", "'short.csv' has no column 'y'"),
        (f"{PREDICT} --columns x -o rows.csv", "'data.csv'"),
        # trees
        ("summary nothere.nc", "'nothere.nc'"),
        ("summary folder", "'folder'"),
        ("summary data.csv", "'data.csv'"),
        ("summary other.nc", "'other.nc'"),
        ("summary plain.h5", "'plain.h5'"),
        ("predict data.csv data.csv -o rows.csv", "'data.csv'"),
        ("predict other.nc data.csv -o rows.csv", "'other.nc'"),
        # outputs
        (f"{FIT} -o nowhere/fit.nc", "'nowhere'"),
        (f"{FIT} -o data.csv/fit.nc", "'data.csv'"),
        (f"{FIT} -o folder", "'folder'"),
        (f"{FIT} -o link.nc", "'link.nc'"),
        (f"{FIT} -o data.csv", "'data.csv'"),
        (f"{FIT} -o folder/../data.csv", "'data.csv'"),
        (f"{FIT} -o {'long' * 80}.nc", "long.nc'"),
        (f"{PREDICT} -o nowhere/rows.csv", "'nowhere'"),
        (f"{PREDICT} -o data.csv", "'data.csv'"),
        (f"{PREDICT} -o fit.nc", "'fit.nc'"),
        ("demo -o nowhere/fit.nc", "'nowhere'"),
        ("demo -o picture.png", "'picture.png'"),
        ("demo --seed x", "'--seed'"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_fitted_or_written(line, named, here, monkeypatch, capsys):
    monkeypatch.setattr(bgmm, "fit", lambda *_, **__: pytest.fail("a fit began"))
    before = contents(here)
    assert call(*line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bgmm: ")
    assert err.index("\n") == len(err) - 1
    assert named in err
    assert contents(here) == before


def test_a_folder_without_permission_is_named_before_the_fit(here, tmp_path, monkeypatch, capsys):
    def refused(dir):
        raise PermissionError(13, "Permission denied", dir)

    monkeypatch.setattr(cli, "TemporaryFile", refused)  # permissions do not hold root back
    monkeypatch.setattr(bgmm, "fit", lambda *_, **__: pytest.fail("a fit began"))
    assert call("fit", "data.csv", "-k", "2", "-o", f"{tmp_path}/fit.nc") == 2
    assert f"Permission denied ('{tmp_path}')" in capsys.readouterr().err


@pytest.mark.parametrize(("failure", "code"), [(ValueError("not\nlike this"), 2), (KeyboardInterrupt(), 130)])
def test_a_fit_that_fails_leaves_an_older_tree_as_it_was(failure, code, here, tmp_path, monkeypatch, capsys):
    def failing(*_, **__):
        raise failure

    (tmp_path / "fit.nc").write_text("an older tree")
    monkeypatch.setattr(bgmm, "fit", failing)
    assert call("fit", "data.csv", "-k", "2", "--columns", "x,y", "-o", f"{tmp_path}/fit.nc") == code
    assert capsys.readouterr().err == ("bgmm: not like this\n" if code == 2 else "")
    assert contents(tmp_path) == {"fit.nc": b"an older tree"}


def test_a_full_disk_leaves_older_predictions_as_they_were(here, tmp_path, monkeypatch, capsys):
    def half(self, path, **_):
        path.write_text("cluster_0,clu")
        raise OSError(28, "No space left on device")

    (tmp_path / "rows.csv").write_text("older")
    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    assert call("predict", "fit.nc", "data.csv", "-o", f"{tmp_path}/rows.csv") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert contents(tmp_path) == {"rows.csv": b"older"}


# The surroundings


def test_a_reader_that_leaves_early_causes_no_complaint():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "from bgmm.cli import main; main()", "--help"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert ended.stderr == b""
    assert ended.returncode == 1


def test_the_command_uses_every_core(monkeypatch):
    monkeypatch.setattr(logging.getLogger("matplotlib"), "setLevel", lambda level: None)
    monkeypatch.setattr(os, "environ", {})
    cli._prepare_jax()
    assert int(os.environ["JAX_NUM_CPU_DEVICES"]) == min(os.cpu_count() or 1, 16)


def test_a_tree_in_the_home_folder_is_found(here, monkeypatch, capsys):
    monkeypatch.setenv("HOME", os.getcwd())
    assert call("summary", "~/fit.nc") == 0
    assert "feature" in capsys.readouterr().out
