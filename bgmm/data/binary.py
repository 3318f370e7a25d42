"""Arrays and frames from binary files: .npy and Parquet. Nothing that a file holds is run or unpickled."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def read_npy(name: str, file: BinaryIO) -> np.ndarray:
    """The array of a .npy file, which must be as long as its header says: memory is taken only for what is there."""
    try:
        array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name} holds no array of numbers that NumPy can read; write it with numpy.save") from error
    return array


def read_parquet(name: str, file: BinaryIO) -> pd.DataFrame:
    """The table of a Parquet file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("reading Parquet needs pyarrow: pip install 'bgmm[parquet]'") from error
    try:
        return pa.parquet.read_table(file).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} is not a Parquet file that pyarrow can read; write it anew") from error
