"""One pass over the data: natural parameters in, log likelihood and expected sufficient statistics out.

The rows are stored as blocks (n_blocks, D, B), rows last, so that a pass is, block by block,

    logits = eta (K,P) @ T (P,B),    softmax over components,    S += R (K,B) @ T' (B,P)

in one scan: neither the N x K responsibilities nor the N x P features ever exist in memory. The log likelihood
sum_n c_n log p(x_n) has S as its derivative with respect to eta, so one pass gives value and gradient (``custom_jvp``,
which unlike ``custom_vjp`` leaves Hessians possible).

(The whitened product, |L_k^-1 (x - mu_k)|^2 component by component, takes twice the operations, and was measured slower up to
128 features: 1.2 to 2.4 times.)

Missing values: rows are sorted by which coordinates they observe, and each block holds one such pattern, for which
eta is marginalised first (``gaussian.marginal``). Complete data are the case of one pattern.

Products lose about eps * (distance / sd)^2 when tight components lie far from the origin. Given ``centres`` (K, D), the
features of component k are those of x - centre_k instead, and eta must be stated about these centres: slower, and exact.

Many blocks are spread over the devices that JAX has (``devices``).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import DTypeLike

from bgmm.core import gaussian
from bgmm.core.devices import Devices, for_blocks
from bgmm.core.scaling import CHUNK, Scaling

_BLOCK_BYTES = 384 * 1024  # T of a block: between 50 KB and 1 MB the speed is flat, at 10 MB two to three times slower
_BLOCK_OVERHEAD = 64  # a block costs about as much as this many rows before its first row


class Blocks(NamedTuple):
    """Rows in blocks: values (zero where missing), observation weights (zero in padding), and each block's pattern."""

    x: Float[Array, "n_blocks d b"]
    weights: Float[Array, "n_blocks b"]
    pattern: Int[Array, " n_blocks"]
    observed: Bool[Array, "m d"] | None  # coordinates seen by each pattern; None when no value is missing
    devices: Devices = Devices()  # over which the blocks are spread

    @property
    def total_weight(self) -> Float[Array, ""]:
        """Sum of the observation weights: N when none were given."""
        return self.weights.sum()

    def on_one_device(self) -> Blocks:
        """The same blocks, not spread."""
        if self.devices.n == 1:
            return self
        x, weights, pattern = (jnp.asarray(np.asarray(a)) for a in (self.x, self.weights, self.pattern))
        return self._replace(x=x, weights=weights, pattern=pattern, devices=Devices())


def bucket(n: int) -> int:
    """The smallest of 1, 2, ..., 16, 18, ..., 32, 36, ... that holds n: few shapes to compile, at most 1/8 of padding."""
    step = 2 ** max(0, (max(n, 1) - 1).bit_length() - 4)
    return -(-n // step) * step


def _block_size(counts: np.ndarray, d: int) -> int:
    """Rows in a block, a power of two unless one block holds everything: small enough for the cache, few padded."""
    p = gaussian.n_statistics(d)
    largest = int(np.clip(2 ** round(np.log2(_BLOCK_BYTES / (8 * p))), 64, 4096))
    if counts.size == 1:
        return min(largest, bucket(int(counts[0])))
    sizes = [2**i for i in range(3, largest.bit_length())]
    return min(sizes, key=lambda b: int((-(-counts // b) * (b + _BLOCK_OVERHEAD)).sum()))


def make_blocks(
    x: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    scaling: Scaling | None = None,
    block_size: int | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[Blocks, Int[np.ndarray, " n"]]:
    """Blocks of the rows of ``x`` (n, d), where NaN marks a missing value; ``weights`` (n,) are observation weights.

    The rows are standardised by ``scaling`` when it is given. Beside the blocks no other copy of the data is made.

    Also returns the place of each row among the n_blocks * b places: no part of the blocks, so that what is compiled for
    one number of rows serves all that fill as many blocks.
    """
    n, d = x.shape
    c = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    observed, pattern_of = _patterns(x)
    counts = np.bincount(pattern_of, minlength=len(observed))
    b = block_size or _block_size(counts, d)
    blocks_of = -(-counts // b)
    first_place = np.concatenate([[0], np.cumsum(blocks_of)[:-1]]) * b
    order = np.argsort(pattern_of, kind="stable")
    rank_in_pattern = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    position = np.empty(n, np.int64)
    position[order] = first_place[pattern_of[order]] + rank_in_pattern
    n_filled = int(blocks_of.sum())
    devices = for_blocks(n_filled)
    n_blocks = bucket(-(-n_filled // devices.n)) * devices.n
    values, c_places = np.zeros((n_blocks, d, b), dtype), np.zeros(n_blocks * b, dtype)
    for start in range(0, n, CHUNK):
        rows, place = x[start : start + CHUNK], position[start : start + CHUNK]
        values[place // b, :, place % b] = np.nan_to_num(rows if scaling is None else scaling.standardise(rows))
    c_places[position] = c
    pattern = np.zeros(n_blocks, np.int64)
    pattern[:n_filled] = np.repeat(np.arange(len(observed)), blocks_of)
    blocks = Blocks(
        x=devices.spread(values),
        weights=devices.spread(c_places.reshape(n_blocks, b)),
        pattern=devices.spread(pattern),
        observed=None if observed.all() else jnp.asarray(observed),
        devices=devices,
    )
    return blocks, position


def _patterns(x: np.ndarray) -> tuple[Bool[np.ndarray, "m d"], Int[np.ndarray, " n"]]:
    """The distinct patterns of observed coordinates, and which of them each row has."""
    if not np.isnan(x).any():
        return np.ones((1, x.shape[1]), bool), np.zeros(len(x), np.int64)
    bits = np.packbits(~np.isnan(x), axis=1)
    _, first, pattern_of = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    return ~np.isnan(x[first]), pattern_of.reshape(-1)


def rows_at(blocks: Blocks, place: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    """The rows in these places, zero where values are missing."""
    b = blocks.x.shape[2]
    return np.asarray(blocks.x[place // b, :, place % b])


def subsample(blocks: Blocks, n: int, *, rng: np.random.Generator) -> Blocks:
    """Blocks of ``n`` rows drawn without replacement, their weights raised to the total of all rows; or of all, when fewer."""
    c = np.asarray(blocks.weights).reshape(-1)
    if np.count_nonzero(c) <= n:
        return blocks
    place = np.sort(rng.choice(np.flatnonzero(c), n, replace=False))
    x = rows_at(blocks, place)
    if blocks.observed is not None:
        x = np.where(np.asarray(blocks.observed)[np.asarray(blocks.pattern)[place // blocks.x.shape[2]]], x, np.nan)
    return make_blocks(x, c[place] * (c.sum() / c[place].sum()), dtype=blocks.x.dtype)[0]


def stack_rows(rows: Float[Array, "n d"]) -> Blocks:
    """Blocks of complete rows of unit weight, in order, inside or outside of a traced function."""
    n, d = rows.shape
    b = _block_size(np.array([n]), d)
    n_blocks = max(1, -(-n // b))
    padded = jnp.pad(rows, ((0, n_blocks * b - n), (0, 0)))
    place = jnp.arange(n_blocks * b)
    return Blocks(
        x=padded.reshape(n_blocks, b, d).transpose(0, 2, 1),
        weights=(place < n).astype(rows.dtype).reshape(n_blocks, b),
        pattern=jnp.zeros(n_blocks, int),
        observed=None,
    )


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
