"""Arrays and frames from binary files: .npy and Parquet. Nothing that a file holds is run or unpickled."""

from __future__ import annotations

import math
import os
import reprlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


NO_PARQUET = "{} is not a Parquet file that pyarrow can read; write it anew"
_UNREADABLE = "{} holds no array that NumPy can read; write it with numpy.save"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # which differs in the encoding of names alone
}


def npy_header(name: str, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array in a .npy file, which must be as long as these say; the file is left where the array begins.

    :raises ValueError: for pickled objects, which are never loaded, for another kind of file, and for one that is cut off.
    """
    try:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except Exception as error:  # a hostile header raises whatever the parser of Python does
        raise ValueError(_UNREADABLE.format(name)) from error
    if any(type(size) is not int for size in shape):  # True is an integer to the parser, and to nothing after it
        raise ValueError(_UNREADABLE.format(name))
    if dtype.hasobject:
        raise ValueError(
            f"{name} holds pickled objects, which are not loaded because that can run code; save an array of numbers"
        )
    needed, found = math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size - file.tell()
    if min(shape, default=0) < 0 or needed > found:
        raise ValueError(
            f"{name} says that it holds an array of shape {reprlib.repr(shape)}, {needed} bytes, and has {max(found, 0)}; "
            "copy or write it anew"
        )
    return shape, dtype


def read_npy(name: str, file: BinaryIO) -> np.ndarray:
    """The array of a .npy file. Memory is taken only for what is there."""
    npy_header(name, file)
    file.seek(0)
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except (OverflowError, ValueError) as error:  # more dimensions than NumPy has, or an endless one beside one of length 0
        raise ValueError(_UNREADABLE.format(name)) from error


def pyarrow_parquet() -> Any:
    """The module that reads Parquet."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("reading Parquet needs pyarrow: pip install 'bgmm[parquet]'") from error
    return pyarrow.parquet


def read_parquet(name: str, file: BinaryIO) -> pd.DataFrame:
    """The table of a Parquet file."""
    pq = pyarrow_parquet()
    try:
        return pq.read_table(file).to_pandas(integer_object_nulls=True)
    except Exception as error:  # the metadata of a hostile file raise whatever their readers do
        raise ValueError(NO_PARQUET.format(name)) from error
