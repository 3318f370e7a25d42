"""Any text in, one of two outcomes out: a table of float64, or one sentence that names the file and is raised by the reader."""

from __future__ import annotations

import numpy as np
import pytest

from bgmm.data.table import read_table

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

# The same examples in every run, so that a failure is one of the code.
few = hypothesis.settings(
    derandomize=True, database=None, deadline=None, max_examples=120, suppress_health_check=list(hypothesis.HealthCheck)
)

numbers = st.one_of(
    st.integers(-3, 2100).map(str), st.floats(-9, 9).map(str), st.sampled_from(["1,5", "-.5", "1e3", "1e999", "007"])
)
words = ["", " ", "NA", "nan", "inf", "-", "a", "id", "b c", '"', '""', '"a"', '"a,b"', '"a\nb"', "#", "sep=;", "1_000", "12%"]
marks = ["\0", "\ufeff", "\u2028", "\x85", "\x0c", "\x1c", "\u0661", "\u00b2", "\U0001f600", "9" * 30, "9" * 5000]
odd = st.sampled_from([*words, *marks, "1.234,5"])
cells = st.one_of(numbers, odd, st.text(max_size=5))


@st.composite
def texts(draw) -> bytes:
    """Rows of cells of which each is a number, odd, or any text; mostly of equal length, with or without a byte order mark."""
    width = draw(st.integers(1, 4))
    of_row = st.lists(draw(st.sampled_from([numbers, cells])), min_size=width, max_size=width)
    rows = draw(st.lists(of_row, max_size=6))
    if draw(st.booleans()):
        rows.insert(0, draw(st.lists(cells, min_size=width, max_size=width)))
    if rows and draw(st.integers(0, 4)) == 0:
        rows[draw(st.integers(0, len(rows) - 1))] = draw(st.lists(cells, max_size=6))
    separator, end = draw(st.sampled_from([",", ";", "\t", "|", " ", ", "])), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join(separator.join(row) for row in rows) + draw(st.sampled_from(["", end, 2 * end, separator]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"]))
    return text.encode(encoding, "replace")


def outcome(content: bytes, folder, *, fitting: bool) -> None:
    path = folder / "any.csv"
    path.write_bytes(content)
    try:
        table = read_table(path, fitting=fitting)
    except Exception as error:  # of which kind it is, is the question
        refused, sentence = type(error), str(error)
    else:
        refused, sentence = None, ""
    if refused is not None:
        assert refused is ValueError, sentence  # and so none of NumPy's or of an encoding
        assert "any.csv" in sentence
        assert sentence.isprintable(), sentence
        return
    n, d = table.values.shape
    assert table.values.dtype == np.float64
    assert d == len(table.features) == len(set(table.features)) > 0
    assert n >= (2 if fitting else 1)
    assert not np.isinf(table.values).any()
    assert all(note.isprintable() for note in table.notes), table.notes


@few
@hypothesis.given(content=texts(), fitting=st.booleans())
def test_any_rows_of_text_are_a_table_or_refused_in_one_sentence(content, fitting, tmp_path_factory):
    outcome(content, tmp_path_factory.getbasetemp(), fitting=fitting)


@few
@hypothesis.given(
    content=st.one_of(st.binary(max_size=40), st.text(alphabet='0123456789.,; \t|"\n\r#ab-', max_size=60).map(str.encode))
)
def test_any_bytes_are_a_table_or_refused_in_one_sentence(content, tmp_path_factory):
    outcome(content, tmp_path_factory.getbasetemp(), fitting=True)
