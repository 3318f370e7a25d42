"""The engines by name: a new one is a line here. They are imported when they are used, so that the command starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bgmm.engines.base import Engine

ENGINES: Mapping[str, tuple[str, str]] = {  # module and class of the settings
    "em": ("bgmm.engines.em", "EM"),
    "gibbs": ("bgmm.engines.gibbs.engine", "Gibbs"),
    "laplace": ("bgmm.engines.laplace", "Laplace"),
    "nuts": ("bgmm.engines.nuts", "NUTS"),
    "vi": ("bgmm.engines.vi", "VI"),
}
EXACT = ("nuts", "gibbs")  # whose draws are of the posterior itself


def engine_named(name: str) -> Engine:
    """The engine of this name with default settings."""
    module, settings = ENGINES[name]
    return getattr(import_module(module), settings)()
