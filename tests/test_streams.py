"""Rows that stay in a file say what the same rows say in memory, and only as much of them is held as a pass needs."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.tree.read import about
from tests.marks import also_slow

N = 40_000  # more than four times what the search looks at first: both ways begin on the same subsample
MODEL = models.finite(2, components=models.Diagonal())
CENTRES = np.array([[0.0, 3.0], [60.0, 3.5]])
ENGINES = {
    "ml": bgmm.EM(prior=False, n_starts=2),
    "map": bgmm.EM(n_starts=2),
    "nuts": bgmm.NUTS(n_draws=10, n_warmup=5, n_chains=2, n_starts=2),
}


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(11)
    return CENTRES[(rng.random(N) < 0.3).astype(int)] + rng.normal(size=(N, 2)) * [15.0, 0.3]


@pytest.fixture(scope="module")
def files(x, tmp_path_factory):
    """The rows in each kind of file, beside a column of text and one of other numbers in that of named columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("rows")
    np.save(folder / "rows.npy", x)
    columns = {"name": ["a"] * N, "x1": x[:, 0], "other": np.arange(N), "x2": x[:, 1]}
    pq.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=7_000)
    return {"npy": bgmm.stream(folder / "rows.npy"), "parquet": bgmm.stream(folder / "rows.parquet", columns=["x1", "x2"])}


@pytest.fixture(scope="module", params=also_slow(ENGINES, ("map",)))
def fits(request, x, files):
    """The fits of one engine from memory and from both files."""
    with warnings.catch_warnings(action="ignore"):  # of the short chains
        data = {"memory": x} | files
        return request.param, {name: bgmm.fit(MODEL, rows, ENGINES[request.param], seed=2) for name, rows in data.items()}


def test_fit_of_a_stream_is_that_of_the_rows_in_memory(fits):
    """To 1e-10 of each number or of the scale of its feature (one mean is a hundredth of its scale); for chains to 1e-7.

    Chains amplify the last digits, in which sums over blocks in another order differ: a hundredfold in ten draws of NUTS.
    """
    engine, trees = fits
    expected, allowed = trees["memory"], 1e-7 if engine == "nuts" else 1e-10
    scale = expected["constant_data"]["scale"]
    for kind in ("npy", "parquet"):
        for group in ("posterior", "constant_data"):
            for name, values in expected[group].items():
                size = np.abs(values) + (scale if "feature" in values.dims else 0.0)
                assert (np.abs(trees[kind][group][name] - values) <= allowed * size).all(), f"{kind} {name}"
        for name in ("lp", "log_density", "n_occupied"):
            if name in expected["sample_stats"]:
                found = trees[kind]["sample_stats"][name]
                np.testing.assert_allclose(found, expected["sample_stats"][name], rtol=allowed, err_msg=f"{kind} {name}")


def test_tree_of_a_stream_holds_nothing_as_long_as_the_file_and_says_where_it_lies(fits, files):
    for kind, source in files.items():
        tree = fits[1][kind]
        assert not {"observed_data", "log_likelihood"} & set(tree.children)
        assert max(size for group in tree.children.values() for size in group.sizes.values()) < 1000
        assert about(tree)["rows"] == str(source.path)
        assert about(tree)["n_rows"] == N


def test_some_rows_are_the_same_whatever_the_file(x, files):
    chosen = np.array([0, 5, 6_999, 7_000, 7_001, 20_000, N - 1])
    for source in files.values():
        np.testing.assert_array_equal(source.take(chosen), x[chosen])
        np.testing.assert_array_equal(source.read(6_990, 21_010), x[6_990:21_010])
        np.testing.assert_array_equal(np.concatenate(list(source.chunks())), x)


def test_columns_choose_and_order_the_features(x, files):
    for source in files.values():
        turned = bgmm.stream(source.path, columns=["x2", "x1"])
        assert turned.features == ("x2", "x1")
        np.testing.assert_array_equal(turned.read(10, 30), x[10:30, ::-1])
    assert bgmm.stream(files["parquet"].path).features == ("x1", "other", "x2")


def test_an_array_of_one_axis_is_one_feature_as_in_memory(tmp_path):
    x = np.concatenate([np.arange(20.0), 100 + np.arange(20.0)])
    np.save(tmp_path / "line.npy", x)
    source = bgmm.stream(tmp_path / "line.npy")
    assert (source.features, source.n_rows) == (("x1",), 40)
    np.testing.assert_array_equal(source.read(3, 9), x[3:9, None])
    np.testing.assert_array_equal(source.take(np.array([1, 30])), x[[1, 30], None])
    np.save(tmp_path / "column.npy", x[:, None])
    fits = [bgmm.fit(MODEL, data, bgmm.EM(n_starts=1)) for data in (source, bgmm.stream(tmp_path / "column.npy"))]
    np.testing.assert_array_equal(*(tree["posterior"]["means"] for tree in fits))


def test_the_index_of_a_frame_in_parquet_is_no_feature(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"a": [1.5, 2.5, 3.5], "b": [4, 6, 5]})
    for index in ([3, 7, 9], pd.Index([3, 7, 9], name="site"), pd.MultiIndex.from_tuples([(0, 1), (0, 2), (1, 1)]), None):
        frame.set_axis(range(3) if index is None else index).to_parquet(tmp_path / "rows.parquet")
        source = bgmm.stream(tmp_path / "rows.parquet")
        assert source.features == ("a", "b")
        np.testing.assert_array_equal(source.read(0, 3), frame)


@pytest.mark.parametrize(("value", "what"), [(np.nan, "a missing"), (np.inf, "an infinite")])
def test_missing_value_in_a_stream_is_refused_by_file_row_and_column(x, tmp_path, value, what):
    x = np.tile(x, (2, 1))  # more than are read at a time
    x[70_000, 1] = value
    np.save(path := tmp_path / "rows.npy", x)
    with pytest.raises(ValueError, match=rf"'{path}' has {what} value in row 70001 of column 'x2'"):
        bgmm.fit(MODEL, bgmm.stream(path))


def test_gap_in_a_column_of_whole_numbers_is_refused_as_well(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x1": [1, 2, None, 4], "x2": [0.5, 1.5, 2.0, 1.0]}), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="a missing value in row 3 of column 'x1'"):
        bgmm.fit(MODEL, bgmm.stream(tmp_path / "rows.parquet"))


def test_gibbs_refuses_a_stream_in_one_sentence(files):
    with pytest.raises(ValueError, match=r"^Gibbs keeps the assignment of every row, so that rows must be in memory; [^.]*$"):
        bgmm.fit(MODEL, files["npy"], "gibbs")


def test_log_likelihood_of_every_row_of_a_stream_is_refused(files):
    with pytest.raises(ValueError, match="log_likelihood=True needs the rows in memory"):
        bgmm.fit(MODEL, files["npy"], ENGINES["ml"], log_likelihood=True)


def test_wrong_files_are_refused_in_one_sentence(tmp_path, files):
    np.save(tmp_path / "cube.npy", np.zeros((5, 2, 2)))
    (tmp_path / "rows.csv").write_text("x1,x2\n1,2\n")
    for path, sentence in [
        (tmp_path / "none.npy", "no file"),
        (tmp_path / "rows.csv", "must be a .npy or .parquet file to be streamed"),
        (tmp_path / "cube.npy", r"must hold an array of numbers of shape \(n, d\), or \(n,\), not float64 of \(5, 2, 2\)"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            bgmm.stream(path)
    for source in files.values():
        with pytest.raises(ValueError, match="no numeric column 'x9'; it has x1, "):
            bgmm.stream(source.path, columns=["x9"])
        with pytest.raises(ValueError, match="the list of columns to use names column 'x1' 2 times"):
            bgmm.stream(source.path, columns=["x1", "x2", "x1"])


def test_rows_that_are_damaged_or_changed_after_the_file_was_opened_are_refused_in_one_sentence(tmp_path):
    import pandas as pd

    frame, paths = pd.DataFrame({"a": np.arange(50.0), "b": np.ones(50)}), [tmp_path / "rows.npy", tmp_path / "rows.parquet"]
    for change in (lambda path: path.write_bytes(path.read_bytes()[:-900]), lambda path: path.unlink()):
        np.save(paths[0], frame)
        frame.to_parquet(paths[1])
        for opened in [bgmm.stream(path) for path in paths]:
            change(opened.path)
            for read in (
                lambda rows: rows.read(0, 2),
                lambda rows: rows.take(np.array([3])),
                lambda rows: bgmm.fit(MODEL, rows),
            ):
                with pytest.raises(ValueError, match=f"rows of '{opened.path}' cannot be read") as caught:
                    read(opened)
                assert str(caught.value).isprintable()
    frame.to_parquet(paths[1], compression="gzip")
    opened = bgmm.stream(paths[1])
    paths[1].write_bytes(b"PAR1" + bytes(60) + paths[1].read_bytes()[64:])  # its metadata, at its end, are as they were
    with pytest.raises(ValueError, match=r"rows of .* cannot be read"):
        opened.read(0, 2)


def test_a_parquet_file_without_rows_is_no_stream(tmp_path):
    import pandas as pd

    pd.DataFrame({"a": np.zeros(0)}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows.parquet' has no rows"):
        bgmm.stream(tmp_path / "rows.parquet")


def test_a_nan_that_signals_is_a_nan(tmp_path):
    x = np.ones((3, 2), np.float32)
    x.view(np.uint32)[1, 1] = 0x7FA00000
    np.save(tmp_path / "rows.npy", x)
    for rows in (bgmm.stream(tmp_path / "rows.npy").read(0, 3), bgmm.data.table.read_table(tmp_path / "rows.npy").values):
        assert np.isnan(rows).tolist() == [[False] * 2, [False, True], [False] * 2]


_PEAK = """
import sys, resource, warnings
import bgmm
warnings.simplefilter("ignore")  # that two steps are no convergence
bgmm.fit(bgmm.models.finite(2, components=bgmm.models.Diagonal()), bgmm.stream(sys.argv[1]), bgmm.EM(n_starts=1, max_steps=2))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow  # two processes that import and compile
def test_ten_times_the_rows_need_no_more_memory(tmp_path):
    peaks = []
    for n in (200_000, 2_000_000):  # 64 MB in all, of which a copy in memory would be seen
        file = np.lib.format.open_memmap(tmp_path / f"{n}.npy", "w+", np.float64, (n, 4))
        for start in range(0, n, 100_000):
            file[start : start + 100_000] = np.random.default_rng(start).normal(size=(100_000, 4))
        file.flush()
        run = subprocess.run(
            [sys.executable, "-c", _PEAK, str(tmp_path / f"{n}.npy")], capture_output=True, text=True, check=True
        )
        peaks.append(int(run.stdout) / 1024)
    assert peaks[1] - peaks[0] < 20, peaks
