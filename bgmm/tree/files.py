"""Saving trees to netCDF files and loading them back."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import xarray as xr

from bgmm.tree.question import of_tree
from bgmm.tree.read import has_mixtures, mixtures_of


@of_tree
def save(tree: xr.DataTree, path: str | Path) -> None:
    """Write the tree to a netCDF file, whole or not at all.

    :raises ValueError: when the folder is missing or cannot be written.
    """
    with replacing(path) as unfinished:
        tree.to_netcdf(unfinished, engine="h5netcdf")


class replacing:  # noqa: N801 (read as a verb)
    """A path to write to that takes the place of ``path`` once the block has ended without an error."""

    def __init__(self, path: str | Path):
        self.path = Path(path).resolve()  # a link stays, what it points to is replaced

    def __enter__(self) -> Path:
        if self.path.exists() and not self.path.is_file():
            raise ValueError(f"'{self.path}' is a {'folder' if self.path.is_dir() else 'device'}; give the name of a file")
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".bgmm-", suffix=self.path.suffix)
        except OSError as error:
            raise ValueError(f"cannot write '{self.path}': {error.strerror or error}; choose another folder") from None
        os.close(handle)
        self.unfinished = Path(name)
        return self.unfinished

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None:
            mask = os.umask(0)
            os.umask(mask)
            self.unfinished.chmod(0o666 & ~mask)
            self.unfinished.replace(self.path)
        else:
            self.unfinished.unlink(missing_ok=True)


def load(path: str | Path) -> xr.DataTree:
    """Read a tree that ``save`` wrote, into memory; the file is closed again.

    :raises ValueError: when there is no such file, or it is not a tree of a mixture.
    """
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise ValueError(f"'{path}' {what}; give a file that bgmm.save or 'bgmm fit' wrote")
    try:
        with xr.open_datatree(path, engine="h5netcdf", phony_dims="sort") as lazy:
            tree = xr.DataTree.from_dict({name: node.to_dataset().load() for name, node in lazy.children.items()})
            tree.attrs = lazy.attrs
    except (OSError, ValueError) as error:
        raise ValueError(f"'{path}' is not a netCDF file that bgmm wrote ({type(error).__name__})") from None
    try:
        _ = has_mixtures(tree) and mixtures_of(tree)
    except ValueError as error:
        raise ValueError(f"'{path}' holds no mixture: {error}") from None
    return tree
