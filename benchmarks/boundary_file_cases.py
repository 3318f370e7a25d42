"""Tables at the boundary: text files as programs and people write them, .npy and Parquet, and what is right for each.

A text case is (name, text of the file, expected); the file is called x.csv.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.boundary_file_judge import Answer, Case, Expected, Right, Sentence

NAN = np.nan
AB = ("a", "b")
FOUR = [[1.0, 2.5], [3.0, 4.5]]  # what most files hold
MARKS = ("?", "-", ".", "#N/A", "n/a", "NULL", "<NA>", "-nan")
_LONG = ",".join(["1.5"] * 1000)
_SHOWN = 60  # characters of a file in the table


def right(values: object = FOUR, names: Sequence[str] | None = AB, *told: str) -> Right:
    """The values and names, and words of what is told."""
    return Right(values, None if names is None else tuple(names), told)


def sentence(*words: str) -> Sentence:
    """Words of a sentence that also names the file."""
    return Sentence(("x.", *words))


TEXT: list[tuple[str, str | bytes, Expected]] = [
    # how it is encoded
    ("plain", "a,b\n1,2.5\n3,4.5\n", right()),
    ("byte order mark", b"\xef\xbb\xbfa,b\n1,2.5\n3,4.5\n", right()),
    ("UTF-16, little end first", "a,b\n1,2.5\n3,4.5\n".encode("utf-16"), right()),
    ("UTF-16, big end first", b"\xfe\xff" + "a,b\n1,2.5\n3,4.5\n".encode("utf-16-be"), right()),
    ("UTF-16 without a mark", "a,b\n1,2.5\n3,4.5\n".encode("utf-16-le"), sentence("not a text file")),
    ("Windows code page", "Länge,b\n1,2.5\n3,4.5\n".encode("cp1252"), right(FOUR, ("Länge", "b"))),
    ("UTF-8 names", "µ,積\n1,2.5\n3,4.5\n", right(FOUR, "µ積")),
    ("lines of old Macs", "a,b\r1,2.5\r3,4.5\r", right()),
    ("lines of Windows", "a,b\r\n1,2.5\r\n3,4.5\r\n", right()),
    ("no end of the last line", "a,b\n1,2.5\n3,4.5", right()),
    ("a picture", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", sentence("not a text file")),
    ("a spreadsheet", b"PK\x03\x04\x14\x00\x06\x00", sentence("not a text file")),
    ("empty", "", sentence("empty")),
    ("blank lines alone", "\n \n\n", sentence("empty")),
    # what separates
    ("semicolons", "a;b\n1;2.5\n3;4.5\n", right()),
    ("semicolons, decimal commas", "a;b\n1,0;2,5\n3,0;4,5\n", right(FOUR, AB, "decimal marks")),
    ("tabs, decimal commas", "a\tb\n1,0\t2,5\n3,0\t4,5\n", right(FOUR, AB, "decimal marks")),
    ("tabs", "a\tb\n1\t2.5\n3\t4.5\n", right()),
    ("pipes", "a|b\n1|2.5\n3|4.5\n", right()),
    ("columns of spaces", "a   b\n1   2.5\n3   4.5\n", right()),
    ("commas and spaces", "a, b\n1, 2.5\n3, 4.5\n", right()),
    ("one column, decimal commas", "a\n1,5\n2,25\n4,5\n", right([[1.5], [2.25], [4.5]], "a", "decimal marks")),
    ("one column, decimal commas or row labels", "a\n1,5\n2,5\n3,5\n", sentence("'1,5'", "decimal point")),
    ("separators at the ends of lines", "a,b,\n1,2.5,\n3,4.5,\n", right()),
    ("blank lines between", "a,b\n\n1,2.5\n\n3,4.5\n", right()),
    ("a line that names the separator", "sep=;\na;b\n1;2.5\n3;4.5\n", right()),
    ("remarks above", "# by a machine, 2020\n# in mm\na,b\n1,2.5\n3,4.5\n", right()),
    # quotation marks
    ("quoted numbers", '"a","b"\n"1","2.5"\n"3","4.5"\n', right()),
    ("a comma in a name", '"a, in m",b\n1,2.5\n3,4.5\n', right(FOUR, ("a, in m", "b"))),
    ("lines within text", 'a,b,note\n1,2.5,"two\nlines"\n3,4.5,x\n', right(FOUR, AB, "'note'")),
    ("an open quotation mark", 'a,b\n1,"2.5\n3,4.5\n', sentence("line 2", "quotation marks")),
    ("text after a quotation mark", 'a,b\n1,"2"5\n3,4.5\n', sentence("line 2", "quotation marks")),
    # rows
    ("a short row", "a,b\n1,2.5\n3\n5,6\n", sentence("line 3", "1 cell")),
    ("a long row", "a,b\n1,2.5\n3,4.5,9\n5,6\n", sentence("line 3", "3 cells")),
    ("one row", "a,b\n1,2.5\n", sentence("single row")),
    ("names alone", "a,b\n", sentence("no rows")),
    ("a line of units", "a,b\nmm,kg\n1,2.5\n3,4.5\n", sentence("'a'", "line 2 has 'mm'")),
    ("a line of totals", "a,b\n1,2.5\n3,4.5\n5,6\nsum,13.5\n", sentence("'a'", "line 5 has 'sum'")),
    # names
    ("no names", "1,2.5\n3,4.5\n", right(FOUR, ("x1", "x2"))),
    ("a name twice", "a,b,a\n1,2.5,3\n3,4.5,5\n", sentence("'a'", "2 times")),
    ("a column without a name", "a,,b\n1,7,2.5\n3,8,4.5\n", right([[1, 7, 2.5], [3, 8, 4.5]], ("a", "Unnamed: 1", "b"))),
    ("names of units", "km/h,..\n1,2.5\n3,4.5\n", right(FOUR, ("km/h", ".."))),
    ("names of dimensions", "draw,observation\n1,2.5\n3,4.5\n", right(FOUR, ("draw", "observation"))),
    ("pandas: numbers as names", "0,1\n1.0,2.5\n3.0,4.5\n", right(FOUR, "01", "first line")),
    ("pandas: a series without a name", "0\n1.5\n2.5\n", right([[1.5], [2.5]], "0", "first line")),
    ("years as names", "2019,2020\n1,2.5\n3,4.5\n", right(FOUR, ("2019", "2020"), "first line")),
    ("years as data", "2019,2020\n2020,2021\n2022,2023\n", right([[2019, 2020], [2020, 2021], [2022, 2023]], ("x1", "x2"))),
    ("pandas: row numbers", ",a,b\n0,1,2.5\n1,3,4.5\n", right(FOUR, AB, "'Unnamed: 0'")),
    ("pandas: row labels of a filtered frame", ",a,b\n7,1,2.5\n3,3,4.5\n", right(FOUR, AB, "'Unnamed: 0'")),
    ("pandas: dates as row labels", ",a,b\n2020-01-01,1,2.5\n2020-01-02,3,4.5\n", right(FOUR, AB, "'Unnamed: 0'")),
    ("pandas: filtered, numbers as names", ",0,1\n7,1,2.5\n3,3,4.5\n", right(FOUR, "01", "'Unnamed: 0'")),
    ("pandas: row numbers, read and written again", "Unnamed: 0,a,b\n0,1,2.5\n1,3,4.5\n", right(FOUR, AB, "'Unnamed: 0'")),
    ("R: row names without a name", '"a","b"\n"1",1,2.5\n"2",3,4.5\n', right(FOUR, AB, "'Unnamed: 0'")),
    ("ids", "Id,a,b\n1,1,2.5\n2,3,4.5\n", right(FOUR, AB, "'Id'")),
    ("ids in any order", "customer_id,a,b\n907,1,2.5\n15,3,4.5\n", right(FOUR, AB, "'customer_id'")),
    # cells
    *((f"missing: {mark}", f"a,b\n1,{mark}\n3,4.5\n", right([[1, NAN], [3, 4.5]])) for mark in MARKS),
    ("a text among numbers", "a,b\n1,2.5\n3,x\n5,6\n7,8\n", sentence("'b'", "line 3 has 'x'")),
    ("a column of text", "a,kind,b\n1,u,2.5\n3,v,4.5\n", right(FOUR, AB, "'kind'")),
    ("a column of dates", "when,a,b\n2020-01-01,1,2.5\n2020-01-02,3,4.5\n", right(FOUR, AB, "'when'")),
    ("percentages", "a,b\n1,12%\n3,13%\n", sentence("'b'", "line 2 has '12%'")),
    ("marks between thousands", 'a,b\n1,"1,234.5"\n3,"2,345.5"\n', sentence("'b'", "line 2 has '1,234.5'")),
    ("a currency", "a,b\n1,$12\n3,$13\n", sentence("'b'", "line 2 has '$12'")),
    ("infinity", "a,b\n1,2.5\n3,inf\n", sentence("'b'", "row 2", "infinite")),
    ("beyond float64", "a,b\n1,2.5\n3,1e999\n", sentence("'b'", "row 2", "infinite")),
    ("a column without values", "a,b\n1,\n3,NA\n", sentence("'b'", "no value")),
    ("text alone", "a,b\nu,v\nw,x\n", sentence("no column of numbers")),
    ("a cell of a million letters", "a,b,c\n1,2.5," + "z" * 10**6 + "\n3,4.5,y\n", right(FOUR, AB, "'c'")),
    ("a number of a million digits", "a,b\n1,2.5\n3," + "9" * 10**6 + "\n5,6\n7,8\n", sentence("'b'")),
    ("a thousand columns", ",".join(f"c{j}" for j in range(1000)) + 2 * f"\n{_LONG}", right([[1.5] * 1000] * 2, None)),
    ("JSON", '[{"a": 1, "b": 2.5},\n {"a": 3, "b": 4.5}]\n', sentence()),
    ("a web page", "<!DOCTYPE html>\n<html>\n<body>404</body>\n</html>\n", sentence()),
]  # fmt: skip


class Hostile:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("x.ran"),)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, np.array(FOUR))
    return file.getvalue()


def _header(text: str, data: bytes = bytes(64)) -> bytes:
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text.encode() + b"\n" + data


_CLAIMS = "{{'descr': '<f8', 'fortran_order': False, 'shape': {}, }}"
NPY: list[tuple[str, bytes, Expected]] = [
    ("float64", _npy(np.array(FOUR)), right(FOUR, ("x1", "x2"))),
    ("columns first", _npy(np.asfortranarray(FOUR)), right(FOUR, ("x1", "x2"))),
    ("the other end first", _npy(np.array(FOUR, ">f8")), right(FOUR, ("x1", "x2"))),
    ("half precision", _npy(np.array(FOUR, np.float16)), right(FOUR, ("x1", "x2"))),
    ("one axis", _npy(np.array([1.0, 2.0])), right([[1], [2]], ("x1",))),
    ("three axes", _npy(np.ones((2, 2, 2))), Sentence(("(2, 2, 2)", "shape (n, d)"))),
    ("no rows", _npy(np.ones((0, 2))), sentence("no rows")),
    ("complex", _npy(np.array(FOUR) * 1j), sentence("complex")),
    ("pickled objects", _npy(np.array([Hostile()], object)), sentence("pickled", "not loaded")),
    ("a pickle", pickle.dumps(Hostile()), sentence("numpy.save")),
    ("several arrays", _npz(), sentence("numpy.save")),
    ("cut off", _npy(np.ones((9, 2)))[:-8], sentence("136")),
    ("petabytes", _header(_CLAIMS.format((10**15, 4))), sentence("copy or write it anew")),
    ("more than integers hold", _header(_CLAIMS.format((10**40, 4))), sentence("copy or write it anew")),
    ("a negative length", _header(_CLAIMS.format((-1, 2))), sentence("copy or write it anew")),
    ("code in the header", _header("__import__('pathlib').Path('x.ran').touch()"), sentence("numpy.save")),
    ("brackets without end", _header("(" * 5000), sentence("numpy.save")),
    ("text", b"a,b\n1,2\n", sentence("numpy.save")),
    ("empty", b"", sentence("empty")),
]


def _parquet(frame: pd.DataFrame, change: Callable[[bytes], bytes] = lambda content: content) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file)
    return change(file.getvalue())


_FRAME = pd.DataFrame(FOUR, columns=list(AB))
PARQUET: list[tuple[str, bytes, Expected]] = [
    ("numbers", _parquet(_FRAME), right()),
    ("row labels", _parquet(_FRAME.set_index(pd.Index([7, 3]))), right()),
    ("text beside", _parquet(_FRAME.assign(c=["u", "v"])), right(FOUR, AB, "'c'")),
    ("lists beside", _parquet(_FRAME.assign(c=[[1], [2]])), right(FOUR, AB, "'c'")),
    ("missing whole numbers", _parquet(_FRAME.assign(a=pd.array([1, None], "Int64"))), right([[1, 2.5], [NAN, 4.5]])),
    ("no rows", _parquet(_FRAME.iloc[:0]), sentence("no rows")),
    ("no columns", _parquet(pd.DataFrame(index=[0, 1])), sentence("no columns")),
    ("cut off", _parquet(_FRAME, lambda content: content[:-20]), sentence("write it anew")),
    ("the middle changed", _parquet(_FRAME, lambda old: old[:40] + bytes(400) + old[440:]), sentence("write it anew")),
    ("text", b"a,b\n1,2\n", sentence("write it anew")),
    ("empty", b"", sentence("empty")),
]  # fmt: skip


def _read(path: Path) -> Answer:
    from bgmm.data.table import read_table

    table = read_table(path)
    assert not Path("x.ran").exists(), "the file ran code"
    return Answer(table.values, table.features, " ".join(table.notes))


def _read_by_peers(path: Path) -> Answer:
    """The mixture sees what pandas or NumPy read; its mean tells which columns these were."""
    from sklearn.mixture import GaussianMixture

    readers: dict[str, Callable] = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".npy": np.load}
    frame = readers[path.suffix](path)
    values = np.asarray(frame)
    GaussianMixture(1).fit(values)
    return Answer(values, tuple(map(str, frame.columns)) if isinstance(frame, pd.DataFrame) else None)


def _case(kind: str, name: str, content: str | bytes, expected: Expected) -> Case:
    def make(folder: Path) -> Path:
        path = folder / f"x.{kind}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    text = content.decode("latin-1") if isinstance(content, bytes) else content
    text = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...").replace("`", "'")
    return Case(name, text, make, expected, _read, _read_by_peers)


def sections() -> dict[str, list[Case]]:
    """Cases of each kind of file."""
    kinds = {"Text files": ("csv", TEXT), "NumPy files": ("npy", NPY), "Parquet files": ("parquet", PARQUET)}
    return {title: [_case(kind, *case) for case in cases] for title, (kind, cases) in kinds.items()}  # type: ignore[arg-type, has-type]
