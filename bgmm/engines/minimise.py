"""L-BFGS with a zoom line search (optax), stopped by the gradient, never leaving a point for a worse one."""

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
    n_steps: Int[Array, ""]
    stuck: Bool[Array, ""]  # no step along the search direction went down


def minimise(f: Callable, x: Float[Array, " z"], *, max_steps: int, gradient_tolerance: float) -> Minimum:
    """A local minimum of ``f`` near ``x``: all entries of its gradient under ``gradient_tolerance``, or the steps used up."""
    solver = optax.lbfgs()

    def going(carry):
        at, _ = carry
        steep = jnp.abs(at.gradient).max() > gradient_tolerance
        return (at.n_steps < max_steps) & steep & ~at.stuck

    def step(carry):
        at, state = carry
        update, state = solver.update(at.gradient, state, at.x, value=at.value, grad=at.gradient, value_fn=f)
        x = optax.apply_updates(at.x, update)
        value, gradient = optax.tree.get(state, "value"), optax.tree.get(state, "grad")
        down = (value < at.value) & jnp.isfinite(gradient).all()
        moved = Minimum(x, value, gradient, at.n_steps + 1, jnp.array(False))
        stayed = at._replace(n_steps=at.n_steps + 1, stuck=jnp.array(True))
        return jax.tree.map(lambda new, old: jnp.where(down, new, old), moved, stayed), state

    value, gradient = jax.value_and_grad(f)(x)
    start = Minimum(x, value, gradient, jnp.array(0), jnp.array(False))
    return jax.lax.while_loop(going, step, (start, solver.init(x)))[0] if x.size else start
