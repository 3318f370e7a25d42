"""From guesses to modes: EM finds the basin, then L-BFGS does in few passes what EM does in many.

A step of either is one pass over the rows, and never lowers the objective. L-BFGS runs in whitened coordinates, in which the
complete-data information at the beginning of a round is the identity. Maximum likelihood in closed form is in
``maximum_likelihood``.

Most starts are dropped early: many rows are first searched on a few of them, and only the best starts then see all; and starts
whose promise is far below the best get no further round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import devices
from bgmm.core.checks import numpy_generator
from bgmm.core.components import Mixture
from bgmm.core.hmc import linear
from bgmm.core.in_memory import InMemory, subsample
from bgmm.core.lbfgs import minimise
from bgmm.core.one_off import one_off_if
from bgmm.core.progress import note, stage
from bgmm.core.whitened import whitening
from bgmm.engines.optimise.maximum_likelihood import maximum_likelihood
from bgmm.engines.optimise.objective import Objective, Optimum, first_point
from bgmm.engines.optimise.split_merge import improved, sketch_of
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the search."""

    round: int = 150  # evaluations that L-BFGS is first given; twice as many in every further round
    hopeless: float = 30.0  # nats by which a start's promise is below the best when it gets no further round
    stationary: float = 1e-4  # largest entry of the gradient at which a point counts as a mode
    sharp: float = 1e-3  # of the tolerance, for a posterior mode: its gradient matters too
    gain: float = 1e-6  # nats left to gain at which a point counts as a mode, where rounding hides the gradient
    parallel_parameters: int = 512  # parameters up to which starts run side by side
    parallel_numbers: int = 40_000  # numbers in N x K up to which starts cost less side by side than in turn
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
    best = order[: len(guesses.log_weights)]  # as many as before, so that nothing is compiled anew
    last = _ascend_from(target, objective, optima, best)
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
        return _explored(target, objective, guesses, moves, apart=1e-3, rng=rng)
    sketch = replace(target, rows=subsample(target.rows, few, rng=rng))
    nat = 2.0 ** round(np.log2(max(n / few, 1.0)))  # of the few, about: a little more data must not compile anew
    rough = replace(objective, max_steps=min(objective.max_steps, CONSTANTS.passes_over_few), tolerance=nat)
    optima = _explored(sketch, rough, guesses, moves, apart=1.0, rng=rng)
    if not objective.is_closed_form(target):
        close = replace(objective, max_steps=min(objective.max_steps, CONSTANTS.passes_to_mode_of_few), tolerance=nat)
        optima = _ascend_from(sketch, close, optima, _promising(optima, n / few))
    return _ascend_from(target, objective, optima, _promising(optima, n / few))


def _explored(
    target: Target, objective: Objective, guesses: Mixture, moves: bool, *, apart: float, rng: np.random.Generator
) -> Optimum:
    """The optima of all guesses, and of what moves make of the best ones, unless all ended at one height (to ``apart`` nats).

    That two starts agree is not enough: on the olive oils, seven of ten end in one mode 93 nats below the best.
    """
    optima = _ascend(target, objective, _begin(target, objective, guesses), spent=10)
    modes = distinct(heights(optima), ~np.asarray(optima.collapsed), apart=apart)
    if not moves or len(modes) == 1 or target.n_components < 3:  # of two that are merged, none is left to split
        return optima
    sketch = sketch_of(target.rows, target.structure, rng=rng)
    optima = jax.device_get(optima)
    of_mode = (jax.tree.map(lambda a, mode=mode: a[mode[0]], optima.mixture) for mode in modes[: CONSTANTS.kept])
    moved = [found for mixture in of_mode if (found := improved(sketch, mixture)) is not None]
    if not moved:
        return optima
    n = len(guesses.log_weights)  # as many as before, so that nothing is compiled anew
    again = jax.tree.map(lambda *a: np.stack([a[i % len(moved)] for i in range(n)]), *jax.device_get(moved))
    further = _ascend(target, objective, _begin(target, objective, again), spent=10)
    return jax.tree.map(lambda a, b: np.concatenate([a, b[: len(moved)]]), optima, jax.device_get(further))


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


def _ascend_from(target: Target, objective: Objective, optima: Optimum, some: Int[np.ndarray, " _"]) -> Optimum:
    """The optima that some of the optima of another search lead to."""
    starts = optima.mixture if objective.is_closed_form(target) else optima.z
    return _ascend(target, objective, jax.tree.map(lambda a: np.asarray(a)[some], starts), spent=0)


def _ascend(target: Target, objective: Objective, starts, *, spent: int) -> Optimum:
    """The optima that ``starts`` lead to, after so many passes over all rows."""
    starts = jax.device_get(starts)  # else, once spread, all that follows runs whole on every device, and they slow each other
    if objective.is_closed_form(target):
        return _to_maximum_likelihood(target, objective, starts)
    n, budget = np.full(len(starts), spent), CONSTANTS.round
    while True:
        optima, ended, promise = _to_posterior_mode(target, objective, starts, np.int64(min(budget, objective.max_steps)))
        n = n + np.asarray(optima.n_passes)
        optima, budget = optima._replace(n_passes=n), 2 * budget
        note(f"{n.sum()} passes over {target.rows.n_counted} rows")
        hopeless = ~(np.asarray(promise) >= np.nanmax(optima.objective) - CONSTANTS.hopeless)
        if np.all(np.asarray(ended) | hopeless) or n.max() >= objective.max_steps:
            return optima
        starts = optima.z


def is_small(target: Target) -> bool:
    """Whether a pass over the rows is short."""
    numbers = target.rows.n_places * target.n_components
    return numbers <= CONSTANTS.parallel_numbers and target.n_dim <= CONSTANTS.parallel_parameters


def _for_each(target: Target, function: Callable) -> Callable:
    """``function`` of every start: side by side while a pass is short, else in turn, so that none waits for the slowest.

    Where the rows are in memory and not spread over the devices, the starts are.
    """
    rows = target.rows
    if is_small(target):
        return jax.vmap(function)
    if not isinstance(rows, InMemory) or rows.devices.n > 1:
        return partial(jax.lax.map, function)
    return partial(devices.map_on_each, function)


@one_off_if(is_small)
def _begin(target: Target, objective: Objective, guesses: Mixture) -> Mixture | Float[Array, "starts z"]:
    """From where to ascend: the guesses themselves for the closed form, else unconstrained points."""
    if objective.is_closed_form(target):
        return _for_each(target, target.like)(guesses)
    return _for_each(target, partial(first_point, target, objective))(guesses)


@jax.jit
def _to_maximum_likelihood(target: Target, objective: Objective, guesses: Mixture) -> Optimum:
    return _for_each(target, partial(maximum_likelihood, target, objective))(guesses)


@jax.jit
def _to_posterior_mode(target: Target, objective: Objective, starts: Float[Array, "s z"], budget: Int[Array, ""]):
    """A round of L-BFGS from each start in z = start + A u; also whether it ended, and the objective it may yet reach."""

    def of_start(start_and_whitening):
        start, A = start_and_whitening
        onto, transposed = linear(A)
        value_and_gradient = jax.value_and_grad(lambda z: -objective.value(target, z, target.log_likelihood))

        def of_u(u):
            z = start + onto(u)
            value, gradient = value_and_gradient(z)
            # Far out, transforms round to a constant: from there no slope leads back.
            lost = ((gradient == 0) & (z != start)).any()
            return jnp.where(lost, jnp.inf, value), transposed(gradient)

        found = minimise(
            of_u,
            jnp.zeros_like(start),
            max_evaluations=budget,
            tolerance=CONSTANTS.sharp * objective.tolerance,
            first_step=np.inf,
            epsilon=float(jnp.finfo(target.rows.dtype).eps),
        )
        z = start + onto(found.x)
        gradient = found.gradient / A if A.ndim == 1 else solve_triangular(A.T, found.gradient, lower=True)
        gradient_norm = jnp.abs(gradient).max(initial=0.0)
        optimum = Optimum(
            z=z,
            mixture=target.mixture(z),
            objective=-found.value,
            gradient_norm=gradient_norm,
            n_passes=found.n_evaluations,
            converged=(gradient_norm < CONSTANTS.stationary) | (found.left < CONSTANTS.gain),
            collapsed=jnp.array(False),
        )
        return optimum, found.ended, found.left - found.value

    def whiten(z):
        return whitening(target.mixture, z, target.rows.total_weight)

    if target.n_dim > CONSTANTS.parallel_parameters:
        return _for_each(target, lambda z: of_start((z, whiten(z))))(starts)
    matrices = jax.lax.map(whiten, starts)  # in turn: they factor slowly in a batch
    return _for_each(target, of_start)((starts, matrices))
