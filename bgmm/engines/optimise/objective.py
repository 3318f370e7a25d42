"""What is maximised, and where one search for it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import kernel
from bgmm.core.components import Mixture
from bgmm.core.lbfgs import minimise
from bgmm.program.target import EStep, Target


@partial(jax.tree_util.register_dataclass, data_fields=("max_steps", "tolerance"), meta_fields=("prior", "jacobian"))
@dataclass(frozen=True)
class Objective:
    """A log likelihood, with the log prior and the Jacobian of the unconstrained coordinates or without; and when to stop.

    Searches that differ in no more than when they stop share their compiled programs.

    :param prior: whether the log prior counts.
    :param jacobian: whether the Jacobian does.
    :param max_steps: passes over the rows for each start.
    :param tolerance: nats still to gain at which a search ends.
    """

    prior: bool = True
    jacobian: bool = False
    max_steps: int | Int[Array, ""] = 5000
    tolerance: float | Float[Array, ""] = 1e-9

    def value(self, target: Target, z: Float[Array, " z"], log_likelihood: Callable[[Mixture], Array]) -> Float[Array, ""]:
        """The objective at z, given the log likelihood of a mixture."""
        traced = target.trace(z)
        log_prior = self.prior * traced.log_prior + self.jacobian * traced.log_jacobian
        return log_prior + log_likelihood(target.in_rows_units(traced.mixture))

    def is_closed_form(self, target: Target) -> bool:
        """Whether EM's M-step has a closed form."""
        return not self.prior and target.closed_form is not None


class Optimum(NamedTuple):
    """Where one start ended."""

    z: Float[Array, " z"]  # empty where the closed form was used
    mixture: Mixture  # in the units of the rows
    objective: Float[Array, ""]
    gradient_norm: Float[Array, ""]  # largest entry; NaN for the closed form, which takes no gradient
    n_passes: Int[Array, ""]  # over all rows
    converged: Bool[Array, ""]
    collapsed: Bool[Array, ""]  # a component was held up by the resolution floor alone


@dataclass(frozen=True)
class EMConstants:
    """Constants of the first steps of EM."""

    n_steps: int = 10  # before L-BFGS takes over
    m_step_evaluations: int = 20  # any gain in an M-step is enough for EM to gain
    m_step_tolerance: float = 1e-3  # nats
    first_evaluations: int = 100  # of the first M-step, which begins at zero and must reach what the guess says


_CONSTANTS = EMConstants()


def first_point(target: Target, objective: Objective, guess: Mixture) -> Float[Array, " z"]:
    """The unconstrained point that a few steps of EM lead to from a guess of Gaussians, of the program's structure.

    A family without sufficient statistics makes one M-step, given the responsibilities of the guess.
    """
    z = jnp.zeros(target.n_dim)
    if target.structure is None:
        fixed = guess.natural()

        def expected(mixture: Mixture) -> Float[Array, ""]:
            return kernel.complete_log_likelihood(mixture.natural(), fixed, target.rows)

        return _m_step(target, objective, z, expected, _CONSTANTS.first_evaluations)

    def step(i, carry):
        n = jnp.where(i == 0, _CONSTANTS.first_evaluations, _CONSTANTS.m_step_evaluations)
        z, mixture = carry
        z = _m_step(target, objective, z, partial(target.expected, target.e_step(mixture)), n)
        return z, target.mixture(z)

    return jax.lax.fori_loop(0, _CONSTANTS.n_steps, step, (z, guess))[0]  # the E-step is compiled once


def em_step(
    target: Target, objective: Objective, z: Float[Array, " z"], e_step: EStep, n: int | Int[Array, ""]
) -> tuple[Float[Array, " z"], EStep]:
    """M-step of at most n evaluations from the last expected statistics, then the E-step at the new z."""
    z = _m_step(target, objective, z, partial(target.expected, e_step), n)
    return z, target.e_step(target.mixture(z))


def _m_step(
    target: Target, objective: Objective, z, expected: Callable[[Mixture], Array], n: int | Int[Array, ""]
) -> Float[Array, " z"]:
    value_and_gradient = jax.value_and_grad(lambda z: -objective.value(target, z, expected))
    return minimise(value_and_gradient, z, max_evaluations=n, tolerance=_CONSTANTS.m_step_tolerance).x
