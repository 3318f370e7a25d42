"""How the draws of chains are collected, when a sampler may stop, and what is kept where the user interrupts it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from bgmm.engines.base import Draws, Enough

_FIRST_LOOK = 250  # draws of each chain
_BETWEEN_LOOKS = 1.5  # times as many draws at each look as at the one before
ON_INTERRUPT = ("raise", "keep")  # what a sampler does on KeyboardInterrupt

type Chunks = Generator[Any, None, None]  # pytrees of arrays (chain, draw, ...), draw after draw, warm-up first


class Collected:
    """The draws after warm-up that have come so far."""

    def __init__(self, n_warmup: int):
        self._n_warm, self._chunks = n_warmup, list[Any]()
        self.n = 0  # draws of each chain

    def add(self, chunk: Any) -> None:
        """Keep what of the chunk comes after warm-up."""
        length = jax.tree.leaves(chunk)[0].shape[1]
        n_warm = min(self._n_warm, length)
        if n_warm < length:
            self._chunks.append(_between(chunk, n_warm, None))
        self._n_warm -= n_warm
        self.n += length - n_warm

    def first(self, size: int) -> Any:
        """The first draws as one pytree."""
        return _between(jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *self._chunks), 0, size)


def sampled(
    chunks: Chunks,
    n_warmup: int,
    n_draws: int,
    described: Callable[[Any], Draws],
    enough: Enough | None,
    on_interrupt: str = "raise",
) -> Draws:
    """The draws after warm-up: all ``n_draws``, or the first 250, 375, 560, ... that are ``enough``.

    Each look takes half as many draws again as the last, so that few looks bias the last one.

    :param on_interrupt: "keep" returns the draws that have come when the user interrupts, if there are any, and says so.
    """
    collected = Collected(n_warmup)
    sizes = [*([] if enough is None else stopping_points(n_draws)), n_draws]
    try:
        with closing(chunks):
            for part in after_warmup(chunks, n_warmup, sizes, collected):
                draws = described(part)
                n = draws.mixture.log_weights.shape[1]
                if n == n_draws or enough is None:
                    break
                if enough(draws):
                    told = (
                        f"Sampling stopped after {n} of at most {n_draws} draws of each chain, when these diagnostics were met."
                    )
                    return replace(draws, stopped=told)
    except KeyboardInterrupt:
        n = min(collected.n, n_draws)
        if on_interrupt != "keep" or n == 0:
            raise
        draws = described(collected.first(n))
        told = f"sampling was interrupted after {n} of at most {n_draws} draws of each chain, which are kept"
        return replace(draws, stopped=f"{told[0].upper()}{told[1:]}.", interrupted=True, warnings=[*draws.warnings, told])
    return draws


def after_warmup(chunks: Chunks, n_warmup: int, sizes: Iterable[int], collected: Collected | None = None) -> Chunks:
    """The first draws after warm-up as one pytree: as many as each of the increasing ``sizes`` says, once they are there.

    :param collected: holds the draws; a new one by default.
    """
    collected = Collected(n_warmup) if collected is None else collected
    remaining = iter(sizes)
    size = next(remaining, None)
    for chunk in chunks:
        collected.add(chunk)
        while size is not None and size <= collected.n:
            yield collected.first(size)
            size = next(remaining, None)


def stopping_points(n_draws: int) -> Iterator[int]:
    """Numbers of draws, fewer than ``n_draws``, after which a sampler may stop."""
    look = _FIRST_LOOK
    while look < n_draws:
        yield look
        look = int(_BETWEEN_LOOKS * look) // 5 * 5  # a whole number of the chunks in which Gibbs draws


def _between(chunk: Any, first: int, last: int | None) -> Any:
    return jax.tree.map(lambda a: np.asarray(a)[:, first:last], chunk)
