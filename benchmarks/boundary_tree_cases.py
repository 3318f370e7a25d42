"""Saved trees at the boundary: names of features, and files that are damaged, foreign or hostile."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.boundary_file_cases import Hostile
from benchmarks.boundary_file_judge import Answer, Case, Expected, Right, Sentence

_NAMES = {
    "a unit": "km/h",
    "a slash": "/",
    "a point": ".",
    "two points": "..",
    "nothing": "",
    "a space": " ",
    "a percentage": "%2F",
    "two lines": "a\nb",
    "a dimension": "observation",
    "a variable": "means",
    "an elephant": "\U0001f418",
    "a formula": "$x^$",
    "ten thousand letters": "long" * 2500,
}
_WHOLE = Right("loaded as it was saved")
_DAMAGED = Sentence(("fit.nc", "damaged"))
_FOREIGN = Sentence(("fit.nc", "not a netCDF file that bgmm wrote"))


@cache
def tree() -> xr.DataTree:
    """One that is made from draws."""
    import bgmm

    rng = np.random.default_rng(8)
    means, covariances = rng.normal(size=(1, 20, 2, 2)), np.broadcast_to(np.eye(2), (1, 20, 2, 2, 2))
    return bgmm.from_draws(np.full((1, 20, 2), 0.5), means, covariances, rng.normal(size=(30, 2)))


def save_tree(folder: Path) -> Path:
    """A tree in a file."""
    import bgmm

    bgmm.save(tree(), folder / "fit.nc")
    return folder / "fit.nc"


def whole(path: Path) -> Answer:
    """Whether the file holds that tree, and ran no code."""
    import bgmm

    loaded = bgmm.load(path)
    assert not Path("x.ran").exists(), "the file ran code"
    return Answer("loaded as it was saved" if loaded["posterior"].equals(tree()["posterior"]) else "another tree")


def _named(name: str) -> Callable[[Path], Answer]:
    def ask(path: Path) -> Answer:
        import bgmm
        from bgmm import models

        frame = pd.DataFrame(np.random.default_rng(1).normal(size=(30, 2)), columns=pd.Index([name, "other"], dtype=object))
        bgmm.save(bgmm.fit(models.finite(1, components=models.Diagonal()), frame, engine=bgmm.EM(n_starts=1)), path)
        loaded = bgmm.load(path)
        found = loaded["posterior"]["means"]["feature"].to_numpy()
        same = np.array_equal(bgmm.log_density(loaded, frame.iloc[:, ::-1]), bgmm.log_density(loaded))
        return Answer("fitted, saved and read back" if list(found) == [name, "other"] and same else f"{found}")

    return ask


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def _flipped(place: float) -> Callable[[Path], None]:
    def change(content: bytes) -> bytes:
        i = int(place * len(content))
        return content[:i] + bytes([content[i] ^ 0x55]) + content[i + 1 :]

    return _bytes(change)


def _attribute(name: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value

    return change


def _claims(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["posterior"].create_dataset("bomb", shape=(10**13,), chunks=(10**6,), dtype="f8")


def _without(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file[name]

    return change


def _pickled(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["pickled"] = np.void(pickle.dumps(Hostile()))
        file["observed_data"].create_dataset("pickled", data=np.frombuffer(pickle.dumps(Hostile()), np.uint8))


def _other(path: Path) -> None:
    path.unlink()
    xr.Dataset({"a": ("b", [1.0])}).to_netcdf(path, engine="h5netcdf")


def _plain(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = [1.0, 2.0]


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _group(path: Path) -> None:
    path.unlink()
    xr.DataTree.from_dict({"posterior": xr.Dataset({"a": ("b", [1.0])})}).to_netcdf(path, engine="h5netcdf")


CHANGED: list[tuple[str, Callable[[Path], None], Expected]] = [
    ("as it was saved", lambda _: None, _WHOLE),
    ("cut in the middle", _bytes(lambda content: content[: len(content) // 2]), _FOREIGN),
    ("cut by a hundred bytes", _bytes(lambda content: content[:-100]), _FOREIGN),
    ("cut after its signature", _bytes(lambda content: content[:8]), _FOREIGN),
    ("its checksum cut off", _bytes(lambda content: content[:-44]), _WHOLE),
    *((f"a byte changed at {share:.0%}", _flipped(share), _DAMAGED) for share in (0.001, 0.03, 0.1, 0.3, 0.6, 0.9)),
    ("bytes appended", _bytes(lambda content: content + bytes(100)), _WHOLE),
    ("empty", _bytes(lambda _: b""), _FOREIGN),
    ("text", _bytes(lambda _: b"a,b\n1,2\n"), _FOREIGN),
    ("netCDF 3", _bytes(lambda _: b"CDF\x01" + bytes(60)), _FOREIGN),
    ("a folder", _folder, Sentence(("fit.nc", "folder"))),
    ("no file", lambda path: path.unlink(), Sentence(("fit.nc", "does not exist"))),
    ("another netCDF file", _other, Sentence(("fit.nc", "no mixture"))),
    ("another HDF5 file", _plain, Sentence(("fit.nc", "no mixture"))),
    ("a posterior without mixtures", _group, Sentence(("fit.nc", "no mixture", "'weights'"))),
    ("without its means", _without("posterior/means"), Sentence(("fit.nc", "no mixture", "'means'"))),
    ("what it says of itself is no JSON", _attribute("bgmm", "{"), Sentence(("fit.nc", "no mixture"))),
    ("what it says of itself is a number", _attribute("bgmm", "3"), Sentence(("fit.nc", "no mixture", "'bgmm'"))),
    ("petabytes claimed", _claims, _FOREIGN),
    ("pickles inside", _pickled, _WHOLE),
    ("code for a family", _attribute("bgmm", json.dumps({"components": "__import__('os').abort()"})), _WHOLE),
    ("a remark of another program", _attribute("remark", "seen"), _WHOLE),
]


def _case(name: str, change: Callable[[Path], None], expected: Expected) -> Case:
    def make(folder: Path) -> Path:
        path = save_tree(folder)
        change(path)
        return path

    return Case(name, "fit.nc", make, expected, whole)


def sections() -> dict[str, list[Case]]:
    """Names that are saved, and files that are loaded."""
    right = Right("fitted, saved and read back")
    names = [Case(said, repr(name), lambda folder: folder / "fit.nc", right, _named(name)) for said, name in _NAMES.items()]
    return {"Names of features": names, "Saved trees": [_case(*case) for case in CHANGED]}
