"""Saving trees to netCDF files and loading them back.

A file is written whole or not at all: in memory, then into a file beside it, which takes its name. After the netCDF file stand
the SHA-256 of its bytes, which other programs do not look at and drop when they change the file: the HDF5 library can loop for
ever on a damaged file. Nothing that a file holds is run or unpickled.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import xarray as xr

from bgmm.tree.question import of_tree
from bgmm.tree.read import about, has_mixtures, mixtures_of

_SEAL = b"bgmm sha256:"
_SEAL_LENGTH = len(_SEAL) + hashlib.sha256().digest_size
_HDF5 = b"\x89HDF\r\n\x1a\n\0"  # how a file begins, in the version of the format that h5py writes,
_END = slice(40, 48)  # and where such a file says how long it is
_PIECE = 2**20  # bytes that are read at once
_MOST_PACKED = 1100  # times that deflate can shorten: it stays below 1032


@of_tree
def save(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write the tree to a netCDF file, whole or not at all.

    :raises ValueError: when the folder is missing or cannot be written, or the disk is full.
    """
    _check_path("save", path)
    content = tree.to_netcdf(engine="h5netcdf")  # in memory: on a full disk the HDF5 library ends the process
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(content)
        file.write(_SEAL + hashlib.sha256(content).digest())
        file.flush()
        os.fsync(file.fileno())


class replacing:  # noqa: N801 (read as a verb)
    """A path to write to that takes the place of ``path`` once the block has ended without an error.

    :raises ValueError: when that path cannot be written; what stood there is as it was.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path).resolve()  # a link stays, what it points to is replaced

    def __enter__(self) -> Path:
        if self.path.exists() and not self.path.is_file():
            raise ValueError(f"'{self.path}' is a {'folder' if self.path.is_dir() else 'device'}; give the name of a file")
        self.unfinished = self.path.with_name(f".bgmm-{secrets.token_hex(8)}{self.path.suffix}")
        try:
            self.unfinished.touch(exist_ok=False)
        except OSError as error:
            raise ValueError(f"cannot write '{self.path}': {error.strerror or error}; choose another folder") from None
        return self.unfinished

    def __exit__(self, kind, value, traceback) -> None:
        try:
            if kind is None:
                self.unfinished.replace(self.path)
        except OSError as error:
            value = error
        finally:
            self.unfinished.unlink(missing_ok=True)
        if isinstance(value, OSError):
            reason = value.strerror or type(value).__name__
            raise ValueError(f"cannot write '{self.path}': {reason}; make room, or choose another folder") from None


def load(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a tree that ``save`` wrote, into memory; the file is closed again.

    :raises ValueError: when there is no such file, it is damaged, or it is not a tree of a mixture.
    """
    _check_path("load", path)
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise ValueError(f"'{path}' {what}; give a file that bgmm.save or 'bgmm fit' wrote")
    try:
        damaged = _is_damaged(Path(path))
    except OSError as error:
        raise ValueError(f"'{path}' cannot be read: {error.strerror or error}") from None
    if damaged:
        raise ValueError(f"'{path}' is damaged: its bytes are not those that bgmm.save wrote; copy it anew, or repeat the fit")
    try:
        tree = _read(Path(path))
    except Exception as error:  # of other files, HDF5 and its readers raise anything
        raise ValueError(f"'{path}' is not a netCDF file that bgmm wrote ({type(error).__name__})") from None
    try:
        about(tree)
        _ = has_mixtures(tree) and mixtures_of(tree)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{path}' holds no mixture: {' '.join(str(error).split())}") from None
    return tree


def _check_path(function: str, path: object) -> None:
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{function} needs the path of a file, not {type(path).__name__}; give its name, such as 'fit.nc'")


def _is_damaged(path: Path) -> bool:
    """Whether there is anything behind the netCDF file but the seal of its bytes, before what was appended."""
    size = path.stat().st_size - _SEAL_LENGTH
    with path.open("rb") as file:
        head = file.read(_END.stop)
        file.seek(max(size, 0))
        seal = file.read()
        if size < 0 or not seal.startswith(_SEAL):
            end = int.from_bytes(head[_END], "little")
            if not head.startswith(_HDF5) or path.stat().st_size <= end:
                return False
            size = file.seek(end)  # bytes may have been appended, but the seal must stand
            seal = file.read(_SEAL_LENGTH)
        file.seek(0)
        digest = hashlib.sha256()
        while size > 0 and (piece := file.read(min(_PIECE, size))):
            digest.update(piece)
            size -= len(piece)
    return seal != _SEAL + digest.digest()


def _read(path: Path) -> xr.DataTree:
    import h5py

    with h5py.File(path) as file:
        file.attrs.get("_nc3_strict")  # where this fails, h5netcdf does, and once more when what it began is deleted
    with xr.open_datatree(path, engine="h5netcdf", phony_dims="sort") as lazy:
        groups = {name: node.to_dataset() for name, node in lazy.children.items()}
        if sum(group.nbytes for group in groups.values()) > _MOST_PACKED * path.stat().st_size:
            raise ValueError("the file says that it holds more than it can")
        tree = xr.DataTree.from_dict({name: group.load() for name, group in groups.items()})
        tree.attrs = lazy.attrs
    return tree
