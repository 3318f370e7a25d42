"""Programs that run so briefly that their compilation is what takes time, compiled without LLVM's optimisations.

Compilation then takes a third to a half less time, and the program runs 1.4 to 3 times slower.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

one_off = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def one_off_if(brief: Callable[[Any], bool], **options) -> Callable[[Callable], Callable]:
    """``jax.jit`` for functions whose first argument says whether they run briefly; only outside of compiled functions."""

    def decorated(function: Callable) -> Callable:
        quickly_compiled, optimised = one_off(function, **options), jax.jit(function, **options)

        @functools.wraps(function)
        def call(first, *args, **kwargs):
            return (quickly_compiled if brief(first) else optimised)(first, *args, **kwargs)

        return call

    return decorated
