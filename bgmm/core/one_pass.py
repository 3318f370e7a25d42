"""One pass over the data: natural parameters in, log likelihood and expected sufficient statistics out.

The rows are stored in ``blocks`` (n_blocks, D, B), rows last, so that a pass is, block by block,

    logits = eta (K,P) @ T (P,B),    softmax over components,    S += R (K,B) @ T' (B,P)

in one scan: neither the N x K responsibilities nor the N x P features ever exist in memory. The log likelihood
sum_n c_n log p(x_n) has S as its derivative with respect to eta, so one pass gives value and gradient (``custom_jvp``,
which unlike ``custom_vjp`` leaves Hessians possible).

(The whitened product, |L_k^-1 (x - mu_k)|^2 component by component, takes twice the operations, and was measured slower up to
128 features: 1.2 to 2.4 times.)

Missing values: each block holds rows of one pattern of observed coordinates, for which eta is marginalised first
(``gaussian.marginal``). Complete data are the case of one pattern.

Products lose about eps * (distance / sd)^2 when tight components lie far from the origin. Given ``centres`` (K, D), the
features of component k are those of x - centre_k instead, and eta must be stated about these centres: slower, and exact.

Many blocks are spread over the devices that JAX has (``devices``).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from bgmm.core import gaussian
from bgmm.core.blocks import Blocks


def _logits(eta_b: Float[Array, "k p"], x: Float[Array, "d b"], centres, seen: Bool[Array, " d"] | None):
    """Log joint density of each component and column of x, and the features that it is linear in: T(x), shared or own."""
    if centres is None:
        t = gaussian.features(x)
        return eta_b @ t, t
    y = x[None] - centres[:, :, None]
    t = jax.vmap(gaussian.features)(y if seen is None else y * seen[None, :, None])
    return jnp.einsum("kp,kpb->kb", eta_b, t), t


def _seen(observed: Bool[Array, "m d"] | None, pattern) -> Bool[Array, " d"] | None:
    return None if observed is None else observed[pattern]


def _by_pattern(eta: Float[Array, "k p"], blocks: Blocks) -> Float[Array, "m k p"]:
    """eta of each pattern of observed coordinates."""
    if blocks.observed is None:
        return eta[None]
    return jax.vmap(gaussian.marginal, in_axes=(None, 0))(eta, blocks.observed)


def _pass(etas: Float[Array, "m k p"], blocks: Blocks, centres) -> tuple[Float[Array, ""], Float[Array, "m k p"]]:
    """Log likelihood and its derivative with respect to the natural parameters of every pattern, in one scan a device."""
    split = (blocks.x, blocks.weights, blocks.pattern)
    shared = (etas, blocks.observed, centres)
    return blocks.devices.on_each(_scan, summed=True)(shared, split)


def _scan(shared, split):
    etas, observed, centres = shared

    def step(carry, block):
        total, statistics = carry
        x, c, m = block
        logits, t = _logits(etas[m], x, centres, _seen(observed, m))
        top = logits.max(axis=0)  # finite: a weight of zero has a finite logarithm
        e = jnp.exp(logits - top[None])
        p = e.sum(axis=0)
        r = e * (c / p)[None]
        s = r @ t.T if centres is None else jnp.einsum("kb,kpb->kp", r, t)
        return (total + c @ (top + jnp.log(p)), statistics.at[m].add(s)), None

    start = (jnp.zeros((), etas.dtype), jnp.zeros_like(etas))
    return jax.lax.scan(step, start, split)[0]


@jax.custom_jvp
def _log_likelihood(etas, blocks, centres):
    return _pass(etas, blocks, centres)[0]


@_log_likelihood.defjvp
def _log_likelihood_jvp(primals, tangents):
    value, statistics = _pass(*primals)
    return value, jnp.vdot(statistics, tangents[0])


def log_likelihood(eta: Float[Array, "k p"], blocks: Blocks, centres: Float[Array, "k d"] | None = None) -> Float[Array, ""]:
    """sum_n c_n log sum_k exp <eta_k, T(x_n)>; differentiable in eta, any number of times."""
    return _log_likelihood(_by_pattern(eta, blocks), *jax.lax.stop_gradient((blocks, centres)))


def expected_statistics(
    eta: Float[Array, "k p"], blocks: Blocks, centres: Float[Array, "k d"] | None = None
) -> tuple[Float[Array, ""], Float[Array, "k p"]]:
    """Log likelihood and S = sum_n c_n E[1(z_n = k) T(x_n) | observed part of x_n]: the E-step."""
    return jax.value_and_grad(log_likelihood)(eta, blocks, centres)


def _places(function, eta, blocks: Blocks, centres, extra):
    """``function(logits, extra)`` of each block, whose last axis is rows, place after place."""

    def of_share(shared, split):
        etas, observed, centres = shared

        @jax.checkpoint
        def of_block(block):
            x, m, extra = block
            return jnp.moveaxis(function(_logits(etas[m], x, centres, _seen(observed, m))[0], extra), -1, 0)

        by_block = jax.lax.map(of_block, split)
        return by_block.reshape(-1, *by_block.shape[2:])

    shared = (_by_pattern(eta, blocks), blocks.observed, centres)
    return blocks.devices.on_each(of_share, summed=False)(shared, (blocks.x, blocks.pattern, extra))


def log_likelihood_places(eta, blocks: Blocks, centres=None) -> Float[Array, " places"]:
    """log p(x_n) of the row in each place, of its observed part where values are missing; padding has some number too."""
    return _places(lambda logits, _: logsumexp(logits, axis=0), eta, blocks, centres, blocks.weights)


def responsibilities(eta, blocks: Blocks, centres=None) -> Float[Array, "places k"]:
    """p(z_n = k | x_n) of the row in each place."""
    return _places(lambda logits, _: jax.nn.softmax(logits, axis=0), eta, blocks, centres, blocks.weights)


def assignments(eta, blocks: Blocks, centres=None, *, key: Array) -> Int[Array, " places"]:
    """One draw of the component of the row in each place from its responsibilities (the Gumbel-max trick)."""
    keys = jax.random.split(key, blocks.x.shape[0])

    def draw(logits, k):
        return jnp.argmax(logits + jax.random.gumbel(k, logits.shape, logits.dtype), axis=0)

    return _places(draw, eta, blocks, centres, keys)


class Drawn(NamedTuple):
    """Complete data: a component for the row in each place, its missing values, and what the components then hold."""

    log_likelihood: Float[Array, ""]  # of the observed values, the assignments summed out
    z: Int[Array, "n_blocks b"]
    x: Float[Array, "n_blocks d b"]
    statistics: Float[Array, "k p"]  # sum over the rows of component k of T(x)


def drawn(eta: Float[Array, "k p"], blocks: Blocks, *, key: Array) -> Drawn:
    """One draw of all assignments and missing values given the mixture, with its sufficient statistics, in one pass.

    Observation weights must be zero or one.
    """
    etas = _by_pattern(eta, blocks)
    by_pattern = None
    if blocks.observed is not None:
        by_pattern = jax.vmap(gaussian.conditional, in_axes=(None, 0))(eta, blocks.observed)

    def step(carry, block):
        total, statistics = carry
        x, c, m, key = block
        key_z, key_x = jax.random.split(key)
        logits, t = _logits(etas[m], x, None, None)
        top = logits.max(axis=0)
        below = jnp.cumsum(jnp.exp(logits - top[None]), axis=0)
        u = jax.random.uniform(key_z, top.shape, top.dtype) * below[-1]
        z = (below <= u[None]).sum(0)  # the distribution function inverted
        mine = (jnp.arange(below.shape[0])[:, None] == z[None]) * c[None]
        if by_pattern is not None:
            a, B, C = (each[m] for each in by_pattern)
            noise = jax.random.normal(key_x, x.shape, x.dtype)
            missing = a[:, :, None] + jnp.einsum("kij,jb->kib", B, x) + jnp.einsum("kij,jb->kib", C, noise)
            x = x + jnp.einsum("kb,kib->ib", mine, missing)
            t = gaussian.features(x)
        return (total + c @ (top + jnp.log(below[-1])), statistics + mine @ t.T), (z, x)

    start = (jnp.zeros((), eta.dtype), jnp.zeros_like(eta))
    keys = jax.random.split(key, blocks.x.shape[0])
    (total, statistics), (z, x) = jax.lax.scan(step, start, (blocks.x, blocks.weights, blocks.pattern, keys))
    return Drawn(total, z, x, statistics)


def sums(x: Float[Array, "n_blocks d b"], c: Float[Array, "n_blocks b"]) -> Float[Array, " p"]:
    """sum_n c_n T(x_n) of complete rows."""

    def step(total, block):
        return total + gaussian.features(block[0]) @ block[1], None

    return jax.lax.scan(step, jnp.zeros(gaussian.n_statistics(x.shape[1]), float), (x, c))[0]
