"""Files that are larger than memory: rows that are read block by block, each time a pass needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bgmm.core.scaling import CHUNK
from bgmm.data.binary import NO_PARQUET, npy_header, pyarrow_parquet
from bgmm.data.columns import lost_digits
from bgmm.data.source import check_name, distinct_names, in_double


@dataclass(frozen=True)
class Stream:
    """Rows in a file. ``bgmm.fit`` takes it in the place of an array; nothing of the length of the file is kept in memory."""

    path: Path
    n_rows: int
    features: tuple[str, ...]
    columns: tuple[int, ...] = field(repr=False)

    def raw(self, start: int, stop: int) -> list[np.ndarray]:
        """Rows start .. stop - 1, column by column, as the file holds them."""
        raise NotImplementedError

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start .. stop - 1, shape (stop - start, d), in float64.

        :raises ValueError: when the file is damaged, or no longer the one that was opened.
        """
        return in_double(np.column_stack(self.raw(start, stop)))

    def chunks(self) -> Iterator[np.ndarray]:
        """All rows, some at a time."""
        for start in range(0, self.n_rows, CHUNK):
            yield self.read(start, min(start + CHUNK, self.n_rows))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """These rows, in increasing order."""
        parts = [self.read(int(row), int(row) + 1) for row in rows]
        return np.concatenate(parts)

    def lost_digits(self) -> list[str]:
        """A sentence for each column with whole numbers that float64 rounds; only columns of 64 bits are looked at."""
        found: dict[int, str] = {}
        looked_at = {j for j, one in enumerate(self.raw(0, 1)) if one.dtype.kind in "iu" and one.dtype.itemsize == 8}
        for start in range(0, self.n_rows, CHUNK):
            if looked_at <= found.keys():
                break
            raw = self.raw(start, min(start + CHUNK, self.n_rows))
            for j in looked_at - found.keys():
                values, given = raw[j].astype(np.float64), partial(raw.__getitem__, j)
                said = lost_digits(f"'{self.path}'", self.features[j], values, given, start)
                found |= {} if said is None else {j: said}
        return [found[j] for j in sorted(found)]


class NpyStream(Stream):
    """Rows of an array (n, d), or (n,) for one feature, in a .npy file, through a memory map."""

    def raw(self, start: int, stop: int) -> list[np.ndarray]:
        """From the memory map."""
        return list(self._at(slice(start, stop)).T)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """At once."""
        return in_double(self._at(rows))

    def _at(self, rows: slice | np.ndarray) -> np.ndarray:
        """From the memory map, which is opened and closed here: pages that were read do not stay in this process."""
        with _unchanged(self.path):
            found = np.load(self.path, mmap_mode="r")[rows]
            return (found if found.ndim == 2 else found[:, None])[:, list(self.columns)]


@dataclass(frozen=True)
class ParquetStream(Stream):
    """Rows of numeric columns of a Parquet file, row group by row group."""

    starts: tuple[int, ...] = field(default=(), repr=False)  # first row of each row group, and the number of rows

    def raw(self, start: int, stop: int) -> list[np.ndarray]:
        """From the row groups that hold these rows."""
        import pyarrow.parquet as pq

        first, last = np.searchsorted(self.starts, [start, stop - 1], side="right") - 1
        low = start - self.starts[first]
        with _unchanged(self.path):
            with pq.ParquetFile(self.path) as file:
                table = file.read_row_groups(list(range(first, last + 1)), columns=list(self.features))
            if len(table) != self.starts[last + 1] - self.starts[first]:
                raise ValueError("another number of rows than its metadata say")
            return [table[name].to_numpy()[low : low + stop - start] for name in self.features]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Row group by row group."""
        group = np.searchsorted(self.starts, rows, side="right") - 1
        parts = [
            self.read(self.starts[g], self.starts[g + 1])[rows[group == g] - self.starts[g]] for g in np.unique(group).tolist()
        ]
        return np.concatenate(parts)


@contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    """A block that reads rows, which fails where the rows are damaged, or the file is not the one that was opened."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # damaged rows raise whatever their readers do
        raise ValueError(
            f"the rows of '{path}' cannot be read: it is damaged, or was changed meanwhile; write it anew"
        ) from error


def stream(path: str | Path, columns: Sequence[str] | None = None) -> Stream:
    """Rows of a file that ``bgmm.fit`` reads block by block instead of holding them in memory.

    :param path: a .npy file with an array (n, d), or (n,) for one feature, whose features are named x1, x2, ..., or a Parquet
        file.
    :param columns: names of the columns to use; by default all (of Parquet, all numeric ones).
    :raises ValueError: when there is no such file, or it is of another kind; the sentence says what to do.
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"a stream needs the path of a file, not {type(path).__name__}; bgmm.fit takes other data as they are")
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"no file '{path}'")
    if path.suffix == ".npy":
        with path.open("rb") as file:
            shape, dtype = npy_header(f"'{path}'", file)
        if len(shape) not in (1, 2) or dtype.kind not in "iuf" or 0 in shape:
            raise ValueError(f"'{path}' must hold an array of numbers of shape (n, d), or (n,), not {dtype} of {shape}")
        names = tuple(f"x{j + 1}" for j in range(shape[1] if len(shape) == 2 else 1))
        kept = _selected(path, names, columns)
        return NpyStream(path, shape[0], kept, tuple(names.index(name) for name in kept))
    if path.suffix == ".parquet":
        return _parquet(path, columns)
    raise ValueError(f"'{path}' must be a .npy or .parquet file to be streamed; bgmm.fit takes other tables in memory")


def _parquet(path: Path, columns: Sequence[str] | None) -> ParquetStream:
    pq = pyarrow_parquet()
    import pyarrow as pa

    try:
        with pq.ParquetFile(path) as file:
            types, metadata = file.schema_arrow, file.metadata
            index = (types.pandas_metadata or {}).get("index_columns", [])  # of a frame that pandas wrote: labels of its rows
            numbers = [f.name for f in types if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
            numeric = tuple(name for name in numbers if name not in index)
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            if min(sizes, default=0) < 0:
                raise ValueError("a negative number of rows")
    except Exception as error:  # the metadata of a hostile file raise whatever their readers do
        raise ValueError(NO_PARQUET.format(f"'{path}'")) from error
    kept = _selected(path, numeric, columns)
    starts = tuple(np.concatenate([[0], np.cumsum(sizes)]).tolist())
    if starts[-1] == 0:
        raise ValueError(f"'{path}' has no rows")
    return ParquetStream(path, starts[-1], kept, tuple(range(len(kept))), starts)


def _selected(path: Path, names: tuple[str, ...], columns: Sequence[str] | None) -> tuple[str, ...]:
    """The columns to use, which must be there and have names that a tree can hold."""
    if isinstance(columns, str):
        raise ValueError(f"columns must be a list of names, such as [{columns!r}], not {columns!r}")
    kept = names if columns is None else tuple(distinct_names("the list of columns to use", columns))
    for name in kept:
        if name not in names:
            raise ValueError(f"'{path}' has no numeric column '{name}'; it has {', '.join(names)}")
        check_name(f"column {name!r} of '{path}'", name)
    if not kept:
        raise ValueError(f"'{path}' has no column of numbers")
    return kept
