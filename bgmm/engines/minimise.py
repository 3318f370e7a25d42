"""L-BFGS with a zoom line search (Nocedal and Wright 2006, chapters 3 and 7; optax), never leaving a point for a worse one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

_NOTHING = 1e-12  # of gain, under the last digits of any log posterior


class Minimum(NamedTuple):
    """Where the search ended; the best point it saw."""

    x: Float[Array, " z"]
    value: Float[Array, ""]
    gradient: Float[Array, " z"]
    left: Float[Array, ""]  # -g'p for the last direction p: about twice what a Newton step would still gain
    n_steps: Int[Array, ""]
    stuck: Bool[Array, ""]  # no step went down, not even along the gradient: the value's last digits are reached


def minimise(f: Callable, x: Float[Array, " z"], *, max_steps: int, gradient_tolerance: float) -> Minimum:
    """A local minimum of ``f`` near ``x``: all entries of its gradient under ``gradient_tolerance``, or the steps used up."""
    directions = optax.scale_by_lbfgs()
    line_search = optax.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one")

    def going(carry):
        at, *_ = carry
        steep = jnp.abs(at.gradient).max() > gradient_tolerance
        return (at.n_steps < max_steps) & steep & (at.left > _NOTHING) & ~at.stuck

    def step(carry):
        at, memory, search, forgotten = carry
        ahead, memory = directions.update(at.gradient, memory, at.x)
        left = jnp.where(forgotten, at.left, at.gradient @ ahead)  # the gradient itself knows no curvature
        update, search = line_search.update(-ahead, search, at.x, value=at.value, grad=at.gradient, value_fn=f)
        value, gradient = optax.tree.get(search, "value"), optax.tree.get(search, "grad")
        down = (value < at.value) & jnp.isfinite(gradient).all()
        moved = Minimum(at.x + update, value, gradient, left, at.n_steps + 1, jnp.array(False))
        stayed = at._replace(left=left, n_steps=at.n_steps + 1, stuck=forgotten)
        at, memory = _where(down, (moved, memory), (stayed, nothing))
        return at, memory, search, ~down

    value, gradient = jax.value_and_grad(f)(x)
    start = Minimum(x, value, gradient, jnp.array(jnp.inf), jnp.array(0), jnp.array(False))
    if not x.size:
        return start
    nothing = directions.init(x)
    return jax.lax.while_loop(going, step, (start, nothing, line_search.init(x), jnp.array(True)))[0]


def _where(condition: Bool[Array, ""], one, other):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
