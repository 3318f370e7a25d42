"""L-BFGS with one function evaluation for each iteration, so that a batch of searches can run under ``vmap``.

The search direction uses the compact form of the inverse Hessian approximation (Byrd, Nocedal and Schnabel 1994, theorem 2.2).
A step is accepted if the value decreases sufficiently (Armijo). Where the decrease to be expected is smaller than the rounding
errors of the value, the step is accepted if the slope along the direction decreases and the value increases by no more than
its noise (the approximate Wolfe condition, Hager and Zhang 2005, equation 4.1). Otherwise the next iteration tries a shorter
step from the same point, unless a whole step is expected to gain less than the noise, and a shorter one less than rounding:
then the search ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

DIGITS = 10  # rounding error of a value that is a sum over the data, in units of its relative precision


@dataclass(frozen=True)
class Constants:
    """Constants of the algorithm."""

    memory: int = 12  # pairs of differences in the inverse Hessian approximation
    armijo: float = 1e-4  # sufficient decrease, as a share of the decrease that the slope predicts
    wolfe: float = 0.9  # in the approximate Wolfe condition the slope must fall to this share of its value
    noise: float = 100.0  # of a value, at most, in units of its rounding error: that of a parameter counts once for each row
    loudest: float = 1e-4  # noise that is allowed for beyond rounding
    max_shorter: int = 12  # shorter steps from one point before the approximation is reset, and again before the search stops
    growth: float = 4.0  # of the step length after a step without positive curvature
    max_flat: int = 5  # accepted steps in a row without a decrease beyond rounding, after which the search stops
    min_curvature: float = 1e-12  # least cosine between the differences s and y of a pair that is stored
    shortest: float = 0.1  # smallest and largest factor between the lengths of two trial steps from one point
    longest: float = 0.5


_CONSTANTS = Constants()


class Point(NamedTuple):
    """A point with the value and the gradient of the function."""

    x: Float[Array, " z"]
    value: Float[Array, ""]
    gradient: Float[Array, " z"]


class Curvature(NamedTuple):
    """The inverse Hessian approximation H: differences s of points and y of gradients, oldest first; zero where unused."""

    s: Float[Array, "m z"]
    y: Float[Array, "m z"]

    def push(self, s: Float[Array, " z"], y: Float[Array, " z"]) -> Curvature:
        """The approximation with one more pair, without the oldest."""
        return Curvature(jnp.concatenate([self.s[1:], s[None]]), jnp.concatenate([self.y[1:], y[None]]))

    def inverse_hessian_times(self, g: Float[Array, " z"], first_step: float) -> Float[Array, " z"]:
        """H g. Without any pair it is g, scaled down to the length ``first_step`` if g is longer."""
        sy, yy = self.s @ self.y.T, self.y @ self.y.T
        unused = jnp.diagonal(yy) == 0
        R = jnp.triu(sy) + jnp.diag(unused.astype(g.dtype))
        scale = jnp.where(unused[-1], _shrink(g, first_step), sy[-1, -1] / jnp.where(unused[-1], 1.0, yy[-1, -1]))
        p = solve_triangular(R, self.s @ g)
        q = solve_triangular(R, jnp.diagonal(sy) * p + scale * (yy @ p - self.y @ g), trans=1)
        return scale * (g - p @ self.y) + q @ self.s


class Minimum(NamedTuple):
    """The last point of a search."""

    x: Float[Array, " z"]
    value: Float[Array, ""]
    gradient: Float[Array, " z"]
    left: Float[Array, ""]  # g'Hg, the squared Newton decrement: about twice the decrease of the next Newton step
    ended: Bool[Array, ""]  # whether the search stopped by itself, before the largest number of evaluations
    n_evaluations: Int[Array, ""]


class _Search(NamedTuple):
    """State of the iteration."""

    point: Point
    curvature: Curvature
    direction: Float[Array, " z"]  # H g; a step goes against it
    length: Float[Array, ""]  # of the next trial step, in units of the direction
    left: Float[Array, ""]
    n_shorter: Int[Array, ""]  # trial steps from this point that were not accepted
    n_flat: Int[Array, ""]  # accepted steps in a row without a decrease beyond rounding
    n_evaluations: Int[Array, ""]
    stopped: Bool[Array, ""]


def minimise(
    function: Callable,
    x: Float[Array, " z"],
    *,
    max_evaluations: int | Int[Array, ""],
    tolerance: float | Float[Array, ""] = 1e-12,
    first_step: float = 1.0,
    epsilon: float = float(jnp.finfo(jnp.float64).eps),
) -> Minimum:
    """Search for a local minimum from ``x``.

    :param function: returns value and gradient at a point; points where either is not finite are never accepted.
    :param max_evaluations: largest number of evaluations of the function.
    :param tolerance: the search stops when ``left`` is at most this.
    :param first_step: largest length of the first step.
    :param epsilon: relative rounding error of the values.
    """
    if not x.size:
        value, gradient = function(x)
        return Minimum(x, value, gradient, jnp.array(0.0), jnp.array(True), jnp.array(1))
    none = Curvature(*(jnp.zeros((_CONSTANTS.memory, x.size), x.dtype) for _ in range(2)))

    def unfinished(search: _Search) -> Bool[Array, ""]:
        return (search.n_evaluations < max_evaluations) & (search.left > tolerance) & ~search.stopped

    def step(search: _Search) -> _Search:
        point, direction, length = search.point, search.direction, search.length
        slope = point.gradient @ direction
        trial_x = point.x - length * direction
        trial = Point(trial_x, *function(trial_x))
        # The first iteration evaluates x itself, so that the function is compiled in one place only.
        first = search.n_evaluations == 0
        finite = jnp.isfinite(trial.value) & jnp.isfinite(trial.gradient).all()
        rounding = DIGITS * epsilon * jnp.abs(point.value)
        armijo = trial.value <= point.value - _CONSTANTS.armijo * length * slope
        flatter = jnp.abs(trial.gradient @ direction) < _CONSTANTS.wolfe * slope
        noise = jnp.maximum(rounding, jnp.minimum(_CONSTANTS.noise * rounding, _CONSTANTS.loudest))
        approximate_wolfe = (trial.value <= point.value + noise) & flatter & (length * slope < rounding / _CONSTANTS.armijo)
        accepted = finite & (first | armijo | approximate_wolfe)

        s, y = trial.x - point.x, trial.gradient - point.gradient
        positive = ~first & (s @ y > _CONSTANTS.min_curvature * jnp.linalg.norm(s) * jnp.linalg.norm(y))
        curvature = _where(positive, search.curvature.push(s, y), search.curvature)
        next_direction = curvature.inverse_hessian_times(trial.gradient, first_step)
        n_flat = jnp.where(first | (trial.value < point.value - rounding), 0, search.n_flat + 1)
        after_accepted = search._replace(
            point=trial,
            curvature=curvature,
            direction=next_direction,
            length=jnp.where(positive | first, 1.0, _CONSTANTS.growth * length),
            left=jnp.where(first, jnp.inf, trial.gradient @ next_direction),
            n_shorter=jnp.array(0),
            n_flat=n_flat,
            n_evaluations=search.n_evaluations + 1,
            stopped=n_flat >= _CONSTANTS.max_flat,
        )

        # The next trial is the minimum of the parabola through the two values and the slope, within the two factors.
        excess = trial.value - point.value + length * slope  # of the trial's value over the tangent
        factor = jnp.clip(length * slope / (2 * excess), _CONSTANTS.shortest, _CONSTANTS.longest)
        after_rejected = search._replace(
            length=length * jnp.where(finite, factor, _CONSTANTS.shortest),
            n_shorter=search.n_shorter + 1,
            n_evaluations=search.n_evaluations + 1,
        )
        after_reset = after_rejected._replace(
            curvature=none,
            direction=_shrink(point.gradient, first_step) * point.gradient,
            length=jnp.ones(()),
            n_shorter=jnp.array(0),
        )
        has_pairs = (search.curvature.y != 0).any()
        exhausted = after_rejected.n_shorter >= _CONSTANTS.max_shorter
        lost_in_noise = (slope < noise) & (length * slope < rounding)
        stopped = first | (exhausted & ~has_pairs) | lost_in_noise
        after_rejected = _where(exhausted & has_pairs, after_reset, after_rejected)._replace(stopped=stopped)
        return _where(accepted, after_accepted, after_rejected)

    start = _Search(
        point=Point(x, jnp.array(jnp.inf), jnp.zeros_like(x)),
        curvature=none,
        direction=jnp.zeros_like(x),
        length=jnp.ones(()),
        left=jnp.array(jnp.inf),
        n_shorter=jnp.array(0),
        n_flat=jnp.array(0),
        n_evaluations=jnp.array(0),
        stopped=jnp.array(False),
    )
    search = jax.lax.while_loop(unfinished, step, start)
    return Minimum(*search.point, search.left, (search.left <= tolerance) | search.stopped, search.n_evaluations)


def _shrink(g: Float[Array, " z"], first_step: float) -> Float[Array, ""]:
    """The largest factor, at most one, that scales g to a length of at most ``first_step``."""
    return jnp.minimum(1.0, first_step / jnp.maximum(jnp.linalg.norm(g), jnp.finfo(g.dtype).tiny))


def _where(condition: Bool[Array, ""], one, other):
    """``one`` if the condition holds, else ``other``, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
