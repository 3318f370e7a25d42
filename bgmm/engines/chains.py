"""How the draws of chains are collected, and when a sampler may stop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from bgmm.engines.base import Draws, Enough

_FIRST_LOOK = 250  # draws of each chain

type Chunks = Generator[Any, None, None]  # pytrees of arrays (chain, draw, ...), draw after draw, warm-up first


def sampled(chunks: Chunks, n_warmup: int, n_draws: int, described: Callable[[Any], Draws], enough: Enough | None) -> Draws:
    """The draws after warm-up: all ``n_draws``, or the first 250, 500, 1000, ... that are ``enough``.

    Each look takes twice the draws of the last, so that few shapes are compiled and few looks bias the last one.
    """
    with closing(chunks):
        for part in after_warmup(chunks, n_warmup, [*([] if enough is None else _looks(n_draws)), n_draws]):
            draws = described(part)
            n = draws.mixture.log_weights.shape[1]
            if n == n_draws or enough is None:
                break
            if enough(draws):
                told = f"Sampling stopped after {n} of at most {n_draws} draws of each chain, when these diagnostics were met."
                return replace(draws, stopped=told)
    return draws


def after_warmup(chunks: Chunks, n_warmup: int, sizes: Iterable[int]) -> Chunks:
    """The first draws after warm-up as one pytree: as many as each of the increasing ``sizes`` says, once they are there."""
    kept: list[Any] = []
    have = -n_warmup
    remaining = iter(sizes)
    size = next(remaining, None)
    for chunk in chunks:
        n_warm = max(0, -have)
        have += jax.tree.leaves(chunk)[0].shape[1]
        if have > 0:
            kept.append(_between(chunk, n_warm, None))
        while size is not None and size <= have:
            yield _between(jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *kept), 0, size)
            size = next(remaining, None)


def _looks(n_draws: int) -> Iterator[int]:
    look = _FIRST_LOOK
    while look < n_draws:
        yield look
        look *= 2


def _between(chunk: Any, first: int, last: int | None) -> Any:
    return jax.tree.map(lambda a: np.asarray(a)[:, first:last], chunk)
