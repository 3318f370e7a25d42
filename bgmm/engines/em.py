"""EM: maximum likelihood in closed form, or the posterior mode under whatever priors the program declares.

Dempster, Laird and Rubin (1977). The E-step is one pass over the data and leaves the expected statistics S. The M-step
maximises log prior(z) + <S, eta(z)> by L-BFGS, which no longer touches the data and asks nothing of the priors; with
``prior=False`` and a family that has one, it is the closed form instead. Steps of EM find the basin; L-BFGS on the log
posterior itself then finishes what EM does slowly. Neither ever lowers the objective.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import gaussian
from bgmm.core.checks import check_count, check_positive
from bgmm.core.gaussian import Parameters
from bgmm.core.target import Target
from bgmm.engines.draws import Draws, from_unconstrained
from bgmm.engines.minimise import minimise
from bgmm.engines.starts import first_guesses

_EM_STEPS = 10  # of EM before L-BFGS takes over
_M_STEPS = 20  # of L-BFGS in an M-step: any gain is enough for EM to climb
_M_TOLERANCE = 1e-2  # of the gradient in an M-step
_GRADIENT_TOLERANCE = 1e-6  # at which L-BFGS stops
_STATIONARY = 1e-4  # of gradient, under which a point counts as a mode; so it does
_GAIN = 1e-6  # when the next step was to gain less than this, in nats, where steep curvature hides the gradient in rounding


class Climb(NamedTuple):
    """Where one start ended."""

    z: Float[Array, " z"]  # empty when the closed form was used
    mixture: Parameters
    objective: Float[Array, ""]
    gradient_norm: Float[Array, ""]  # largest entry; NaN for the closed form, which takes no gradient
    n_passes: Int[Array, ""]
    converged: Bool[Array, ""]
    collapsed: Bool[Array, ""]  # a component was held up by the resolution floor alone


@dataclass(frozen=True)
class EM:
    """Settings of EM.

    :param prior: True for the posterior mode (MAP) of the declared sites, False for maximum likelihood.
    :param n_starts: k-means++ restarts, in one compiled batch.
    :param max_steps: of EM for maximum likelihood, of L-BFGS for MAP.
    :param tolerance: estimated nats still to gain at which maximum likelihood stops.
    """

    prior: bool = True
    n_starts: int = 10
    max_steps: int = 5000
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        check_count("n_starts", self.n_starts)
        check_count("max_steps", self.max_steps)
        check_positive("tolerance", self.tolerance)

    def run(self, target: Target, *, key: Array) -> Draws:
        """One draw: the best of the restarts."""
        target, climbs = climb(target, self, jacobian=False, key=key)
        height = heights(climbs)
        free = np.where(climbs.collapsed, -np.inf, height)
        best = int(np.argmax(free if np.isfinite(free).any() else height))
        found = jax.tree.map(lambda a: np.asarray(a)[best], climbs)
        stats = {
            "lp": found.objective[None, None],
            "gradient_norm": found.gradient_norm[None, None],
            "n_passes": found.n_passes[None, None],
            "converged": found.converged[None, None],
            "start_objective": np.asarray(climbs.objective),
            "start_collapsed": np.asarray(climbs.collapsed),
        }
        if found.z.size or not target.n_dim:
            mixture, sites, log_prior = from_unconstrained(target, jnp.asarray(found.z)[None, None])
            stats["log_prior"] = log_prior
        else:
            mixture, sites = jax.tree.map(lambda a: a[None, None], found.mixture), {}
        return Draws(mixture, sites, stats, {"start_objective": ["start"], "start_collapsed": ["start"]}, self._warnings(found))

    def _warnings(self, found: Climb) -> list[str]:
        said = []
        if not found.converged:
            said.append(f"EM did not converge in {self.max_steps} steps; raise max_steps, or ask for fewer components")
        if found.collapsed:
            said.append(
                "every start ended with a component at the resolution of the data (a near-constant column, collinear "
                "columns, or too many components); use EM(prior=True), or fewer components"
            )
        return said


def climb(target: Target, settings: EM, *, jacobian: bool, key: Array) -> tuple[Target, Climb]:
    """All starts of ``settings`` climbed to their modes; the target too, now with exact features if the modes need them."""
    climbs = _climb(target, settings, jacobian, key)
    if not target.centred and gaussian.needs_own_centres(climbs.mixture):
        target = replace(target, centred=True)
        climbs = _climb(target, settings, jacobian, key)
    return target, climbs


def heights(climbs: Climb) -> Float[np.ndarray, " starts"]:
    """The objective that each start reached, minus infinity where it was lost; a sentence when all were."""
    height = np.where(np.isfinite(climbs.objective), climbs.objective, -np.inf)
    if not np.isfinite(height).any():
        raise ValueError("the log posterior is finite nowhere that the restarts looked; check the priors against the data")
    return height


@partial(jax.jit, static_argnames=("settings", "jacobian"))
def _climb(target: Target, settings: EM, jacobian: bool, key: Array) -> Climb:
    guesses = first_guesses(target, settings.n_starts, key=key)
    if target.closed_form is not None and not settings.prior:
        return jax.vmap(partial(_maximum_likelihood, target, settings))(guesses)
    return jax.lax.map(partial(climb_from, target, settings, jacobian), guesses)


def _maximum_likelihood(target: Target, settings: EM, guess: Parameters) -> Climb:
    """EM with the closed M-step, until Aitken's estimate of what is left to gain is under the tolerance."""
    closed_form = target.closed_form
    assert closed_form is not None

    def maximise(statistics, centres):
        m = closed_form.maximum_likelihood(statistics, target.recording_step)
        return m if centres is None else m._replace(means=m.means + centres)

    def going(carry):
        *_, left, n = carry
        return (left > settings.tolerance) & (n < settings.max_steps)

    def step(carry):
        _, (value, statistics, centres), gain, _, n = carry
        mixture = maximise(statistics, centres)
        e_step = target.expected_statistics(mixture)
        new_gain = e_step[0] - value
        ratio = jnp.clip(new_gain / gain, 0.0, 0.9999)
        return mixture, e_step, new_gain, jnp.abs(new_gain) / (1 - ratio), n + 1

    infinite = jnp.array(jnp.inf)
    start = (guess, target.expected_statistics(guess), infinite, infinite, jnp.array(0))
    mixture, (value, statistics, _), _, left, n = jax.lax.while_loop(going, step, start)
    return Climb(
        z=jnp.zeros(0),
        mixture=mixture,
        objective=value,
        gradient_norm=jnp.array(jnp.nan),
        n_passes=n + 1,
        converged=left <= settings.tolerance,
        collapsed=_held_up(mixture, statistics),
    )


def _held_up(mixture: Parameters, statistics: Float[Array, "k p"]) -> Bool[Array, ""]:
    """Whether some component's rows spread, in some direction, under half of the variance that it was given."""
    _, _, covariances = gaussian.moments(statistics)
    whiten = jax.scipy.linalg.solve_triangular
    half = whiten(mixture.scale_tril, covariances, lower=True)
    spread = jnp.linalg.eigvalsh(whiten(mixture.scale_tril, jnp.swapaxes(half, 1, 2), lower=True))
    return (spread < 0.5).any()


def climb_from(target: Target, settings: EM, jacobian: bool, guess: Parameters) -> Climb:
    """EM whose M-step is L-BFGS on the declared priors, then L-BFGS on the objective itself."""

    def step(_, carry):
        return em_step(target, settings, jacobian, *carry)

    z = jnp.zeros(target.n_dim)
    z, *_ = jax.lax.fori_loop(0, _EM_STEPS, step, (z, *target.expected_statistics(guess)[1:]))
    found = minimise(
        lambda z: -_objective(target, settings, jacobian, z, target.log_likelihood),
        z,
        max_steps=settings.max_steps,
        gradient_tolerance=_GRADIENT_TOLERANCE,
    )
    gradient_norm = jnp.abs(found.gradient).max(initial=0.0)
    return Climb(
        z=found.x,
        mixture=target.mixture(found.x),
        objective=-found.value,
        gradient_norm=gradient_norm,
        n_passes=1 + _EM_STEPS + found.n_steps,
        converged=(gradient_norm < _STATIONARY) | (found.left < _GAIN),
        collapsed=jnp.array(False),
    )


def em_step(target: Target, settings: EM, jacobian: bool, z, statistics, centres):
    """M-step from the expected statistics of the last z, then the E-step at the new one."""

    def expected_log_likelihood(mixture: Parameters) -> Float[Array, ""]:
        return jnp.vdot(statistics, gaussian.natural(mixture, centres))

    z = minimise(
        lambda z: -_objective(target, settings, jacobian, z, expected_log_likelihood),
        z,
        max_steps=_M_STEPS,
        gradient_tolerance=_M_TOLERANCE,
    ).x
    return z, *target.expected_statistics(target.mixture(z))[1:]


def _objective(target: Target, settings: EM, jacobian: bool, z, log_likelihood: Callable) -> Float[Array, ""]:
    """What is climbed: the log prior as the settings want it, and a log likelihood of the mixture."""
    traced = target.trace(z)
    log_prior = settings.prior * traced.log_prior + jacobian * traced.log_jacobian
    return log_prior + log_likelihood(target.scaling.into(traced.mixture))
