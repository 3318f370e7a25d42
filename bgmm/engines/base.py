"""What an engine is, and what every engine returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float

from bgmm.core.batches import in_batches
from bgmm.core.components import Mixture
from bgmm.core.factor import AnyArray
from bgmm.program.target import Target

# A mode is one point; independent draws may have importance weights; draws of chains depend on those before them.
type Kind = Literal["mode", "independent", "chains"]


@dataclass
class Draws:
    """Draws of the mixture and of the program's sites, and what the engine reports. Leading axes are chain and draw."""

    kind: Kind
    mixture: Mixture  # in the units of the rows
    sites: dict[str, np.ndarray]  # of the program, in its units; those of single components and of the weights left out
    log_prior: Float[np.ndarray, "c s"] | None  # of all sites of fixed size; None where the engine ignores priors
    stats: dict[str, np.ndarray] = field(default_factory=dict)  # (chain, draw), or as ``dims`` says
    dims: dict[str, list[str]] = field(default_factory=dict)  # of the statistics that are not one number a draw
    warnings: list[str] = field(default_factory=list)  # one sentence each
    stopped: str = ""  # a sentence, where a sampler stopped before it had to
    interrupted: bool = False  # whether the user stopped it
    engine: Engine | None = None  # that made the draws, where another one chose it


type Enough = Callable[[Draws], bool]  # whether the draws so far can be trusted, so that a sampler may stop


@runtime_checkable
class Engine(Protocol):
    """Settings of an algorithm: a frozen dataclass, whose fields a tree records."""

    def refuses(self, target: Target, start: object = None) -> str | None:
        """Why the engine cannot fit this target from this start, or None; ``fit`` adds which engines can."""

    def run(self, target: Target, *, key: Array, start: Mixture | None = None, enough: Enough | None = None) -> Draws:
        """Fit the target, beginning at ``start`` where it is given; a sampler may stop when its draws are ``enough``."""


def needs_given_k(engine: Engine, target: Target) -> str | None:
    """The refusal of an engine that cannot change the number of components."""
    if not target.discrete:
        return None
    return f"{type(engine).__name__} needs a given number of components, and here it is unknown"


@jax.jit
def _describe(target: Target, z: Float[Array, "s z"]):
    def one(z):
        traced = target.trace(z)
        return target.in_rows_units(traced.mixture), traced.sites, traced.log_prior

    return jax.lax.map(one, z, batch_size=256)


def from_unconstrained(target: Target, z: Float[AnyArray, "c s z"]) -> tuple[Mixture, dict[str, np.ndarray], np.ndarray]:
    """Mixtures, sites and log prior densities (of the sites) of unconstrained draws.

    Sites of a declared mixture that the mixture shows in the user's units are left out.
    """
    described = in_batches(lambda z: _describe(target, z), np.asarray(z).reshape(-1, z.shape[-1]))
    mixture, sites, log_prior = jax.tree.map(lambda a: a.reshape(*z.shape[:2], *a.shape[1:]), described)
    return mixture, {name: value for name, value in sites.items() if name not in target.hidden}, log_prior
