"""Maximum likelihood where the M-step has a closed form: rounds of EM, each followed by L-BFGS in whitened coordinates.

L-BFGS takes no step to where a component would collapse under the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bgmm.core.components import Components, Mixture
from bgmm.core.gaussians import Gaussians, moments
from bgmm.core.lbfgs import DIGITS, minimise
from bgmm.core.whitened import displaced
from bgmm.engines.optimise.objective import Objective, Optimum
from bgmm.program.target import EStep, Target


@dataclass(frozen=True)
class Constants:
    """Constants of the rounds."""

    em_steps: int = 10  # in a round
    evaluations: int = 15  # that L-BFGS is first given; twice as many in every further round
    collapsing: int = 100  # passes, after which a start with a component held up by the floor is left alone


_CONSTANTS = Constants()


class State(NamedTuple):
    """A mixture, its E-step, and the gain of the last step."""

    mixture: Mixture
    e_step: EStep
    gain: Float[Array, ""]
    left: Float[Array, ""]  # to gain, by Aitken's estimate or by the curvature that L-BFGS saw
    n_passes: Int[Array, ""]


def maximum_likelihood(target: Target, objective: Objective, guess: Mixture) -> Optimum:
    """Where rounds lead from ``guess`` until nothing is left to gain."""
    tolerance, max_steps = objective.tolerance, objective.max_steps
    epsilon = float(jnp.finfo(target.rows.dtype).eps)
    start = target.e_step(guess)
    one_point = EStep(jnp.zeros(()), jnp.zeros_like(start.statistics).at[:, 0].set(1.0), None)  # rows without any spread
    floor = target.maximum_likelihood(one_point).components

    def em(_, state: State) -> State:
        mixture = target.maximum_likelihood(state.e_step)
        e_step = target.e_step(mixture)
        gain = e_step.log_likelihood - state.e_step.log_likelihood
        ratio = jnp.clip(gain / state.gain, 0.0, 0.9999)
        rounding = DIGITS * epsilon * jnp.abs(state.e_step.log_likelihood)
        # A step gains something, unless rounding hides it: then nothing is left.
        left = jnp.where(jnp.minimum(gain, state.gain) > rounding, gain / (1 - ratio), 0.0)
        return State(mixture, e_step, gain, left, state.n_passes + 1)

    def quasi_newton(state: State, budget: Int[Array, ""]) -> State:
        """L-BFGS from where EM stands."""
        n_coordinates, mixture_at = displaced(state.mixture, state.e_step.statistics[:, 0])

        def function(u):
            mixture = mixture_at(u)
            e_step = target.e_step(mixture)
            gradient = jax.grad(lambda u: target.expected(e_step, mixture_at(u)))(u)
            collapsing = _held_up(mixture.components, e_step) | _touches(floor, mixture.components, 1 - 1e-6)
            return jnp.where(collapsing, jnp.inf, -e_step.log_likelihood), -gradient

        found = minimise(
            function,
            jnp.zeros(n_coordinates),
            max_evaluations=jnp.minimum(budget, max_steps - state.n_passes),
            tolerance=tolerance,
            first_step=np.inf,
            epsilon=epsilon,
        )
        mixture = mixture_at(found.x)
        left = jnp.where(found.left <= tolerance, found.left, state.left)
        moved = State(mixture, target.e_step(mixture), state.gain, left, state.n_passes + found.n_evaluations + 1)
        return jax.tree.map(partial(jnp.where, jnp.isfinite(found.value)), moved, state._replace(n_passes=moved.n_passes))

    def going(carry: tuple[State, Int[Array, ""]]) -> Bool[Array, ""]:
        state, _ = carry
        hopeless = (state.n_passes > _CONSTANTS.collapsing) & _touches(floor, state.mixture.components, 1.001)
        return (state.left > tolerance) & (state.n_passes < max_steps) & ~hopeless

    def one_round(carry):
        state, budget = carry
        state = jax.lax.fori_loop(0, jnp.minimum(_CONSTANTS.em_steps, max_steps - state.n_passes), em, state)
        return quasi_newton(state, budget), 2 * budget

    infinite = jnp.array(jnp.inf)
    first = State(guess, start, infinite, infinite, jnp.array(1))
    found, _ = jax.lax.while_loop(going, one_round, (first, jnp.array(_CONSTANTS.evaluations)))
    return Optimum(
        z=jnp.zeros(0),
        mixture=found.mixture,
        objective=found.e_step.log_likelihood,
        gradient_norm=jnp.array(jnp.nan),
        n_passes=found.n_passes,
        converged=found.left <= tolerance,
        collapsed=_touches(floor, found.mixture.components, 1.001),
    )


def _touches(floor: Components, components: Components, times: float) -> Bool[Array, ""]:
    """Whether some component has less variance in some direction than so many times what the floor gives."""
    assert isinstance(floor, Gaussians)
    assert isinstance(components, Gaussians)
    covariances = jax.vmap(lambda factor: factor.covariance())(components.factor)
    return ~jax.vmap(lambda factor, c: factor.is_exceeded(c, times))(floor.factor, covariances).all()


def _held_up(components: Components, e_step: EStep) -> Bool[Array, ""]:
    """Whether some component's rows spread, in some direction, under half of the variance that it has."""
    assert isinstance(components, Gaussians)
    _, covariances = moments(type(components.factor), e_step.statistics, tied=components.tied)
    return ~jax.vmap(lambda factor, c: factor.is_exceeded(c, 0.5))(components.factor, covariances).all()
