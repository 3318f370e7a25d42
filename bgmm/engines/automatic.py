"""The engine that fits the question, where the user names none.

NUTS costs least where one mode holds the posterior, and does not move between modes far apart; Gibbs moves between modes and
numbers of components by splits, merges and jumps. So Gibbs is taken where the prior leaves components empty or their number
open, and where modes besides the heaviest have mass; NUTS elsewhere, from the modes that were found. ``benchmarks/ENGINES.md``
has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
from jaxtyping import Array

from bgmm.core.components import Mixture
from bgmm.core.progress import stage
from bgmm.engines.base import Draws, Enough
from bgmm.engines.gibbs.engine import Gibbs
from bgmm.engines.nuts import NUTS
from bgmm.engines.optimise.modes import find_modes
from bgmm.program.target import Target

_ONE_MODE = 0.95  # Laplace mass of the heaviest mode from which NUTS is trusted not to miss the others


@dataclass(frozen=True)
class Automatic:
    """Gibbs or NUTS with default settings: the draws say which."""

    def refuses(self, target: Target, start: object = None) -> str | None:
        """What both engines refuse."""
        refused = Gibbs().refuses(target, start)
        return refused if refused is not None and NUTS().refuses(target, start) is not None else None

    def run(self, target: Target, *, key: Array, start: Mixture | None = None, enough: Enough | None = None) -> Draws:
        """Draws by the engine that fits the target."""
        gibbs, nuts = Gibbs(), NUTS()
        able = gibbs.refuses(target, start) is None
        if able and target.leaves_empty:
            return _by(gibbs, target, key=key, enough=enough)
        key_modes, key_run = jax.random.split(key)
        centred, modes = find_modes(target, nuts.n_starts, key=key_modes, start=start)
        if able and modes.mass[0] < _ONE_MODE:
            return _by(gibbs, target, key=key_run, enough=enough)
        with stage("NUTS"):
            return replace(nuts.run_from(centred, modes, key=key_run, enough=enough), engine=nuts)


def _by(gibbs: Gibbs, target: Target, *, key: Array, enough: Enough | None) -> Draws:
    with stage("Gibbs"):
        return replace(gibbs.run(target, key=key, enough=enough), engine=gibbs)
