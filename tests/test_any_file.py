"""Tables as programs write them are read exactly; a damaged file is a table or one sentence that the library raises itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import bgmm
from benchmarks.boundary_tree_cases import tree
from bgmm.data.source import counts_rows
from bgmm.data.table import read_table

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

# The same examples in every run, so that a failure is one of the code.
few = hypothesis.settings(
    derandomize=True, database=None, deadline=None, max_examples=25, suppress_health_check=list(hypothesis.HealthCheck)
)

finite = st.floats(allow_nan=False, allow_infinity=False)
ordinary = st.one_of(st.floats(-10, 10), finite, st.integers(-3000, 3000).map(float))
text_names = st.sampled_from(["a", "b c", "länge", "Größe (m)", "µ", "_", "x,y", "p;q", 'say "n"', "2x", "NA2", "t\nu", "1/2"])


class Dialect(NamedTuple):
    """How a program writes tables: options of DataFrame.to_csv, what stands above the table, and the encodings in use."""

    options: dict[str, Any] = {}  # noqa: RUF012 (read only)
    encodings: tuple[str, ...] = ("utf-8", "utf-8-sig")
    above: str = ""


QUOTE_ALL, QUOTE_NONNUMERIC = 1, 2
DIALECTS = {
    "pandas": Dialect({"index": True}),
    "csv": Dialect({"lineterminator": "\r\n"}),
    "csv, quoted": Dialect({"lineterminator": "\r\n", "quoting": QUOTE_ALL}),
    "tabs": Dialect({"sep": "\t"}, ("utf-8", "utf-16")),
    "Excel, Unicode text": Dialect({"sep": "\t", "lineterminator": "\r\n"}, ("utf-16",)),
    "Excel in English": Dialect({"sep": ",", "lineterminator": "\r\n"}, ("utf-8-sig", "cp1252")),
    "Excel in German": Dialect({"sep": ";", "decimal": ",", "lineterminator": "\r\n"}, ("utf-8-sig", "cp1252")),
    "Excel with a separator": Dialect({"sep": ";", "lineterminator": "\r\n"}, ("cp1252",), "sep=;\r\n"),
    "R, write.csv": Dialect({"na_rep": "NA", "quoting": QUOTE_NONNUMERIC, "index": "from 1"}),
    "R, write.csv2": Dialect({"na_rep": "NA", "sep": ";", "decimal": ",", "quoting": QUOTE_NONNUMERIC, "index": "from 1"}),
    "R, write.table": Dialect(
        {"na_rep": "NA", "sep": " ", "quoting": QUOTE_NONNUMERIC, "index": "from 1", "index_label": False}
    ),
    "NumPy": Dialect({"na_rep": "nan", "sep": " ", "float_format": "%.18e"}),
    "database": Dialect({"sep": "|", "na_rep": "NULL"}),
}


@st.composite
def tables(draw, names: st.SearchStrategy[str]) -> pd.DataFrame:
    """Numbers with gaps, without an empty row or column."""
    n, d = draw(st.integers(2, 8)), draw(st.integers(1, 4))
    cell = st.one_of(ordinary, st.just(np.nan)) if draw(st.booleans()) else ordinary
    values = np.array(draw(st.lists(st.lists(cell, min_size=d, max_size=d), min_size=n, max_size=n)))
    for axis in (0, 1):
        hypothesis.assume(not np.isnan(values).all(axis).any())
    return pd.DataFrame(values, columns=pd.Index(draw(st.lists(names, min_size=d, max_size=d, unique=True)), dtype=object))


def written(draw, frame: pd.DataFrame, dialect: Dialect, *, header: bool = True) -> bytes:
    """The table as this program writes it, with or without an end of the last line."""
    options: dict[str, Any] = {"index": False, "lineterminator": "\n", **dialect.options, "header": header}
    if options["index"] == "from 1":
        frame, options["index"] = frame.set_axis([str(i + 1) for i in range(len(frame))]), True
    if not header:
        options["index"] = False
    text = io.StringIO(newline="")
    frame.to_csv(text, **options)
    content = dialect.above + text.getvalue()
    if draw(st.booleans()):
        content = content.removesuffix(options["lineterminator"])
    return content.encode(draw(st.sampled_from(dialect.encodings)))


def check_read(content: bytes, folder: Path, names: list[str], values: np.ndarray) -> None:
    path = folder / "written.csv"
    path.write_bytes(content)
    table = read_table(path)
    assert list(table.features) == names
    np.testing.assert_array_equal(table.values, values)


@pytest.mark.parametrize("program", DIALECTS)
@few
@hypothesis.given(data=st.data())
def test_a_table_is_read_as_it_was_written(program, data, tmp_path_factory):
    frame, dialect = data.draw(tables(text_names)), DIALECTS[program]
    if frame.shape[1] == 1:  # what looks like two names, or a label of the row and a number
        hypothesis.assume(not {",", ";"} & set(frame.columns[0]))
        whole = np.trunc(frame.to_numpy()[:, 0])
        hypothesis.assume("decimal" not in dialect.options or np.isnan(whole).any() or not counts_rows(whole))
    values = frame.to_numpy()
    if data.draw(st.booleans()):  # whole numbers without decimals
        frame = frame.convert_dtypes()
    check_read(written(data.draw, frame, dialect), tmp_path_factory.getbasetemp(), list(frame.columns), values)


@pytest.mark.parametrize("program", DIALECTS)
@few
@hypothesis.given(data=st.data())
def test_a_table_below_numbers_or_nothing_is_read_as_it_was_written(program, data, tmp_path_factory):
    frame, dialect = data.draw(tables(st.integers(1800, 2200))), DIALECTS[program]
    n_columns = frame.shape[1]
    hypothesis.assume(n_columns > 1 or "decimal" not in dialect.options)  # alone, it looks like two columns
    header = data.draw(st.sampled_from(["none", "counts", "years"] if n_columns > 1 else ["none", "counts"]))
    frame.columns = frame.columns.sort_values() if header == "years" else range(n_columns)
    names = [f"x{j + 1}" for j in range(n_columns)] if header == "none" else [str(name) for name in frame.columns]
    content = written(data.draw, frame, dialect, header=header != "none")
    check_read(content, tmp_path_factory.getbasetemp(), names, frame.to_numpy())


# Damaged files


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """A file whose bytes were lost or changed, or got others between them; some near its ends, where it describes itself."""
    content, random = bytearray(whole), draw(st.randoms(use_true_random=True))
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        n = len(content)
        near = min(n, 400)
        place = random.choice(
            [random.randint(0, n), random.randint(0, n), random.randint(0, near), n - random.randint(0, near)]
        )
        kind = random.choice(["cut", "insert", "delete", "change", "change", "bit", "bit", "bit"])
        some = random.choice([random.randbytes(random.randint(1, 9)), bytes(8), b"\xff" * 8])
        if kind == "cut":
            del content[place:]
        elif kind == "change":
            content[place : place + len(some)] = some[: n - place]
        elif kind == "insert":
            content[place:place] = some
        elif kind == "delete":
            del content[place : place + len(some)]
        elif place < n:
            content[place] ^= 1 << some[0] % 8
    return bytes(content)


def check_table(path: Path) -> None:
    table = read_table(path)
    assert table.values.dtype == np.float64
    assert table.values.shape[1] == len(table.features) == len(set(table.features)) > 0
    assert not np.isinf(table.values).any()


def check_stream(path: Path) -> None:
    stream = bgmm.stream(path)
    n, d = min(stream.n_rows, 50), len(stream.features)
    rows = stream.read(0, n)
    assert rows.dtype == np.float64
    assert rows.shape == (n, d)
    assert stream.take(np.array([0, n - 1])).shape == (2, d)


def check_tree(path: Path) -> None:
    assert bgmm.load(path).identical(tree())


def assert_one_sentence(check: Callable[[Path], None], path: Path) -> None:
    """That the file is right by this check, or refused."""
    try:
        check(path)
    except ValueError as error:
        kind, sentence = type(error), str(error)
    else:
        return
    assert kind is ValueError, sentence  # and so none of NumPy's or of an encoding
    assert path.name in sentence
    assert sentence.isprintable(), sentence


X = np.random.default_rng(1).normal(size=(20, 3)).round(3)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
FILES: dict[str, tuple[Callable[[Path], None], list[Callable[[Path], None]]]] = {
    "comma.csv": (FRAME.to_csv, [check_table]),
    "utf16.csv": (lambda path: FRAME.to_csv(path, sep="\t", quoting=QUOTE_ALL, encoding="utf-16"), [check_table]),
    "double.npy": (lambda path: np.save(path, X), [check_table, check_stream]),
    "single.npy": (lambda path: np.save(path, np.asfortranarray(X, np.float32)), [check_table, check_stream]),
    "plain.parquet": (lambda path: FRAME.to_parquet(path, compression=None, row_group_size=8), [check_table, check_stream]),
    "packed.parquet": (
        lambda path: FRAME.assign(k=range(20), s="u").to_parquet(path, row_group_size=8),
        [check_table, check_stream],
    ),
    "fit.nc": (lambda path: bgmm.save(tree(), path), [check_tree]),
}

WHOLE: dict[str, bytes] = {}


@pytest.mark.parametrize("name", FILES)
@hypothesis.settings(few, max_examples=120)
@hypothesis.given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_sentence(name, data, tmp_path_factory):
    write, checks = FILES[name]
    path = tmp_path_factory.getbasetemp() / name
    if name not in WHOLE:
        write(path)
        for check in checks:
            check(path)
        WHOLE[name] = path.read_bytes()
    path.write_bytes(data.draw(damaged(WHOLE[name])))
    for check in checks:
        assert_one_sentence(check, path)
