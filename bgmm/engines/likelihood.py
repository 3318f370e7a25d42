"""Maximum likelihood where the M-step has a closed form: rounds of EM, each followed by a leap of L-BFGS.

L-BFGS runs in the coordinates of ``chart``. No leap goes where a component would collapse under the floor.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import gaussian
from bgmm.core.gaussian import Parameters
from bgmm.core.target import Target
from bgmm.engines.chart import chart
from bgmm.engines.minimise import DIGITS, minimise

_EM_STEPS = 10  # in a round
_LEAP = 15  # evaluations that L-BFGS is first given; twice as many in every further round
_COLLAPSING = 100  # passes, after which a start with a component held up by the floor is left alone


class Em(NamedTuple):
    """Where EM stands: a mixture, its E-step, and what the last steps gained."""

    mixture: Parameters
    e_step: tuple  # log likelihood, statistics, centres
    gain: Float[Array, ""]
    left: Float[Array, ""]  # to gain, by Aitken's estimate or by the curvature that L-BFGS saw
    n_passes: Int[Array, ""]


def maximum_likelihood(target: Target, guess: Parameters, *, tolerance: float, max_steps: int) -> tuple[Em, Bool[Array, ""]]:
    """Where rounds lead from ``guess`` until nothing is left to gain, and whether a component is held up by the floor."""
    closed_form = target.closed_form
    assert closed_form is not None
    k, d = guess.means.shape
    point = jnp.zeros((k, gaussian.n_statistics(d))).at[:, 0].set(1.0)  # rows without any spread
    floor = jnp.asarray(closed_form.maximum_likelihood(point, target.recording_step).scale_tril)
    epsilon = float(jnp.finfo(target.blocks.x.dtype).eps)

    def em(_, at: Em) -> Em:
        value, statistics, centres = at.e_step
        m = closed_form.maximum_likelihood(statistics, target.recording_step)
        mixture = m if centres is None else m._replace(means=m.means + centres)
        e_step = target.expected_statistics(mixture)
        gain = e_step[0] - value
        ratio = jnp.clip(gain / at.gain, 0.0, 0.9999)
        left = jnp.where(jnp.abs(gain) > DIGITS * epsilon * jnp.abs(value), jnp.abs(gain) / (1 - ratio), 0.0)
        return Em(mixture, e_step, gain, left, at.n_passes + 1)

    def leap(at: Em, budget: Int[Array, ""]) -> Em:
        """L-BFGS from where EM stands."""
        around = chart(at.mixture, at.e_step[1][:, 0])

        def function(u):
            mixture = around(u)
            value, statistics, centres = target.expected_statistics(mixture)
            gradient = jax.grad(lambda u: jnp.vdot(statistics, gaussian.natural(around(u), centres)))(u)
            collapsing = _held_up(mixture, statistics) | _reaches(floor, mixture, 1 - 1e-6)
            return jnp.where(collapsing, jnp.inf, -value), -gradient

        found = minimise(
            function,
            jnp.zeros(k * gaussian.n_statistics(d)),
            max_evaluations=jnp.minimum(budget, max_steps - at.n_passes),
            tolerance=tolerance,
            first_step=np.inf,
            epsilon=epsilon,
        )
        mixture = around(found.x)
        left = jnp.where(found.left <= tolerance, found.left, at.left)
        there = Em(mixture, target.expected_statistics(mixture), at.gain, left, at.n_passes + found.n_evaluations + 1)
        return jax.tree.map(partial(jnp.where, jnp.isfinite(found.value)), there, at._replace(n_passes=there.n_passes))

    def going(carry: tuple[Em, Int[Array, ""]]) -> Bool[Array, ""]:
        at, _ = carry
        hopeless = (at.n_passes > _COLLAPSING) & _reaches(floor, at.mixture, 1.001)
        return (at.left > tolerance) & (at.n_passes < max_steps) & ~hopeless

    infinite = jnp.array(jnp.inf)
    start = Em(guess, target.expected_statistics(guess), infinite, infinite, jnp.array(1))

    def round_of(carry):
        at, budget = carry
        return leap(jax.lax.fori_loop(0, jnp.minimum(_EM_STEPS, max_steps - at.n_passes), em, at), budget), 2 * budget

    found, _ = jax.lax.while_loop(going, round_of, (start, jnp.array(_LEAP)))
    return found, _reaches(floor, found.mixture, 1.001)


def _reaches(floor: Float[Array, "k d d"], mixture: Parameters, times: float) -> Bool[Array, ""]:
    """Whether some component has less variance in some direction than so many times what the floor gives."""
    above = jnp.einsum("kij,klj->kil", mixture.scale_tril, mixture.scale_tril)
    above -= times * jnp.einsum("kij,klj->kil", floor, floor)
    return jnp.isnan(jnp.linalg.cholesky(above)).any()


def _held_up(mixture: Parameters, statistics: Float[Array, "k p"]) -> Bool[Array, ""]:
    """Whether some component's rows spread, in some direction, under half of the variance that it was given."""
    _, _, covariances = gaussian.moments(statistics)
    whiten = partial(solve_triangular, mixture.scale_tril, lower=True)
    spread = whiten(jnp.swapaxes(whiten(covariances), 1, 2))
    return jnp.isnan(jnp.linalg.cholesky(spread - 0.5 * jnp.eye(spread.shape[-1])[None])).any()
