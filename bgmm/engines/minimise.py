"""L-BFGS with a zoom line search (Nocedal and Wright 2006, chapters 3 and 7; optax), never leaving a point for a worse one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


class Minimum(NamedTuple):
    """Where the search ended; the best point it saw."""

    x: Float[Array, " z"]
    value: Float[Array, ""]
    gradient: Float[Array, " z"]
    left: Float[Array, ""]  # what the next step was expected to gain, -g'p for the direction p: twice the Newton decrement's
    n_steps: Int[Array, ""]
    stuck: Bool[Array, ""]  # no step along the search direction went down: the value's last digits are reached


def minimise(f: Callable, x: Float[Array, " z"], *, max_steps: int, gradient_tolerance: float) -> Minimum:
    """A local minimum of ``f`` near ``x``: all entries of its gradient under ``gradient_tolerance``, or the steps used up."""
    directions = optax.scale_by_lbfgs()
    line_search = optax.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one")

    def going(carry):
        at, _, _ = carry
        steep = jnp.abs(at.gradient).max() > gradient_tolerance
        return (at.n_steps < max_steps) & steep & ~at.stuck

    def step(carry):
        at, memory, search = carry
        ahead, memory = directions.update(at.gradient, memory, at.x)
        left = at.gradient @ ahead
        update, search = line_search.update(-ahead, search, at.x, value=at.value, grad=at.gradient, value_fn=f)
        value, gradient = optax.tree.get(search, "value"), optax.tree.get(search, "grad")
        down = (value < at.value) & jnp.isfinite(gradient).all()
        moved = Minimum(at.x + update, value, gradient, left, at.n_steps + 1, jnp.array(False))
        stayed = at._replace(left=left, n_steps=at.n_steps + 1, stuck=jnp.array(True))
        return jax.tree.map(lambda new, old: jnp.where(down, new, old), moved, stayed), memory, search

    value, gradient = jax.value_and_grad(f)(x)
    start = Minimum(x, value, gradient, jnp.array(jnp.inf), jnp.array(0), jnp.array(False))
    return jax.lax.while_loop(going, step, (start, directions.init(x), line_search.init(x)))[0] if x.size else start
