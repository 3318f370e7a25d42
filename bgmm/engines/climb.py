"""The climb from starts to modes: EM finds the basin, then L-BFGS does in few passes what EM does in many.

A step of either is one pass over the data, and never lowers the objective. ``likelihood`` does it for maximum likelihood in
closed form; here stands the ascent to the mode of a posterior, under whatever priors the program declares. L-BFGS runs in
coordinates in which the complete-data information at the beginning of a round is the identity.

Losers are dropped early: many rows are first climbed on a few of them, and only the best starts then see the whole; and no
further round is run for starts whose promise is far under the best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import devices, gaussian
from bgmm.core.blocks import subsample
from bgmm.core.checks import numpy_generator
from bgmm.core.gaussian import Parameters
from bgmm.core.target import Target
from bgmm.engines.chart import whitening
from bgmm.engines.likelihood import maximum_likelihood
from bgmm.engines.minimise import minimise

_EM_STEPS = 10  # of EM before L-BFGS takes over
_M_STEPS = 20  # evaluations in an M-step: any gain is enough for EM to climb
_M_TOLERANCE = 1e-3  # nats, in an M-step
_ROUND = 150  # evaluations that L-BFGS is first given; twice as many in every further round
_HOPELESS = 30.0  # nats by which a start's promise is under the best when no further round is run for it
_STATIONARY = 1e-4  # of gradient, under which a point counts as a mode; so it does
_SHARP = 1e-3  # of the tolerance, for a posterior mode: its gradient matters too
_GAIN = 1e-6  # when the next step was to gain less than this, in nats, where steep curvature hides the gradient in rounding
_SHORT = 512  # parameters of starts that may stand side by side
_SIDE_BY_SIDE = 40_000  # numbers in N x K under which starts cost less in a batch than in turn
_FEW = 8192  # rows that are climbed first, at least
_ROWS_EACH = 8  # and so many for each number in the mixture
_WHOLE = 4  # times as many rows are climbed as a whole
_GLANCE = 150  # passes over the few, for each start
_APART = 5.0  # nats of the few rows between different modes, when the climb was a rough one
_KEPT = 3  # starts that see the whole


class Climb(NamedTuple):
    """Where one start ended."""

    z: Float[Array, " z"]  # empty when the closed form was used
    mixture: Parameters
    objective: Float[Array, ""]
    gradient_norm: Float[Array, ""]  # largest entry; NaN for the closed form, which takes no gradient
    n_passes: Int[Array, ""]  # over all rows
    converged: Bool[Array, ""]
    collapsed: Bool[Array, ""]  # a component was held up by the resolution floor alone


class Aim(NamedTuple):
    """What is climbed, and for how long."""

    prior: bool = True  # log prior included
    jacobian: bool = False  # and the Jacobian of the unconstrained coordinates
    max_steps: int = 5000
    tolerance: float = 1e-9  # nats left to gain


def climb(target: Target, aim: Aim, guesses: Parameters, *, key: Array) -> tuple[Target, Climb]:
    """All guesses (a leading axis) climbed to their modes; the target too, now with exact features if the modes need them.

    From many rows, only the starts that did best on a few of them come back.
    """
    climbs = _climb(target, aim, guesses, key)
    found = np.isfinite(climbs.objective)
    mixtures = jax.tree.map(lambda a: np.asarray(a)[found], climbs.mixture)
    if not target.centred and gaussian.needs_own_centres(mixtures, target.blocks.x.dtype):
        target = replace(target, centred=True)
        climbs = _climb(target, aim, guesses, key)
    return target, climbs


def heights(climbs: Climb) -> Float[np.ndarray, " starts"]:
    """The objective that each start reached, minus infinity where it was lost; a sentence when all were."""
    height = np.where(np.isfinite(climbs.objective), climbs.objective, -np.inf)
    if not np.isfinite(height).any():
        raise ValueError("the log posterior is finite nowhere that the restarts looked; check the priors against the data")
    return height


def distinct(
    height: Float[np.ndarray, " starts"], eligible: Bool[np.ndarray, " starts"], *, apart: float = 1e-3
) -> list[Int[np.ndarray, " _"]]:
    """Starts that ended at one height (to ``apart`` nats), height by height, the highest first.

    Of those that were not lost only the ``eligible`` ones, unless none is.
    """
    kept = np.isfinite(height)
    kept = kept & eligible if (kept & eligible).any() else kept
    order = np.argsort(-height, kind="stable")
    order = order[kept[order]]
    return np.split(order, np.flatnonzero(-np.diff(height[order]) > apart) + 1)


def _climb(target: Target, aim: Aim, guesses: Parameters, key: Array) -> Climb:
    n, few = int(np.count_nonzero(target.blocks.weights)), _few_rows(target)
    if n < _WHOLE * few:
        return _ascend(target, aim, _begin(target, aim, guesses), spent=_EM_STEPS + 1)
    sketch = replace(target, blocks=subsample(target.blocks, few, rng=numpy_generator(key)))
    nat = 2.0 ** round(np.log2(n / few))  # of the few, about: a little more data must not compile anew
    rough = aim._replace(max_steps=min(aim.max_steps, _GLANCE), tolerance=nat)
    climbs = _ascend(sketch, rough, _begin(sketch, rough, guesses), spent=0)
    starts = climbs.mixture if _in_closed_form(target, aim) else climbs.z
    return _ascend(target, aim, jax.tree.map(lambda a: a[_promising(climbs, n / few)], starts), spent=0)


def _few_rows(target: Target) -> int:
    """Rows to look at first: enough for every number in the mixture to have some of its own."""
    return max(_FEW, _ROWS_EACH * target.n_components * gaussian.n_statistics(target.blocks.x.shape[1]))


def _promising(climbs: Climb, rows_for_each: float) -> Int[np.ndarray, " _"]:
    """The starts, at most three and from different modes, that may be best on all rows after a climb on a few of them.

    The gap between two modes that are g nats apart on all rows is known from the few to a standard error of about
    sqrt(2 g N / n): row by row the log ratio of densities has about twice its mean as variance. Five of them decide.
    """
    height = heights(climbs)
    modes = distinct(height, ~np.asarray(climbs.collapsed), apart=_APART * rows_for_each)
    best = np.array([starts[0] for starts in modes])
    return best[height[best[0]] - height[best] <= 50 * rows_for_each][:_KEPT]


def _ascend(target: Target, aim: Aim, starts, *, spent: int) -> Climb:
    """The climb from ``starts``, to which so many passes over all rows have led."""
    starts = jax.device_get(starts)  # else, once spread, all that follows runs whole on every device, and they slow each other
    if _in_closed_form(target, aim):
        return _to_maximum_likelihood(target, aim, starts)
    n, budget = np.full(len(starts), spent), _ROUND
    while True:
        climbs, ended, promise = _to_posterior_mode(target, aim, starts, jnp.array(min(budget, aim.max_steps)))
        n = n + np.asarray(climbs.n_passes)
        climbs, budget = climbs._replace(n_passes=jnp.asarray(n)), 2 * budget
        hopeless = ~(np.asarray(promise) >= np.nanmax(climbs.objective) - _HOPELESS)
        if np.all(ended | hopeless) or n.max() >= aim.max_steps:
            return climbs
        starts = climbs.z


def _in_closed_form(target: Target, aim: Aim) -> bool:
    return target.closed_form is not None and not aim.prior


def _for_each(target: Target, function: Callable) -> Callable:
    """``function`` of every start: side by side while a pass is short, else in turn, so that none waits for the slowest.

    Where the rows are not spread over the devices, the starts are.
    """
    if target.blocks.weights.size * target.n_components <= _SIDE_BY_SIDE and target.n_dim <= _SHORT:
        return jax.vmap(function)
    if target.blocks.devices.n > 1:
        return partial(jax.lax.map, function)
    return partial(devices.map_on_each, function)


@partial(jax.jit, static_argnames="aim")
def _begin(target: Target, aim: Aim, guesses: Parameters) -> Parameters | Float[Array, "starts z"]:
    """From where to ascend: the guesses themselves, or the unconstrained points that a few steps of EM lead to from them."""
    if _in_closed_form(target, aim):
        return guesses

    def point(guess: Parameters) -> Float[Array, " z"]:
        def step(_, carry):
            return em_step(target, aim, *carry)

        _, statistics, centres = target.expected_statistics(guess)
        return jax.lax.fori_loop(0, _EM_STEPS, step, (jnp.zeros(target.n_dim), statistics, centres))[0]

    return _for_each(target, point)(guesses)


def em_step(target: Target, aim: Aim, z, statistics, centres):
    """M-step from the expected statistics of the last z, then the E-step at the new one."""
    z = minimise(
        jax.value_and_grad(lambda z: -_objective(target, aim, z, partial(_expected, statistics, centres))),
        z,
        max_evaluations=_M_STEPS,
        tolerance=_M_TOLERANCE,
    ).x
    return z, *target.expected_statistics(target.mixture(z))[1:]


def _expected(statistics: Float[Array, "k p"], centres, mixture: Parameters) -> Float[Array, ""]:
    """Expected complete-data log likelihood <S, eta>, up to a constant."""
    return jnp.vdot(statistics, gaussian.natural(mixture, centres))


def _objective(target: Target, aim: Aim, z: Float[Array, " z"], log_likelihood: Callable) -> Float[Array, ""]:
    """What is climbed: the log prior as the aim wants it, and a log likelihood of the mixture."""
    traced = target.trace(z)
    log_prior = aim.prior * traced.log_prior + aim.jacobian * traced.log_jacobian
    return log_prior + log_likelihood(target.scaling.into(traced.mixture))


@partial(jax.jit, static_argnames="aim")
def _to_maximum_likelihood(target: Target, aim: Aim, guesses: Parameters) -> Climb:
    def of_start(guess: Parameters) -> Climb:
        found, collapsed = maximum_likelihood(target, guess, tolerance=aim.tolerance, max_steps=aim.max_steps)
        return Climb(
            z=jnp.zeros(0),
            mixture=found.mixture,
            objective=found.e_step[0],
            gradient_norm=jnp.array(jnp.nan),
            n_passes=found.n_passes,
            converged=found.left <= aim.tolerance,
            collapsed=collapsed,
        )

    return _for_each(target, of_start)(guesses)


@partial(jax.jit, static_argnames="aim")
def _to_posterior_mode(target: Target, aim: Aim, starts: Float[Array, "s z"], budget: Int[Array, ""]):
    """A round of L-BFGS from each start in z = start + A u; also whether it ended, and what it may yet reach."""

    def of_start(of_start):
        start, A = of_start
        onto = partial(jnp.multiply, A) if A.ndim == 1 else partial(jnp.matmul, A)
        value_and_gradient = jax.value_and_grad(lambda z: -_objective(target, aim, z, target.log_likelihood))

        def of_u(u):
            value, gradient = value_and_gradient(start + onto(u))
            return value, gradient * A if A.ndim == 1 else gradient @ A

        epsilon = float(jnp.finfo(target.blocks.x.dtype).eps)
        found = minimise(
            of_u,
            jnp.zeros_like(start),
            max_evaluations=budget,
            tolerance=_SHARP * aim.tolerance,
            first_step=np.inf,
            epsilon=epsilon,
        )
        z = start + onto(found.x)
        gradient = found.gradient / A if A.ndim == 1 else solve_triangular(A.T, found.gradient, lower=True)
        gradient_norm = jnp.abs(gradient).max(initial=0.0)
        climb = Climb(
            z=z,
            mixture=target.mixture(z),
            objective=-found.value,
            gradient_norm=gradient_norm,
            n_passes=found.n_evaluations,
            converged=(gradient_norm < _STATIONARY) | (found.left < _GAIN),
            collapsed=jnp.array(False),
        )
        return climb, found.ended, found.left - found.value

    if target.n_dim > _SHORT:
        return _for_each(target, lambda z: of_start((z, whitening(target, z))))(starts)
    matrices = jax.lax.map(partial(whitening, target), starts)  # in turn: they factor slowly in a batch
    return _for_each(target, of_start)((starts, matrices))
