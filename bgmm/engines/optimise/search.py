"""From guesses to modes: ascents from all, or from the best, and from what split-and-merge moves make of their ends.

Most starts are dropped early: many rows are first searched on a few of them, and only the best starts then see all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bgmm.core.checks import numpy_generator
from bgmm.core.components import Mixture
from bgmm.core.in_memory import InMemory, subsample
from bgmm.core.progress import stage
from bgmm.engines.optimise.ascent import ascend, begun, is_small
from bgmm.engines.optimise.objective import Objective, Optimum
from bgmm.engines.optimise.split_merge import best_of, improved, sketch_of
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the search."""

    few_rows: int = 8192  # that are searched first, at least
    rows_for_each: int = 2  # and so many for each parameter of the mixture
    whole: int = 2  # times as many rows, up to which all of them are searched at once
    passes_over_few: int = 20  # for each start
    passes_to_mode_of_few: int = 300  # for the best: from the mode of few rows it is not far to that of all
    apart: float = 5.0  # nats of the few rows between different modes, after a rough search
    kept: int = 3  # starts that see all rows
    misled: float = 1e-3  # relative error of statistics above which a search without centres is not to be trusted at all


CONSTANTS = Constants()


def search(target: Target, objective: Objective, guesses: Mixture, *, key: Array, moves: bool = True) -> tuple[Target, Optimum]:
    """The optima that all guesses (a leading axis) lead to; the target too, now centred if the optima need it.

    From many rows, only the starts that did best on a few of them come back. Split-and-merge ``moves`` of the best ones give
    further starts.
    """
    n_starts = len(guesses.log_weights)
    with stage(f"looking for modes from {n_starts} {'start' if n_starts == 1 else 'starts'}"):
        return _centred_search(target, objective, guesses, key, moves)


def _centred_search(target: Target, objective: Objective, guesses: Mixture, key: Array, moves: bool) -> tuple[Target, Optimum]:
    optima = _search(target, objective, guesses, key, moves)
    found = np.isfinite(optima.objective)
    components = jax.tree.map(lambda a: np.asarray(a)[found], optima.mixture.components)
    if target.centred or not components.needs_centres(target.rows.dtype):
        return target, optima
    target = replace(target, centred=True)
    if components.needs_centres(target.rows.dtype, lost=CONSTANTS.misled):
        return target, _search(target, objective, guesses, key, moves)
    order = np.lexsort((-heights(optima), optima.collapsed))  # a collapsed start may be the highest
    n_slots = len(guesses.log_weights)
    best = order[:n_slots]
    last = _ascend_from(target, objective, optima, best, n_slots)
    return target, last._replace(n_passes=last.n_passes + np.asarray(optima.n_passes)[best])


def heights(optima: Optimum) -> Float[np.ndarray, " starts"]:
    """The objective that each start reached, minus infinity where it was lost; an error when all were."""
    height = np.where(np.isfinite(optima.objective), optima.objective, -np.inf)
    if not np.isfinite(height).any():
        raise ValueError("no restart reached a finite log posterior; check the priors against the data")
    return height


def distinct(
    height: Float[np.ndarray, " starts"], eligible: Bool[np.ndarray, " starts"], *, apart: float = 1e-3
) -> list[Int[np.ndarray, " _"]]:
    """Starts that ended at one height (to ``apart`` nats), height by height, the highest first.

    Only the ``eligible`` ones among those that were not lost, unless none is eligible.
    """
    kept = np.isfinite(height)
    kept = kept & eligible if (kept & eligible).any() else kept
    order = np.argsort(-height, kind="stable")
    order = order[kept[order]]
    return np.split(order, np.flatnonzero(-np.diff(height[order]) > apart) + 1)


def _search(target: Target, objective: Objective, guesses: Mixture, key: Array, moves: bool) -> Optimum:
    n, few, rng = target.rows.n_counted, _few_rows(target), numpy_generator(key)
    if n < CONSTANTS.whole * few and isinstance(target.rows, InMemory):
        return _explored(target, objective, guesses, moves, apart=1e-3, rng=rng, whole=True)
    n_slots = len(guesses.log_weights)
    sketch = replace(target, rows=subsample(target.rows, few, rng=rng))
    nat = 2.0 ** round(np.log2(max(n / few, 1.0)))  # of the few, about: a little more data must not compile anew
    rough = replace(objective, max_steps=min(objective.max_steps, CONSTANTS.passes_over_few), tolerance=nat)
    optima = _explored(sketch, rough, guesses, moves, apart=1.0, rng=rng, whole=False)
    if not objective.is_closed_form(target):
        close = replace(objective, max_steps=min(objective.max_steps, CONSTANTS.passes_to_mode_of_few), tolerance=nat)
        optima = _ascend_from(sketch, close, optima, _promising(optima, n / few), n_slots)
    return _ascend_from(target, objective, optima, _promising(optima, n / few), n_slots)


def _explored(
    target: Target, objective: Objective, guesses: Mixture, moves: bool, *, apart: float, rng: np.random.Generator, whole: bool
) -> Optimum:
    """The optima of all guesses, and of what moves make of the best ones, unless all ended at one height (to ``apart`` nats).

    That two starts agree is not enough: on the olive oils, seven of ten end in one mode 93 nats below the best. Where the rows
    are not the ``whole``, only the guesses that are best after some steps of EM go on; but all of a family that is not
    Gaussian, since Gaussians are misled by heavy tails.
    """
    n_slots = len(guesses.log_weights)
    sketch = None if whole or target.structure is None else sketch_of(target.rows, target.guess_structure, rng=rng)
    starts = guesses if sketch is None else best_of(sketch, guesses, CONSTANTS.kept)
    optima = ascend(target, objective, begun(target, objective, starts, n_slots), spent=10, n_slots=n_slots)
    modes = distinct(heights(optima), ~np.asarray(optima.collapsed), apart=apart)
    if not moves or len(modes) == 1 or target.n_components < 3:  # of two that are merged, none is left to split
        return optima
    sketch = sketch or sketch_of(target.rows, target.guess_structure, rng=rng)
    of_mode = (jax.tree.map(lambda a, mode=mode: a[mode[0]], optima.mixture) for mode in modes[: CONSTANTS.kept])
    moved = [found for mixture in of_mode if (found := improved(sketch, mixture)) is not None]
    if not moved:
        return optima
    again = jax.tree.map(lambda *a: np.stack(a), *jax.device_get(moved))
    further = ascend(target, objective, begun(target, objective, again, n_slots), spent=10, n_slots=n_slots)
    return jax.tree.map(lambda a, b: np.concatenate([a, b]), optima, further)


def _few_rows(target: Target) -> int:
    """Rows to search first: enough for every parameter of the mixture to have some of its own."""
    return max(CONSTANTS.few_rows, CONSTANTS.rows_for_each * target.n_dim)


def _promising(optima: Optimum, rows_for_each: float) -> Int[np.ndarray, " _"]:
    """The starts, at most three and from different modes, that may be best on all rows after a search on a few of them.

    The gap between two modes that are g nats apart on all rows is known from the few to a standard error of about
    sqrt(2 g N / n): row by row the log ratio of densities has about twice its mean as variance. Five of them decide.
    """
    height = heights(optima)
    modes = distinct(height, ~np.asarray(optima.collapsed), apart=CONSTANTS.apart * rows_for_each)
    best = np.array([starts[0] for starts in modes])
    return best[height[best[0]] - height[best] <= 50 * rows_for_each][: CONSTANTS.kept]


def _ascend_from(target: Target, objective: Objective, optima: Optimum, some: Int[np.ndarray, " _"], n_slots: int) -> Optimum:
    """The optima that some of the optima of another search lead to."""
    starts = optima.mixture if objective.is_closed_form(target) else optima.z
    n_slots = len(some) if is_small(target) else n_slots  # side by side, an empty place takes as long as a start
    return ascend(target, objective, jax.tree.map(lambda a: a[some], starts), spent=0, n_slots=n_slots)
