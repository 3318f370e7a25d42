"""Compiled programs are kept on disk: a second process loads in a tenth of a second what took seconds to compile.

Inside the public functions JAX's persistent cache is on, in a folder that only its owner may write, and afterwards JAX's
settings are as they were. A cache that the user has set up for JAX is used instead. The environment variable ``BGMM_CACHE_DIR``
names another folder; empty, it turns the cache off.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

import jax
from jax.experimental.compilation_cache import compilation_cache

_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,  # many programs are small, and each counts
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
_MOST_BYTES = 1_000_000_000  # on disk; beyond it, the programs that were not used for longest are deleted
_lock = threading.Lock()
_inside = 0  # calls of public functions under way, in all threads
_before: dict[str, object] = {}


@contextmanager
def kept_programs() -> Iterator[None]:
    """Keep what is compiled meanwhile, unless the user's own cache does so."""
    entered = _enter()
    try:
        yield
    finally:
        if entered:
            _leave()


def _enter() -> bool:
    global _inside  # noqa: PLW0603
    with _lock:
        if _inside == 0:
            folder = _folder(os.environ.get("BGMM_CACHE_DIR"))
            if folder is None or jax.config.jax_compilation_cache_dir:
                return False
            wanted = _SETTINGS | {"jax_compilation_cache_dir": folder}
            _before.update({name: getattr(jax.config, name) for name in wanted})
            for name, value in wanted.items():
                jax.config.update(name, value)
        _inside += 1
        return True


def _leave() -> None:
    global _inside  # noqa: PLW0603
    with _lock:
        _inside -= 1
        if _inside == 0:
            for name, value in _before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()  # else JAX keeps the folder for whatever is compiled next


@cache
def _folder(wanted: str | None) -> str | None:
    """The folder for programs of this kind of processor, made where it is not there; None where none can be written."""
    if wanted == "":
        return None
    try:
        folder = Path(wanted) if wanted else _user_cache() / "bgmm"
        folder = folder / hashlib.sha256(_processor().encode()).hexdigest()[:12]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
        _shrink(folder)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    return str(folder)


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """What programs are compiled for: a home may be shared by machines whose processors know other instructions."""
    info = Path("/proc/cpuinfo")
    flags = [line for line in info.read_text().splitlines() if line.startswith("flags")] if info.exists() else []
    return " ".join([platform.machine(), platform.processor(), *flags[:1]])


def _shrink(folder: Path) -> None:
    files = sorted(((path.stat(), path) for path in folder.iterdir()), key=lambda item: item[0].st_atime)
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in files:
        if total <= _MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size
