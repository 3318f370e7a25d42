import decimal
import pickle
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr

import bgmm
from bgmm import models
from bgmm.data.table import as_table, read_table

NAN = np.nan


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "x.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(function, *args, **options) -> str:
    """The sentence with which a call is refused, checked to be one line."""
    with pytest.raises(ValueError, match=r".") as caught:
        function(*args, **options)
    assert type(caught.value) is ValueError
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def assert_table(table, values, features=None):
    assert table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values, np.array(values, float))
    if features is not None:
        assert table.features == tuple(features)


# Text files


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", "   ", ", "])
def test_separator_is_found_out(write, separator):
    lines = [["a", "b", "c"], ["1", "2.5", "-3"], ["4", "5", "6e2"]]
    path = write("\n".join(separator.join(line) for line in lines))
    assert_table(read_table(path), [[1, 2.5, -3], [4, 5, 600]], "abc")
    assert read_table(path).notes == ()


@pytest.mark.parametrize("text", ["1,5;2,3\n2;3,25\n", "1,5\t2,3\n2\t3,25\n", "1,5 2,3\n2 3,25\n"])
def test_decimal_commas_beside_another_separator_are_numbers(write, text):
    table = read_table(write(text))
    assert_table(table, [[1.5, 2.3], [2, 3.25]], ["x1", "x2"])
    assert "commas" in table.notes[0]


def test_thousands_points_beside_decimal_commas_are_not_taken_for_decimals(write):
    path = write("a;b;c\n1,5;1.234;2,5\n2,5;2.345;.\n")
    assert "line 2 has '1.234'" in refusal(read_table, path)
    assert_table(read_table(path, ["a", "c"]), [[1.5, 2.5], [2.5, NAN]], "ac")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a;b\n1,5;1.234,5\n2,5;2.222,5\n", "1.234,5"),
        ("a;b\n1,5;1.234\n2,5;2.222\n", "1.234"),
        ("a;b\n1.5;1,234\n2;2,222\n", "1,234"),
        ("a;b\n1.5;1,234\n2.5;2,222\n-.5;1,234,567.5\n", "1,234"),
        ("a\tb\n1.234,5\t5\n1.222,5\t6\n", "1.234,5"),
        ("a\n1.234,5\n2.345,5\n", "1.234,5"),
    ],
)
def test_the_cell_with_marks_between_thousands_is_named(write, text, cell):
    said = refusal(read_table, write(text))
    assert f"line 2 has '{cell}'; write plain numbers, without signs or marks between thousands" in said


@pytest.mark.parametrize("text", ["a;b\n1,234;5,678\n2,345;3,456\n", "a;b\n1.234;5.678\n2.345;3.456\n"])
def test_three_decimals_are_no_thousands(write, text):
    assert_table(read_table(write(text)), [[1.234, 5.678], [2.345, 3.456]], "ab")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_encoding_is_found_out(write, encoding):
    path = write("Länge;µ\n1;2\n3;4\n".encode(encoding))
    assert_table(read_table(path), [[1, 2], [3, 4]], ["Länge", "µ"])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(write, end):
    assert_table(read_table(write(end.join(["a,b", "1,2", "3,4", ""]).encode())), [[1, 2], [3, 4]], "ab")


def test_first_row_of_numbers_is_data(write):
    assert_table(read_table(write("1,2\n3,4\n")), [[1, 2], [3, 4]], ["x1", "x2"])
    assert_table(read_table(write("1,NA\n3,4\n")), [[1, NAN], [3, 4]], ["x1", "x2"])


def test_first_row_that_mixes_numbers_and_text_is_names_with_a_note(write):
    table = read_table(write("5.1,3.5,setosa\n4.9,3.0,setosa\n4.7,3.2,setosa\n", "iris.data"))
    assert table.features == ("5.1", "3.5")
    assert "first line" in table.notes[0]
    assert "iris.data'" in table.notes[0]
    assert "'setosa'" in table.notes[0]


@pytest.mark.parametrize("mark", ["", "NA", "NaN", "nan", "null", "?", ".", " ", "n/a", '""', "-", "#N/A", "<NA>", "-1.#IND"])
def test_missing_marks_become_nan(write, mark):
    assert_table(read_table(write(f"a,b\n1,{mark}\n{mark},4\n")), [[1, NAN], [NAN, 4]], "ab")


def test_blank_lines_are_no_rows_and_rows_without_values_are(write):
    table = read_table(write('a\n1\n\n2\n""\n3\n  \n'))
    assert_table(table, [[1], [2], [NAN], [3]], "a")
    assert table.notes == ("rows without any value: 1, the first is row 3",)


@pytest.mark.parametrize("text", ["a,b,\n1,2,\n3,4,\n", "a,b\n1,2,\n3,4,\n", "a,b,,\n1,2,,\n3,4,,\n"])
def test_separators_at_the_ends_of_lines_are_no_columns(write, text):
    assert_table(read_table(write(text)), [[1, 2], [3, 4]], "ab")


@pytest.mark.parametrize(
    "text",
    [
        ",a,b\n0,1,2\n1,3,4\n",  # pandas
        '"","a","b"\n"1",1,2\n"2",3,4\n',  # R, write.csv
        '"a" "b"\n"1" 1 2\n"2" 3 4\n',  # R, write.table
        "Unnamed: 0,a,b\n0,1,2\n1,3,4\n",  # pandas, twice
    ],
)
def test_unnamed_first_column_that_counts_rows_is_skipped_with_a_note(write, text):
    table = read_table(write(text))
    assert_table(table, [[1, 2], [3, 4]], "ab")
    assert len(table.notes) == 1
    assert table.notes[0].startswith("skipped column 'Unnamed: 0': it only counts the rows; to use it, give it another name")


INDICES = {
    "two levels": pd.MultiIndex.from_product([["u", "v"], range(3)]),
    "levels of numbers": pd.MultiIndex.from_product([[7, 3], [0.5, 1.5, 2.5]]),
    "decimals": pd.Index([0.25, 0.5, 0.75, 1.5, 2, 3]),
}


@pytest.mark.parametrize(
    ("index", "names"),
    [*((index, names) for index in INDICES.values() for names in (["a", "b"], [0, 1])), (pd.Index([NAN, 5] * 3), ["a", "b"])],
)
def test_an_index_that_pandas_wrote_is_no_feature_also_when_written_twice(tmp_path, index, names):
    frame = pd.DataFrame([[1.5, 2], [3, 4.5], [0, 1], [7, 2], [3, 3], [9, 4]], index=index, columns=names)
    frame.to_csv(tmp_path / "once.csv")
    pd.read_csv(tmp_path / "once.csv").to_csv(tmp_path / "twice.csv")
    pd.read_csv(tmp_path / "twice.csv").to_csv(tmp_path / "thrice.csv")
    for name, n_labels in (("once", index.nlevels), ("twice", index.nlevels + 1), ("thrice", index.nlevels + 2)):
        table = read_table(tmp_path / f"{name}.csv")
        assert_table(table, frame, map(str, names))
        assert sum(note.startswith("skipped column 'Unnamed: ") for note in table.notes) == n_labels
    chosen = read_table(tmp_path / "twice.csv", ["Unnamed: 0.1", str(names[0])])
    assert_table(chosen, np.column_stack([np.arange(6), frame.iloc[:, 0]]))


def test_columns_without_a_name_behind_a_named_one_are_data_and_alone_they_are_asked_about(write):
    assert read_table(write("a,,b\n1,2,3\n4,6,6\n")).features == ("a", "Unnamed: 1", "b")
    assert "name it to use it" in refusal(read_table, write("Unnamed: 0,Unnamed: 1\n1.5,2\n4,6\n"))


def test_columns_without_names_that_pandas_wrote_have_their_numbers_as_names(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(5, 3)))
    for part in (frame, frame.iloc[[1, 4, 2]]):  # a filtered frame keeps its row labels
        for index in (True, False):
            part.to_csv(tmp_path / "x.csv", index=index)
            assert_table(read_table(tmp_path / "x.csv"), part.to_numpy(), "012")


def test_years_beside_row_labels_without_a_name_are_names(write):
    for text in (",1990,2000\n0,5,6\n1,8,9\n", '"1990" "2000"\n"u" 5 6\n"v" 8 9\n'):  # pandas, R
        assert_table(read_table(write(text)), [[5, 6], [8, 9]], ["1990", "2000"])
    assert_table(read_table(write(",1990,2000\n3,1991,2004\n")), [[NAN, 1990, 2000], [3, 1991, 2004]], ["x1", "x2", "x3"])


@pytest.mark.parametrize(
    ("text", "values", "names"),
    [
        ("0,1\n1.5,2.5\n3.5,4.5\n", [[1.5, 2.5], [3.5, 4.5]], "01"),  # pandas, columns without names
        ("0,1\n5,6\n7,8\n", [[5, 6], [7, 8]], "01"),
        ("0\n1.5\n2.5\n", [[1.5], [2.5]], "0"),  # pandas, a series without a name
        ("1990,2000,2010\n5,6,7\n8,9,10\n", [[5, 6, 7], [8, 9, 10]], ["1990", "2000", "2010"]),
        ("7,3\n" + "1.25,2.5\n" * 10, [[1.25, 2.5]] * 10, "73"),  # decimals in all other lines
    ],
)
def test_a_first_line_of_whole_numbers_that_are_names_is_taken_as_names_with_a_note(write, text, values, names):
    table = read_table(write(text))
    assert_table(table, values, names)
    assert len(table.notes) == 1
    assert "first line" in table.notes[0]


@pytest.mark.parametrize(
    "text",
    ["1,2\n3,4\n", "0,1.5\n1,2.5\n", "0,2\n1,1\n", "5\n7\n", "1990,2000\n1991,2004\n", "1,2\n1.5,2.5\n", "0,0\n1,1\n"],
)
def test_other_first_lines_of_numbers_are_data(write, text):
    rows = [[float(cell) for cell in line.split(",")] for line in text.split()]
    assert_table(read_table(write(text)), rows, [f"x{j + 1}" for j in range(len(rows[0]))])


def test_a_first_line_of_0_above_whole_numbers_is_data_with_a_note(write):
    table = read_table(write("0\n5\n7\n"))
    assert_table(table, [[0], [5], [7]], ["x1"])
    assert "first line" in table.notes[0]


@pytest.mark.parametrize("labels", [["3", "7", "9"], ["9", "3", "7"], ["2", "2", "5"], ["u", "v", "w"], ["2020-01-01"] * 3])
def test_row_labels_without_a_name_are_no_feature(write, labels):
    for first in ("", "Unnamed: 0"):
        lines = [f"{first},a,b", *(f"{label},{i}.5,{2 * i}" for i, label in enumerate(labels))]
        table = read_table(write("\n".join(lines)))
        assert_table(table, [[0.5, 0], [1.5, 2], [2.5, 4]], "ab")
        assert "skipped column 'Unnamed: 0'" in table.notes[0]
    assert_table(read_table(write("Unnamed: 0,a\n3,1.5\n7,2.5\n"), ["Unnamed: 0", "a"]), [[3, 1.5], [7, 2.5]])


@pytest.mark.parametrize("name", ["Id", "id", "ID", "patient_id", "customerId", "RowID", "index", "row"])
@pytest.mark.parametrize("labels", [[1, 2, 3], [0, 1, 2], [7, 3, 12]])
def test_a_column_of_ids_is_skipped_with_a_note_unless_asked_for(name, labels):
    frame = pd.DataFrame({"a": [1.5, 2.5, 3.5], name: labels})
    table = as_table(frame)
    assert_table(table, [[1.5], [2.5], [3.5]], "a")
    assert f"skipped column {name!r}" in table.notes[0]
    to_use = "to use it, give it another name, or, of a file, list the columns (--columns of the command)"
    assert table.notes[0].endswith(f"; {to_use}")
    assert as_table(frame, ["a", name]).features == ("a", name)
    assert_table(as_table(frame.rename(columns={name: "dose"})), np.column_stack([frame["a"], labels]), ["a", "dose"])


@pytest.mark.parametrize(
    ("name", "values"), [("id", [1.5, 2, 3]), ("id", [1, 1, 2]), ("humid", [1, 2, 3]), ("year", [1, 2, 3])]
)
def test_a_column_that_is_not_named_as_ids_or_has_other_values_is_data(name, values):
    assert_table(as_table(pd.DataFrame({name: values})), np.array(values)[:, None], [name])


def test_decimal_commas_in_a_single_column_are_read_or_asked_about(write):
    assert_table(read_table(write("a\n1,5\n2,25\n4,5\n")), [[1.5], [2.25], [4.5]], "a")
    assert_table(read_table(write("a\n1,5\nNA\n3\n")), [[1.5], [NAN], [3]], "a")
    assert_table(read_table(write("a\n1,5e-07\n2,5E+3\n1e+16\n")), [[1.5e-7], [2500], [1e16]], "a")
    assert_table(read_table(write('"a\nb"\n1,5\n4,5\n')), [[1.5], [4.5]], ["a\nb"])
    assert_table(read_table(write('"a"\n"1,5"\n"4,5"\n')), [[1.5], [4.5]], "a")
    sentence = refusal(read_table, write("a\n1,5\n2,5\n"))
    assert "'1,5'" in sentence
    assert "decimal point" in sentence
    assert_table(read_table(write('"a"\n"1",5\n"2",6\n')), [[5], [6]], "a")  # R quotes its row names


def test_numbers_survive_a_csv_to_the_last_bit(tmp_path):
    x = np.random.default_rng(1).normal(size=(200, 4)) * 10.0 ** np.arange(-150, 151, 100)
    pd.DataFrame(x).to_csv(tmp_path / "x.csv", index=False, header=list("abcd"))
    assert_table(read_table(tmp_path / "x.csv"), x, "abcd")


def test_columns_of_text_are_skipped_with_a_note_that_quotes_the_first(write):
    table = read_table(write("species,a,when\nsetosa,1,2020-01-01\nvirginica,2,2020-01-02\n"))
    assert_table(table, [[1], [2]], "a")
    assert table.notes == (
        "skipped column 'species': its values are not numbers (row 1 has 'setosa')",
        "skipped column 'when': its values are not numbers (row 1 has '2020-01-01')",
    )


@pytest.mark.parametrize("cell", ["<5", "x", "12%", '"1,234.5"', "$5", "1 234", '"1.234.567,8"'])
def test_a_cell_that_is_not_a_number_among_numbers_is_an_error_that_names_its_line(write, cell):
    path = write(f"a,b\n1,1\n\n2,2\n3,{cell}\n4,4\n")
    for columns in (None, ["b"]):
        sentence = refusal(read_table, path, columns)
        assert "column 'b'" in sentence
        assert f"line 5 has {cell.strip(chr(34))!r}" in sentence
    assert_table(read_table(path, ["a"]), [[1], [2], [3], [4]], "a")
    frame = pd.DataFrame({"b": [1, 2, cell, 4]})
    assert f"row 3 has {cell!r}" in refusal(as_table, frame)


def test_a_column_of_percentages_is_an_error_and_no_text(write):
    assert "'12%'" in refusal(read_table, write("a,b\n1,12%\n2,13%\n"))


def test_a_column_is_text_where_at_least_half_of_its_values_are(write):
    assert_table(read_table(write("a,b\n1,u\n2,7\n3,\n")), [[1], [2], [3]], "a")
    assert "line 2 has 'u'" in refusal(read_table, write("a,b\n1,u\n2,7\n3,8\n"))


@pytest.mark.parametrize(
    "above", ["sep=;\n", "# of 2020, in mm\n", "# one\n\n#two\n", "SEP=;\n# more\n"], ids=["sep", "one", "two", "both"]
)
def test_remarks_above_the_names_are_no_rows(write, above):
    assert_table(read_table(write(above + "a;b\n1;2.5\n3;4.5\n")), [[1, 2.5], [3, 4.5]], "ab")
    n_lines = above.count("\n") + 4
    assert f"line {n_lines} has 'x'" in refusal(read_table, write(above + "a;b\n1;2.5\n3;4.5\n5;x\n7;8\n"))


def test_a_declared_separator_is_the_separator(write):
    assert_table(read_table(write("sep=;\na,b\n1\n2\n")), [[1], [2]], ["a,b"])
    assert_table(read_table(write("sep=;\na,b\n1,5\n2,5\n")), [[1.5], [2.5]], ["a,b"])
    assert_table(read_table(write("sep=\t\r\na b\tc\r\n1\t2,5\r\n3\t4\r\n")), [[1, 2.5], [3, 4]], ["a b", "c"])
    assert "2 cells" in refusal(read_table, write("sep=,\na;b\n1,5;2\n2;3\n"))


def test_names_behind_a_mark_of_remarks_are_names(write, tmp_path):
    for separator in (" ", ",", "\t"):
        np.savetxt(tmp_path / "y.csv", [[1, 2.5], [3, 4.5]], header=f"a{separator}b", delimiter=separator)
        assert_table(read_table(tmp_path / "y.csv"), [[1, 2.5], [3, 4.5]], "ab")
    assert "no rows" in refusal(read_table, write("# a\n# b\n"))


def test_a_very_long_cell_is_read_or_named(write):
    long = "z" * 200_000
    assert_table(read_table(write(f"a,b\n1,{long}\n2,y\n")), [[1], [2]], "a")
    assert "line 2" in refusal(read_table, write(f'a,b\n1,"{long}"\n2,y\n'))


def test_digits_grouped_by_underscores_are_text(write):
    assert_table(read_table(write("a,b\n1_000,2\n2_000,3\n")), [[2], [3]], "b")


def test_chosen_columns_come_in_the_order_asked_for(write):
    assert_table(read_table(write("a,b,c\n1,2,x\n3,4,y\n"), ["b", "a"]), [[2, 1], [4, 3]], "ba")
    assert_table(read_table(write("1,2\n3,4\n"), ["x2"]), [[2], [4]], ["x2"])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["x.csv'", "is empty"]),
        ("\n \n", ["x.csv'", "is empty"]),
        ("a,b\n", ["x.csv'", "no rows"]),
        ("a,b\n1,2\n", ["x.csv'", "at least 2 rows"]),
        ("a,b\nu,v\nw,x\n", ["x.csv'", "no column of numbers", "row 1 has 'v'"]),
        (",a\n0,u\n1,v\n", ["x.csv'", "no column of numbers", "row 1 has 'u'"]),
        ("a,b\n1,2\n3,4,5\n6,7\n", ["line 3 of", "x.csv'", "3 cells", "2"]),
        ("a,b\n1,2\n3\n6,7\n", ["line 3 of", "x.csv'", "1 cell ", "2"]),
        ('a,b\n1,2\n"3,4\n5,6\n', ["x.csv'", "line 3", "quotation marks"]),
        ('a,b\n1,"2"3\n5,6\n', ["x.csv'", "line 2", "quotation marks"]),
        ("a,b,a\n1,2,3\n3,4,5\n", ["x.csv'", "'a'", "2 times"]),
        ("a,b\n1,2\n3,-inf\n", ["x.csv'", "column 'b'", "row 2", "infinite"]),
        ("a,b\n1,2\n3,1e999\n", ["x.csv'", "column 'b'", "row 2", "infinite"]),
        ("a,b\n1,\n3,NA\n", ["x.csv'", "column 'b'", "no value"]),
        ('a,"b\nc"\n1,\n3,NA\n', ["x.csv'", r"'b\nc'", "no value"]),
        (b"PK\x03\x04\x00\x00", ["x.csv'", "not a text file"]),
    ],
)
def test_a_text_file_that_cannot_be_used_is_refused_in_one_sentence(write, text, parts):
    sentence = refusal(read_table, write(text))
    assert all(part in sentence for part in parts), sentence


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_names_that_no_file_can_hold_are_refused_before_any_work_unless_left_out(name):
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=pd.Index(["a", name], dtype=object))
    sentence = refusal(as_table, frame)
    assert repr(name) in sentence
    assert "rename" in sentence
    assert_table(as_table(frame, ["a"]), [[1], [3]], "a")


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        (["waitng"], ["no column 'waitng'", "'eruption', 'waiting'", "did you mean 'waiting'?"]),
        (["zzz"], ["no column 'zzz'", "'eruption', 'waiting'"]),
        (["waiting", "waiting"], ["'waiting' 2 times"]),
        ([1, "1"], ["the list of columns", "'1' 2 times (1 and '1' are the same as text)"]),
        ([], ["list of names"]),
        ("waiting", ["list of names", "'waiting'"]),
    ],
)
def test_columns_that_cannot_be_chosen_are_refused_in_one_sentence(write, columns, parts):
    sentence = refusal(read_table, write("eruption,waiting\n1,2\n3,4\n"), columns)
    assert all(part in sentence for part in parts), sentence


def test_a_list_of_very_many_columns_is_cut_short():
    assert len(refusal(as_table, np.ones((2, 5000)), ["y"])) < 400


# Files of other kinds


@pytest.mark.parametrize("shape", [(7,), (7, 3)])
def test_npy_file_gives_its_array(tmp_path, shape):
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    table = read_table(tmp_path / "x.npy")
    assert_table(table, x.reshape(7, -1), [f"x{j + 1}" for j in range(x.size // 7)])


def test_parquet_file_gives_its_columns(tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, None, 2.5], "c": ["u", "v", "w"]}, index=[5, 6, 7])
    frame.to_parquet(tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    assert_table(table, [[1, 1.5], [2, NAN], [3, 2.5]], "ab")
    assert table.notes == ("skipped column 'c': its values are not numbers (row 1 has 'u')",)


def test_parquet_without_pyarrow_says_how_to_install_it(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    sentence = refusal(read_table, write(b"PAR1", "x.parquet"))
    assert sentence == "reading Parquet needs pyarrow: pip install 'bgmm[parquet]'"


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_a_binary_file_that_is_not_what_its_name_says_is_refused_by_name(write, name):
    assert name in refusal(read_table, write(b"a,b\n1,2\n", name))
    assert "is empty" in refusal(read_table, write(b"", name))


def npy_with(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy file with a header of one's own."""
    size = len(header) + 1
    length = size.to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + header.encode("latin-1") + b"\n" + data


HEADER = "{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    "content",
    [
        npy_with(HEADER.format(descr="<f8", shape=(10**15, 4)), bytes(64)),  # petabytes
        npy_with(HEADER.format(descr="<f8", shape=(10**30, 4)), bytes(64)),
        npy_with(HEADER.format(descr="<f8", shape=(-1, 2)), bytes(64)),
        npy_with(HEADER.format(descr="<f8", shape=(True, 2.0)), bytes(64)),
        npy_with(HEADER.format(descr="<f8", shape=(True, 2)), bytes(16)),
        npy_with(HEADER.format(descr="<f8", shape=(2, True)), bytes(16)),
        npy_with(HEADER.format(descr="<f8", shape=(4, 2)), bytes(63)),
        npy_with(HEADER.format(descr="<f8", shape=(1,) * 100), bytes(64)),
        npy_with(HEADER.format(descr="<f8", shape=(0, 10**30)), bytes(64)),
        npy_with(HEADER.format(descr="|V1000000000", shape=(4, 2)), bytes(64)),
        npy_with(HEADER.format(descr="nonsense", shape=(4, 2)), bytes(64)),
        npy_with("__import__('os').system('true')"),
        npy_with("(" * 5000),
        npy_with("[" * 90 + "]" * 90),
        npy_with("{'descr': '<f8'}"),
        npy_with(HEADER.format(descr="<f8", shape=(1, 1)), bytes(8), version=(9, 0)),
        npy_with(" " * 2**20 + HEADER.format(descr="<f8", shape=(1, 1)), bytes(8), version=(2, 0)),
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUM",
        b"PK\x03\x04",
    ],
    ids=range(20),
)
def test_a_npy_file_whose_header_lies_is_refused_by_name_without_taking_memory(write, content):
    path = write(content, "x.npy")
    assert "x.npy" in refusal(read_table, path)
    assert "x.npy" in refusal(bgmm.stream, path)


def test_pickled_objects_are_not_loaded_and_run_no_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    np.save(tmp_path / "x.npy", np.array([Hostile(), 1.0], dtype=object))
    (tmp_path / "y.npy").write_bytes(pickle.dumps(Hostile()))
    for name in ("x.npy", "y.npy"):
        for read in (read_table, bgmm.stream):
            assert name in refusal(read, tmp_path / name)
    assert not (tmp_path / "ran").exists()
    pickle.loads((tmp_path / "y.npy").read_bytes())
    assert (tmp_path / "ran").exists()  # it would have run


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    assert refusal(read_table, "no{0} such.csv") == "no file 'no{0} such.csv'"
    assert refusal(read_table, tmp_path) == f"'{tmp_path}' is a folder; give a file"
    assert refusal(read_table, str(tmp_path / "x" / "y.csv")).startswith("no file")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(write, monkeypatch, error):
    def fail(*_, **__):
        raise error

    path = write("a\n1\n2\n")
    monkeypatch.setattr(Path, "open", fail)
    sentence = refusal(read_table, path)
    assert "x.csv" in sentence
    assert error.strerror in sentence


# Arrays and DataFrames


@pytest.mark.parametrize(
    "x",
    [
        [[1, 2], [3, 4]],
        ((1.0, 2.0), (3.0, 4.0)),
        np.array([[1, 2], [3, 4]], np.uint8),
        np.array([[1, 2], [3, 4]], np.float16),
        np.array([[1, 2], [3, 4]], object),
        np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]),
        jnp.array([[1, 2], [3, 4]]),
        [[decimal.Decimal(1), np.float32(2)], [3, np.int8(4)]],
    ],
)
def test_anything_numpy_takes_becomes_float64_with_features_x1_x2(x):
    assert_table(as_table(x), [[1, 2], [3, 4]], ["x1", "x2"])


def test_one_dimension_is_one_feature():
    assert_table(as_table([1, 2, 3]), [[1], [2], [3]], ["x1"])
    assert_table(as_table(pd.Series([1, 2])), [[1], [2]], ["x1"])
    assert_table(as_table(pd.Series([1, 2], name="a")), [[1], [2]], ["a"])


def test_masked_and_none_and_na_are_missing():
    assert_table(as_table(np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])), [[1, NAN], [3, 4]])
    assert_table(as_table([[1, None], [3, 4]]), [[1, NAN], [3, 4]])
    frame = pd.DataFrame({"a": pd.array([1, pd.NA], "Int64"), "b": pd.array([pd.NA, 1.5], "Float64")})
    assert_table(as_table(frame), [[1, NAN], [NAN, 1.5]], "ab")
    assert_table(as_table(frame.convert_dtypes(dtype_backend="pyarrow")), [[1, NAN], [NAN, 1.5]], "ab")


def test_changing_the_table_leaves_the_array_alone():
    x = np.ones((3, 2))
    as_table(x).values[:] = 0
    assert (x == 1).all()


@pytest.mark.parametrize(
    "column",
    [
        [True, False],
        pd.array([pd.NA, True], "boolean"),
        pd.to_datetime(["2020-01-01", "2020-01-02"]),
        pd.to_timedelta([1, 2], unit="s"),
        pd.Categorical([1, 2]),
        ["1", "2"],
        [1, "2"],
        [None, "u"],
        pd.Series([True, 1], dtype=object),
    ],
)
def test_columns_of_a_frame_that_are_not_numbers_are_skipped_or_refused_by_name(column):
    frame = pd.DataFrame({"odd": column, "a": [1, 2]})
    table = as_table(frame)
    assert_table(table, [[1], [2]], "a")
    assert len(table.notes) == 1
    assert table.notes[0].startswith("skipped column 'odd': its values are ")
    assert "column 'odd'" in refusal(as_table, frame, columns=["odd"])


def test_text_beside_numbers_in_a_list_costs_only_its_own_column():
    assert_table(as_table([[1, "a"], [2, "b"]]), [[1], [2]], ["x1"])


def test_columns_of_a_frame_are_named_and_chosen_by_their_labels():
    frame = pd.DataFrame(np.arange(6).reshape(2, 3), columns=[0, "a", ("b", 1)])
    assert as_table(frame).features == ("0", "a", "('b', 1)")
    assert_table(as_table(frame, [0]), [[0], [3]], ["0"])


def test_a_table_of_another_library_is_read_through_pandas():
    table = as_table(pa.table({"a": [1, 2, None], "b": [1.5, 2.5, 3.5], "c": ["u", "v", "w"]}))
    assert_table(table, [[1, 1.5], [2, 2.5], [NAN, 3.5]], "ab")


class Exported:
    """A frame as polars 2 has it: the Arrow stream without the older exchange of frames."""

    columns = property(lambda self: list(self.frame.columns))

    def __init__(self, frame):
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        raise AssertionError

    def __array__(self, dtype=None, copy=None):
        return self.frame.to_numpy(dtype)

    def to_pandas(self):
        return self.frame


def test_frames_of_another_library_have_their_names_and_any_order_of_columns():
    frame = pd.DataFrame({"a": [1, 2, None], "b": [1.5, 2.5, 3.5], "c": ["u", "v", "w"]})
    assert_table(as_table(Exported(frame)), [[1, 1.5], [2, 2.5], [NAN, 3.5]], "ab")
    assert_table(as_table(Exported(frame), ["b", "a"]), [[1.5, 1], [2.5, 2], [3.5, NAN]], "ba")
    assert as_table(xr.DataArray(np.ones((3, 2)), dims=("row", "column"))).features == ("x1", "x2")


def test_polars_frames_and_series_are_read_by_name_and_lazy_ones_refused():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1, 2, None], "b": [1.5, 2.5, 3.5], "c": ["u", "v", "w"]})
    assert_table(as_table(frame), [[1, 1.5], [2, 2.5], [NAN, 3.5]], "ab")
    assert_table(as_table(frame["b"]), [[1.5], [2.5], [3.5]], "b")
    assert_table(as_table(pl.Series([1.5, 2.5])), [[1.5], [2.5]], ["x1"])
    assert refusal(as_table, frame.lazy()).endswith("give x.collect()")
    fitted, other = (bgmm.fit(models.finite(1), x, "em") for x in (frame[["a", "b"]], frame[["a", "b"]].to_pandas()))
    np.testing.assert_array_equal(fitted["posterior"]["means"], other["posterior"]["means"])
    density = bgmm.log_density(fitted, frame[["a", "b"]])
    np.testing.assert_array_equal(bgmm.log_density(fitted, frame[["b", "a"]]), density)


def test_a_frame_that_is_not_computed_yet_is_refused():
    class LazyFrame:
        def collect(self):
            raise AssertionError

    assert refusal(as_table, LazyFrame()) == "the table is a LazyFrame, whose values are not computed yet; give x.collect()"


def test_a_table_of_another_library_that_needs_pyarrow_says_so():
    class DataFrame:
        columns = ()

        def __dataframe__(self):
            raise AssertionError

        def to_pandas(self):
            raise ModuleNotFoundError("pyarrow")

    assert "pip install 'bgmm[parquet]'" in refusal(as_table, DataFrame())


@pytest.mark.parametrize(
    ("x", "parts"),
    [
        (3.0, ["(n, d)", "float"]),
        (None, ["(n, d)", "NoneType"]),
        ("data.csv", ["(n, d)", "str"]),
        ({"a": [1, 2]}, ["(n, d)", "dict"]),
        (np.ones((2, 2, 2)), ["(n, d)", "(2, 2, 2)"]),
        ([[1, 2], [3]], ["(n, d)", "list"]),
        ([], ["no rows"]),
        (np.ones((0, 2)), ["no rows"]),
        (np.ones((2, 0)), ["no columns"]),
        (pd.DataFrame(), ["no columns"]),
        (pd.DataFrame({"a": []}), ["no rows"]),
        ([[1, 2]], ["at least 2 rows"]),
        (np.ones((2, 2)) * 1j, ["'x1'", "complex"]),
        (pd.DataFrame({"a": [1, 2], "z": [1j, 2]}), ["'z'", "complex"]),
        (np.array([["1", "2"], ["3", "4"]]), ["no column of numbers"]),
        (np.array([True, False]), ["no column of numbers", "row 1 has 'True'"]),
        (np.array([1, 2], "timedelta64[s]"), ["no column of numbers"]),
        (np.array([[1, 2], [3, np.inf]]), ["'x2'", "row 2", "infinite"]),
        ([1, 10**400], ["'x1'", "row 2", "above 1.8e308"]),
        (pd.DataFrame({"a": [1.5, -(10**400)]}), ["'a'", "row 2", "above 1.8e308"]),
        (np.ma.array([1, 10**400], dtype=object), ["(n, d)", "MaskedArray"]),
        ([[1, NAN], [2, NAN]], ["'x2'", "no value"]),
        (pd.DataFrame({"a": [1, 2], "b": [None, None]}), ["'b'", "no value"]),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), ["'a'", "2 times"]),
        (pd.DataFrame([[1, 2], [3, 4]], columns=[1, "1"]), ["'1'", "2 times (1 and '1' are the same as text)"]),
        (pd.DataFrame([[1, 2], [3, 4]], columns=[None, NAN]), ["no name for columns 1 and 2"]),
        (pd.DataFrame([[1, 2, 3], [3, 4, 5]], columns=["a", None, None]), ["no name for columns 2 and 3"]),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["nan", "nan"]), ["'nan'", "2 times"]),
        (pd.Series([1, 2], name="a\0"), ["'a\\x00'", "rename"]),
    ],
)
def test_data_that_cannot_be_used_are_refused_in_one_sentence(x, parts):
    sentence = refusal(as_table, x)
    assert all(part in sentence for part in parts), sentence


def test_one_row_and_empty_columns_pass_where_nothing_is_fitted(write):
    assert_table(as_table([[1, NAN]], fitting=False), [[1, NAN]])
    assert_table(read_table(write("a,b\n1,\n"), fitting=False), [[1, NAN]], "ab")


def test_file_and_frame_give_the_same_table(tmp_path):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(50, 3)), columns=list("abc")).mask(rng.random((50, 3)) < 0.2)
    frame.insert(1, "kind", rng.choice(["u", "v"], 50))
    expected = as_table(frame)
    for suffix, write_to in {"csv": frame.to_csv, "parquet": frame.to_parquet}.items():
        path = tmp_path / f"x.{suffix}"
        write_to(path, index=False)
        table = read_table(path)
        assert_table(table, expected.values, expected.features)
        assert table.notes == expected.notes
