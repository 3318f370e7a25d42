"""L-BFGS that evaluates its function once a step, so that a batch of searches runs side by side.

Directions come from the compact form of the inverse Hessian (Byrd, Nocedal and Schnabel 1994, theorem 2.2). A step is taken
when the value falls enough (Armijo), or, where the fall drowns in the value's last digits, when the slope does (Hager and
Zhang 2005, equation 4.1); otherwise the next step tries a shorter one. No point is left for a worse one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

_MEMORY = 12  # pairs
_FALL = 1e-4  # share of the fall that the slope promises
_SHORTENINGS = 12  # of a step, before the curvature is forgotten; and again along the gradient, before giving up
_LONGER = 4.0
_FLAT = 5
DIGITS = 10  # rounding errors in a value of a sum over the data


class Point(NamedTuple):
    """Where a search stands."""

    x: Float[Array, " z"]
    value: Float[Array, ""]
    gradient: Float[Array, " z"]


class Curvature(NamedTuple):
    """The last differences s of the points and y of their gradients, oldest first; zero where there is none yet."""

    s: Float[Array, "m z"]
    y: Float[Array, "m z"]

    def push(self, s: Float[Array, " z"], y: Float[Array, " z"]) -> Curvature:
        """With one more pair."""
        return Curvature(jnp.concatenate([self.s[1:], s[None]]), jnp.concatenate([self.y[1:], y[None]]))

    def inverse_hessian_times(self, g: Float[Array, " z"], first_step: float) -> Float[Array, " z"]:
        """H g; without any pair g itself, or as much of it as has the length ``first_step``."""
        sy, yy = self.s @ self.y.T, self.y @ self.y.T
        empty = jnp.diagonal(yy) == 0
        R = jnp.triu(sy) + jnp.diag(empty.astype(g.dtype))
        cut = jnp.minimum(1.0, first_step / jnp.maximum(jnp.linalg.norm(g), jnp.finfo(g.dtype).tiny))
        scale = jnp.where(empty[-1], cut, sy[-1, -1] / jnp.where(empty[-1], 1.0, yy[-1, -1]))
        p = solve_triangular(R, self.s @ g)
        q = solve_triangular(R, jnp.diagonal(sy) * p + scale * (yy @ p - self.y @ g), trans=1)
        return scale * (g - p @ self.y) + q @ self.s


class Minimum(NamedTuple):
    """Where the search ended."""

    x: Float[Array, " z"]
    value: Float[Array, ""]
    gradient: Float[Array, " z"]
    left: Float[Array, ""]  # g'Hg: about twice what a Newton step would still gain
    ended: Bool[Array, ""]  # and was not cut short
    n_evaluations: Int[Array, ""]


class _Search(NamedTuple):
    at: Point
    curvature: Curvature
    ahead: Float[Array, " z"]  # H g
    length: Float[Array, ""]  # of the next step, in units of ahead
    left: Float[Array, ""]
    n_shortened: Int[Array, ""]
    n_flat: Int[Array, ""]  # steps in a row whose fall drowned in the last digits
    n: Int[Array, ""]
    stuck: Bool[Array, ""]


def minimise(
    function: Callable,
    x: Float[Array, " z"],
    *,
    max_evaluations: int | Int[Array, ""],
    tolerance: float = 1e-12,
    first_step: float = 1.0,
    epsilon: float = float(jnp.finfo(jnp.float64).eps),
) -> Minimum:
    """A local minimum near ``x``.

    :param function: gives value and gradient at a point; a value that is not finite marks a point where none may be.
    :param tolerance: of ``left``, at which the search ends.
    :param first_step: length of the first one at most.
    :param epsilon: relative rounding error of the values.
    """
    if not x.size:
        value, gradient = function(x)
        return Minimum(x, value, gradient, jnp.array(0.0), jnp.array(True), jnp.array(1))
    none = Curvature(jnp.zeros((_MEMORY, x.size), x.dtype), jnp.zeros((_MEMORY, x.size), x.dtype))

    def going(search: _Search) -> Bool[Array, ""]:
        return (search.n < max_evaluations) & (search.left > tolerance) & ~search.stuck

    def step(search: _Search) -> _Search:
        at, ahead, length = search.at, search.ahead, search.length
        slope = at.gradient @ ahead
        trial = at.x - length * ahead
        there = Point(trial, *function(trial))
        first = search.n == 0  # at x itself: one place in the program evaluates the function, and is compiled
        finite = jnp.isfinite(there.value) & jnp.isfinite(there.gradient).all()
        rounding = DIGITS * epsilon * jnp.abs(at.value)
        lower = there.value <= at.value - _FALL * length * slope
        flatter = (there.value <= at.value + rounding) & (jnp.abs(there.gradient @ ahead) < 0.9 * slope)
        taken = finite & (first | lower | (flatter & (length * slope < rounding / _FALL)))
        s, y = there.x - at.x, there.gradient - at.gradient
        bent = ~first & (s @ y > 1e-12 * jnp.linalg.norm(s) * jnp.linalg.norm(y))
        curvature = _where(bent, search.curvature.push(s, y), search.curvature)
        ahead_there = curvature.inverse_hessian_times(there.gradient, first_step)
        moved = search._replace(
            at=there,
            curvature=curvature,
            ahead=ahead_there,
            length=jnp.where(bent | first, 1.0, _LONGER * length),  # downhill all the way: further next time
            left=jnp.where(first, jnp.inf, there.gradient @ ahead_there),
            n_shortened=jnp.array(0),
            n_flat=(n_flat := jnp.where(first | (there.value < at.value - rounding), 0, search.n_flat + 1)),
            n=search.n + 1,
            stuck=n_flat >= _FLAT,
        )
        rise = there.value - at.value + length * slope  # over the tangent: the parabola's lowest point follows
        shorter = length * jnp.where(finite, jnp.clip(length * slope / (2 * rise), 0.1, 0.5), 0.1)
        n_shortened = search.n_shortened + 1
        kept = search._replace(length=shorter, n_shortened=n_shortened, n=search.n + 1)
        fresh = none.inverse_hessian_times(at.gradient, first_step)
        again = kept._replace(curvature=none, ahead=fresh, length=jnp.ones(()), n_shortened=jnp.array(0))
        known = (search.curvature.y != 0).any()
        over = n_shortened >= _SHORTENINGS
        kept = _where(over & known, again, kept._replace(stuck=over & ~known))
        return _where(taken, moved, kept._replace(stuck=kept.stuck | first))

    beginning = _Search(
        at=Point(x, jnp.array(jnp.inf), jnp.zeros_like(x)),
        curvature=none,
        ahead=jnp.zeros_like(x),
        length=jnp.ones(()),
        left=jnp.array(jnp.inf),
        n_shortened=jnp.array(0),
        n_flat=jnp.array(0),
        n=jnp.array(0),
        stuck=jnp.array(False),
    )
    found = jax.lax.while_loop(going, step, beginning)
    at = found.at
    return Minimum(at.x, at.value, at.gradient, found.left, (found.left <= tolerance) | found.stuck, found.n)


def _where(condition: Bool[Array, ""], one, other):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
