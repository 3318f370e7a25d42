"""The first argument of every question is a tree; anything else is answered with one sentence that shows the call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from bgmm.core.options import named_options

_IN_WORDS = {"x": "the rows", "n": "the number of rows", "path": "the path"}  # arguments that come after the tree


def of_tree[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """A function whose first argument is a tree, with that argument and the names of its options checked."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tree: Any = args[0] if args else kwargs.get("tree")
        if (args or "tree" in kwargs) and not isinstance(tree, xr.DataTree):
            raise ValueError(_sentence(function, tree))
        return function(*args, **kwargs)

    return named_options()(wrapped)


def _sentence(function: Callable, given: object) -> str:
    """What is said of something that is given where the tree should be."""
    name = function.__name__
    later = [
        one.name
        for one in list(inspect.signature(function).parameters.values())[1:]
        if one.kind is one.POSITIONAL_OR_KEYWORD and (one.default is one.empty or one.name in _IN_WORDS)
    ]
    then = "".join(f", then {_IN_WORDS[argument]}" for argument in later)
    call = f"bgmm.{name}({', '.join(['tree', *later])})"
    sentence = f"{name} needs the tree that bgmm.fit returned first{then}: {call}, not {type(given).__name__}"
    return sentence + (f"; bgmm.load({str(given)!r}) reads a tree from a file" if isinstance(given, str | Path) else "")
