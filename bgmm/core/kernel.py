"""One pass over the rows for components of any family: log likelihood and its gradient, rows, assignments.

With theta the natural form of a mixture (``components.Natural``), a pass is, block by block,

    logits = log_joint(theta, x) (K, B),    R = softmax over components,    S += vjp of log_joint with cotangent c R,

in one fold: the N x K responsibilities R never exist in memory. The log likelihood sum_n c_n log sum_k exp logits_nk has S as
its derivative with respect to theta, so one pass gives value and gradient (``custom_jvp``, which unlike ``custom_vjp`` leaves
Hessians possible). Where logits = <eta_k, T(x)>, S = R T' are the expected sufficient statistics, and the pass is the E-step.

Missing values: each block holds rows of one pattern of observed coordinates, for which theta is marginalised first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from bgmm.core.components import Natural
from bgmm.core.gaussians import Linear
from bgmm.core.in_memory import InMemory
from bgmm.core.rows import Block, Rows


def _of_patterns(natural: Natural, rows: Rows) -> Natural:
    """The natural form of each pattern of observed coordinates, along a first axis; itself where nothing is missing."""
    if rows.observed is None:
        return natural
    return jax.vmap(natural.marginal)(rows.observed.astype(float))


def _of_block(naturals: Natural, rows: Rows, block: Block) -> Natural:
    """The natural form for the pattern of a block, in the precision of its rows."""
    of_pattern = naturals if rows.observed is None else jax.tree.map(lambda a: a[block.pattern], naturals)
    return jax.tree.map(lambda a: a.astype(block.x.dtype), of_pattern)


def _pass(naturals: Natural, rows: Rows, fixed: Natural | None) -> tuple[Float[Array, ""], Natural]:
    """Log likelihood and its derivative with respect to the natural form of every pattern.

    With responsibilities that follow from ``fixed`` it is the expected complete-data log likelihood instead.
    """

    def step(shared, total, block):
        (naturals, fixed), (value, statistics) = shared, total
        logits, pull = jax.vjp(lambda natural: natural.log_joint(block.x), _of_block(naturals, rows, block))
        weighing = logits if fixed is None else _of_block(fixed, rows, block).log_joint(block.x)
        top = weighing.max(axis=0)  # finite: some weight is above zero
        e = jnp.exp(weighing - top[None])
        p = e.sum(axis=0)
        r = e * (block.weights / p)[None]
        (s,) = pull(r)
        if rows.observed is None:
            statistics = jax.tree.map(jnp.add, statistics, s)
        else:
            statistics = jax.tree.map(lambda of_all, of_block: of_all.at[block.pattern].add(of_block), statistics, s)
        return value + (block.weights @ (top + jnp.log(p)) if fixed is None else jnp.vdot(r, logits)), statistics

    start = (jnp.zeros((), jax.tree.leaves(naturals)[0].dtype), jax.tree.map(jnp.zeros_like, naturals))
    return rows.fold(step, start, (naturals, fixed))


@jax.custom_jvp
def _log_likelihood(naturals, rows, fixed):
    return _pass(naturals, rows, fixed)[0]


@_log_likelihood.defjvp
def _log_likelihood_jvp(primals, tangents):
    value, statistics = _pass(*primals)
    products = jax.tree.map(jnp.vdot, statistics, tangents[0])
    return value, sum(jax.tree.leaves(products), jnp.zeros((), value.dtype))


def log_likelihood(natural: Natural, rows: Rows) -> Float[Array, ""]:
    """sum_n c_n log p(x_n); differentiable in the natural form, any number of times."""
    return _log_likelihood(_of_patterns(natural, rows), jax.lax.stop_gradient(rows), None)


def marginal_and_classification(natural: Natural, rows: Rows) -> Float[Array, "2"]:
    """sum_n c_n log sum_k w_k p(x_n | k), and sum_n c_n max_k log [w_k p(x_n | k)]: each row in its most probable component."""

    def step(naturals, total, block):
        logits = _of_block(naturals, rows, block).log_joint(block.x)
        return total + jnp.stack([block.weights @ logsumexp(logits, axis=0), block.weights @ logits.max(axis=0)])

    return rows.fold(step, jnp.zeros(2, jax.tree.leaves(natural)[0].dtype), _of_patterns(natural, rows))


def complete_log_likelihood(natural: Natural, fixed: Natural, rows: Rows) -> Float[Array, ""]:
    """sum_n c_n sum_k r_nk log [w_k p(x_n | k)], r the responsibilities of ``fixed``; differentiable in ``natural``."""
    return _log_likelihood(_of_patterns(natural, rows), *jax.lax.stop_gradient((rows, _of_patterns(fixed, rows))))


def expected_statistics[N: Natural](natural: N, rows: Rows) -> tuple[Float[Array, ""], N]:
    """Log likelihood and its derivative with respect to the natural form.

    Of a ``Linear`` form the derivative's ``eta`` is S = sum_n c_n E[1(z_n = k) T(x_n) | observed part of x_n]: the E-step.
    """
    return jax.value_and_grad(log_likelihood)(natural, rows)


def _log_joint(natural: Natural, rows: Rows, function, *, key: Array | None = None):
    """``function(logits, key)`` of every block, the last axis of its result the rows; of the row in each place."""

    def of_block(naturals, block, key):
        logits = _of_block(naturals, rows, block).log_joint(block.x)
        return jnp.moveaxis(function(logits, key), -1, 0)

    return rows.map(of_block, _of_patterns(natural, rows), key=key)


def log_likelihood_of_rows(natural: Natural, rows: Rows) -> Float[Array, " places"]:
    """log p(x_n) of the row in each place, of its observed part where values are missing; values of padding are arbitrary."""
    return _log_joint(natural, rows, lambda logits, _: logsumexp(logits, axis=0))


def responsibilities(natural: Natural, rows: Rows) -> Float[Array, "places k"]:
    """p(z_n = k | x_n) of the row in each place."""
    return _log_joint(natural, rows, lambda logits, _: jax.nn.softmax(logits, axis=0))


def _draw(logits: Float[Array, "k b"], key: Array) -> Int[Array, " b"]:
    return jnp.argmax(logits + jax.random.gumbel(key, logits.shape, logits.dtype), axis=0)  # the Gumbel-max trick


def assignments(natural: Natural, rows: Rows, *, key: Array) -> Int[Array, " places"]:
    """One draw of the component of the row in each place from its responsibilities."""
    return _log_joint(natural, rows, _draw, key=key)


def draw_from(below: Float[Array, "k b"], *, key: Array) -> Int[Array, " b"]:
    """One draw for each row by inversion of its distribution function, given as cumulative masses of any total."""
    u = jax.random.uniform(key, below[-1].shape, below.dtype) * below[-1]
    return (below <= u[None]).sum(0)


class CompleteData(NamedTuple):
    """A component for the row in each place, its missing values, and the sufficient statistics of each component."""

    log_likelihood: Float[Array, ""]  # of the observed values, the assignments summed out
    z: Int[Array, "n_blocks b"]
    x: Float[Array, "n_blocks d b"]
    statistics: Float[Array, "k p"]  # sum over the rows of component k of T(x)


def draw_complete_data(
    densities: Linear, log_weights: Float[Array, " k"], rows: InMemory, *, inverse_temperature: float | Array = 1.0, key: Array
) -> CompleteData:
    """One draw of all assignments and missing values given the mixture, with its sufficient statistics, in one pass.

    A row of weight c counts c times with its one assignment. Densities of the observed values are raised to the inverse
    temperature; missing values have their conditional laws whatever it is. (Were they tempered as well, each would multiply
    what is sampled by a power of the scale of its component, so that scales run away.)
    """
    naturals, T = _of_patterns(densities, rows), densities.factor.statistics
    conditionals = None
    if rows.observed is not None:
        conditional = jax.vmap(densities.factor.conditional, in_axes=(None, 0))
        conditionals = conditional(densities.eta, rows.observed.astype(densities.eta.dtype))

    def step(carry, block):
        total, statistics = carry
        block, key = Block(*block[:3]), block[3]
        key_z, key_x = jax.random.split(key)
        x = block.x
        logits = inverse_temperature * _of_block(naturals, rows, block).log_joint(x) + log_weights[:, None]
        top = logits.max(axis=0)
        below = jnp.cumsum(jnp.exp(logits - top[None]), axis=0)
        z = draw_from(below, key=key_z)
        assigned = (jnp.arange(below.shape[0])[:, None] == z[None]).astype(x.dtype)
        if conditionals is not None:
            conditional = jax.tree.map(lambda a: a[block.pattern], conditionals)
            x = conditional.fill(x, assigned, jax.random.normal(key_x, x.shape, x.dtype))
        statistics += (assigned * block.weights[None]) @ T(x).T
        return (total + block.weights @ (top + jnp.log(below[-1])), statistics), (z, x)

    start = (jnp.zeros((), densities.eta.dtype), jnp.zeros_like(densities.eta))
    keys = jax.random.split(key, rows.x.shape[0])
    (total, statistics), (z, x) = jax.lax.scan(step, start, (rows.x, rows.weights, rows.pattern, keys))
    return CompleteData(total, z, x, statistics)


def sum_statistics(T: Callable, x: Float[Array, "n_blocks d b"], c: Float[Array, "n_blocks b"]) -> Float[Array, " p"]:
    """sum_n c_n T(x_n) of complete rows, in double precision where it is on."""
    p = jax.eval_shape(T, x[0]).shape[0]
    return jax.lax.scan(lambda total, block: (total + T(block[0]) @ block[1], None), jnp.zeros(p, float), (x, c))[0]


def counts(natural: Natural, rows: Rows, *, key: Array) -> Array:
    """How many rows of weight above zero each component holds when each row's assignment is drawn once."""
    k = jax.eval_shape(lambda: natural.log_joint(jnp.zeros((rows.n_features, 1), rows.dtype))).shape[0]

    def of_block(naturals, block, key):
        z = _draw(_of_block(naturals, rows, block).log_joint(block.x), key)
        return jnp.zeros((1, k), int).at[0, z].add((block.weights > 0).astype(int))

    return rows.map(of_block, _of_patterns(natural, rows), key=key).sum(0)
