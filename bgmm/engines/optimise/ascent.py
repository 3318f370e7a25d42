"""From starts to optima: EM finds the basin, then L-BFGS does in few passes what EM does in many.

A step of either is one pass over the rows, and never lowers the objective. L-BFGS runs in whitened coordinates, in which the
complete-data information at the beginning of a round is the identity. Maximum likelihood in closed form is in
``maximum_likelihood``. Starts stand in places, of which some may be empty, so that any number shares the compiled programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import devices
from bgmm.core.components import Mixture
from bgmm.core.hmc import linear
from bgmm.core.in_memory import InMemory
from bgmm.core.lbfgs import minimise
from bgmm.core.one_off import one_off_if
from bgmm.core.progress import note
from bgmm.core.whitened import whitening
from bgmm.engines.optimise.maximum_likelihood import maximum_likelihood
from bgmm.engines.optimise.objective import Objective, Optimum, first_point
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the ascents."""

    round: int = 150  # evaluations that L-BFGS is first given; twice as many in every further round
    hopeless: float = 30.0  # nats by which a start's promise is below the best when it gets no further round
    stationary: float = 1e-4  # largest entry of the gradient at which a point counts as a mode
    sharp: float = 1e-3  # of the tolerance, for a posterior mode: its gradient matters too
    gain: float = 1e-6  # nats left to gain at which a point counts as a mode, where rounding hides the gradient
    parallel_parameters: int = 512  # parameters up to which starts run side by side
    parallel_numbers: int = 40_000  # numbers in N x K up to which starts cost less side by side than in turn


CONSTANTS = Constants()


def begun(target: Target, objective: Objective, guesses: Mixture, n_slots: int) -> Mixture | Float[np.ndarray, "starts z"]:
    """From where to ascend: the guesses themselves for the closed form, else unconstrained points."""
    return guesses if objective.is_closed_form(target) else _run(_first_points, target, objective, guesses, n_slots)


def ascend(target: Target, objective: Objective, starts, *, spent: int, n_slots: int) -> Optimum:
    """The optima that ``starts`` lead to, after so many passes over all rows."""
    if objective.is_closed_form(target):
        return _run(_to_maximum_likelihood, target, objective, starts, n_slots)
    n, budget = spent, CONSTANTS.round
    while True:
        limit = np.int64(min(budget, objective.max_steps))
        optima, ended, promise = _run(_to_posterior_mode, target, objective, starts, n_slots, limit)
        n = n + optima.n_passes
        optima, budget = optima._replace(n_passes=n), 2 * budget
        note(f"{n.sum()} passes over {target.rows.n_counted} rows")
        hopeless = ~(promise >= np.nanmax(optima.objective) - CONSTANTS.hopeless)
        if np.all(ended | hopeless) or n.max() >= objective.max_steps:
            return optima
        starts = optima.z


def _run(program: Callable, target: Target, objective: Objective, starts, n_slots: int, *further):
    """What ``program`` returns for the starts, which stand in the first of ``n_slots`` places so that any number shares it.

    All is on the host before and after: else, once spread, what follows runs whole on every device, and they slow each other.
    """
    n = len(jax.tree.leaves(starts)[0])
    filled = jax.tree.map(lambda a: np.asarray(a)[np.arange(n_slots) % n], jax.device_get(starts))
    found = program(target, objective, filled, np.arange(n_slots) < n, *further)
    return jax.tree.map(lambda a: a[:n], jax.device_get(found))


def is_small(target: Target) -> bool:
    """Whether a pass over the rows is short."""
    numbers = target.rows.n_places * target.n_components
    return numbers <= CONSTANTS.parallel_numbers and target.n_dim <= CONSTANTS.parallel_parameters


def _for_each(target: Target, function: Callable, present: Bool[Array, " s"], starts):
    """``function`` of every start: side by side while a pass is short, else in turn, so that none waits for the slowest.

    Where the rows are in memory and not spread over the devices, the starts are. In turn, only those ``present`` take time.
    """
    rows = target.rows
    if is_small(target):
        return jax.vmap(function)(starts)
    once = jax.jit(function)  # traced once
    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(once, jax.tree.map(lambda a: a[0], starts)))

    def if_present(present_and_start):
        present, start = present_and_start
        return jax.lax.cond(present, once, lambda _: nothing, start)

    in_turn = jax.lax.map if not isinstance(rows, InMemory) or rows.devices.n > 1 else devices.map_on_each
    return in_turn(if_present, (present, starts))


@one_off_if(is_small)
def _first_points(target: Target, objective: Objective, guesses: Mixture, present: Bool[Array, " s"]) -> Float[Array, "s z"]:
    return _for_each(target, partial(first_point, target, objective), present, guesses)


@jax.jit
def _to_maximum_likelihood(target: Target, objective: Objective, guesses: Mixture, present: Bool[Array, " s"]) -> Optimum:
    return _for_each(target, partial(maximum_likelihood, target, objective), present, guesses)


@one_off_if(is_small)
def _to_posterior_mode(
    target: Target, objective: Objective, starts: Float[Array, "s z"], present: Bool[Array, " s"], budget: Int[Array, ""]
):
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
        return _for_each(target, lambda z: of_start((z, whiten(z))), present, starts)
    matrices = jax.lax.map(whiten, starts)  # in turn: they factor slowly in a batch
    return _for_each(target, of_start, present, (starts, matrices))
