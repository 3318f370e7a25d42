"""What Laplace's approximation and variational inference share: which models they take, and how weighted draws become draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array

from bgmm.core.checks import numpy_generator
from bgmm.core.components import Mixture
from bgmm.core.importance import weaknesses
from bgmm.core.in_memory import InMemory
from bgmm.engines.base import Draws
from bgmm.engines.catalogue import EXACT, engine_named
from bgmm.engines.variational.draws import WORTH, Weighted, resampled
from bgmm.engines.variational.occupied import draws_over_occupied
from bgmm.program.target import Target

MORE_MODES = "look for more modes with n_starts"  # a remedy
_MAX_PARAMETERS = 1500  # a dense covariance of more is not affordable


@runtime_checkable
class Approximation(Protocol):
    """Settings of an engine that makes weighted draws."""

    @property
    def n_draws(self) -> int:
        """Draws in the tree."""

    @property
    def remedy(self) -> str:
        """What may improve the approximation."""

    def weighted(self, target: Target, *, key: Array, start: Mixture | None = None) -> tuple[Target, Weighted]:
        """Weighted draws of the posterior; the target too, now centred if the modes need it."""


def approximate(engine: Approximation, target: Target, *, key: Array, start: Mixture | None) -> Draws:
    """Draws of equal weight by the engine's weighted ones; number by number of components where some may be empty."""
    key_draws, key_chosen = jax.random.split(key)
    if target.leaves_empty:
        draws = draws_over_occupied(target, lambda of_m, key_m: engine.weighted(of_m, key=key_m), engine.n_draws, key=key_draws)
    else:
        target, weighted = engine.weighted(target, key=key_draws, start=start)
        draws = resampled(target, weighted, engine.n_draws, rng=numpy_generator(key_chosen))
    exact = [name for name in EXACT if engine_named(name).refuses(target, start) is None]
    remedies = [*([f"use {' or '.join(exact)}"] if exact else []), engine.remedy]
    stats = {name: float(draws.stats[name]) for name in WORTH}
    return replace(draws, warnings=draws.warnings + weaknesses(stats, remedies))


def refusal(engine: str, target: Target, start: object) -> str | None:
    """Why weighted draws cannot be made."""
    if not target.leaves_empty:
        if target.n_dim > _MAX_PARAMETERS:
            return f"{engine} needs the covariance of {target.n_dim} parameters, and can hold that of {_MAX_PARAMETERS}"
        return None
    if start is not None:
        return f"{engine} tries every number of occupied components under this prior of the weights; leave start out"
    if target.structure is None:
        return f"{engine} draws empty components from their prior, which it can for Gaussian components only"
    if not isinstance(target.rows, InMemory):
        return f"{engine} draws the assignment of every row under this prior of the weights, so that rows must be in memory"
    if not np.isin(np.asarray(target.rows.weights), (0.0, 1.0)).all():
        return f"{engine} assigns whole rows under this prior of the weights, and weights= has others than 0 and 1"
    return None
