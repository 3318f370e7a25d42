r"""Draws for priors that leave components empty, from approximations of mixtures whose components all hold rows.

Where a prior favours few clusters, or leaves their number open, the posterior of a mixture of K components has most of its
mass where components are empty, and is nothing like a normal distribution there. So the mixture of m = 1, 2, ... components
with uniform weights is approximated, and its draws (theta, and one draw C of the assignments) are kept where every component
holds a row. As the density of the rows given a partition C of them into m blocks is the same under every prior of the weights,
importance weights take those draws to the prior p that was declared:

.. math::
    p(\theta, C \mid x) \propto \frac{p(C)}{p_m(C)} \, p_m(\theta, C, x), \qquad
    p(C) = \sum_K p(K) \int p(\alpha) \, p(C \mid \alpha, K) \, d\alpha,

with p_m(C) the probability of C under m uniform weights. The sum of the mean weights over m is the evidence. Given C, the
number of components K, the concentration and the weights are drawn from what the prior says of them, and the empty components
from the prior (Nobile 2004; Miller and Harrison 2018, on the identity).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import logsumexp

from bgmm.core import kernel
from bgmm.core.checks import numpy_generator
from bgmm.core.components import Mixture
from bgmm.core.factor import AnyArray
from bgmm.core.importance import log_mean, resample, smoothed_weights
from bgmm.core.progress import stage
from bgmm.engines.base import Draws
from bgmm.engines.gibbs.draws import draws_of_states
from bgmm.engines.gibbs.sweep import State
from bgmm.engines.variational.draws import Weighted, with_worth
from bgmm.program.declare import make_target
from bgmm.program.family import DeclaredMixture
from bgmm.program.target import Target
from bgmm.program.trace import unpack
from bgmm.program.weights import UniformWeights
from bgmm.program.weights_prior import concentration_prior

_NEGLIGIBLE = 1e-3  # after two m in a row that are less probable, no larger m is tried
_N_CONCENTRATIONS = 64  # cells of equal width in log alpha, over which p(C) is integrated
_N_PRIOR_DRAWS = 4096  # of alpha, whose range the cells cover
_IN_PARALLEL = 64


class Concentrations(NamedTuple):
    """Cells of log alpha and their prior probabilities; a known concentration is one cell without width."""

    log_alpha: Float[Array, " a"]  # middles
    log_p: Float[Array, " a"]
    width: Float[Array, ""]


class Filled(NamedTuple):
    """Draws of mixtures of m components, of which those that count have a row in each; all padded to M places."""

    log_weights: Float[np.ndarray, " s"]  # log of p(x, theta, C) / q
    z: Float[np.ndarray, "s m q"]  # unconstrained parameters of each component
    h: Float[np.ndarray, "s h"]  # and of what they share
    counts: Float[np.ndarray, "s m"]


def draws_over_occupied(
    target: Target, weighted: Callable[[Target, Array], tuple[Target, Weighted]], n_draws: int, *, key: Array
) -> Draws:
    """``n_draws`` draws of equal weight, their numbers of occupied components in proportion to the evidence."""
    key_fit, key_states, key_numpy = jax.random.split(key, 3)
    alphas = _concentrations(target)
    fits, gaps = [], []
    leads = ""  # what is said of the fits so far
    largest = min(target.n_components, target.rows.n_counted)
    for m in range(1, largest + 1):
        key_m, key_counts = jax.random.split(jax.random.fold_in(key_fit, m))
        with stage(f"K+ = {m}{leads}"):
            of_m, found = weighted(with_components(target, m), key_m)
            fits.append(_filled(target, of_m, found, alphas, key=key_counts))
        gaps.append(log_mean(found.log_ratio) - found.elbo)
        log_evidence = np.array([log_mean(fit.log_weights) for fit in fits])
        p = np.exp(log_evidence - logsumexp(log_evidence))
        leads = f" ({p.argmax() + 1} leads)"
        if m > 2 and (p[-2:] < _NEGLIGIBLE).all():
            break
    sizes = np.array([len(fit.log_weights) for fit in fits])
    every = Filled(*(np.concatenate(arrays) for arrays in zip(*fits, strict=True)))
    # each fit's draws stand for its own m: their mean weight counts, whatever their number
    weights = smoothed_weights(every.log_weights - np.repeat(np.log(sizes / sizes.sum()), sizes))
    rng = numpy_generator(key_numpy)
    chosen = rng.permutation(resample(weights.log_weights, n_draws, rng=rng))
    drawn = jax.tree.map(lambda a: jnp.asarray(a[chosen]), every)
    states = _states(target, drawn, alphas, jax.random.split(key_states, n_draws))
    states = jax.tree.map(lambda a: np.asarray(a)[None], states)
    draws = draws_of_states(target, "independent", states, (every.counts[chosen] > 0)[None], np.zeros((1, n_draws)))
    mixtures = jax.tree.map(lambda a: jnp.asarray(a)[0], draws.mixture)
    draws.stats["lp"] = draws.stats["lp"] + np.asarray(_log_likelihoods(target, mixtures))[None]
    draws.stats["occupied_probability"], draws.dims["occupied_probability"] = p, ["n_filled"]
    return with_worth(draws, weights, elbo=weights.log_evidence - float(p @ np.array(gaps)))  # the mean gap over m


def _concentrations(target: Target) -> Concentrations:
    prior = concentration_prior(target.weights_prior)
    if prior is None:
        alpha = float(target.weights_prior.concentration)  # type: ignore[arg-type]
        return Concentrations(jnp.log(jnp.full(1, alpha)), jnp.zeros(1), jnp.zeros(()))
    some = jnp.log(prior.sample(jax.random.key(0), (_N_PRIOR_DRAWS,)))
    edges = jnp.linspace(some.min(), some.max(), _N_CONCENTRATIONS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    return Concentrations(middles, jax.nn.log_softmax(prior.log_prob(jnp.exp(middles)) + middles), edges[1] - edges[0])


def with_components(target: Target, m: int) -> Target:
    """The target of the same components, m of them with uniform weights."""
    model: DeclaredMixture = replace(target.model, weights=UniformWeights(m))  # type: ignore[type-var, assignment]
    some_rows, recording_step = (np.asarray(a) for a in target.arguments)
    return make_target(model, some_rows, rows=target.rows, scaling=target.scaling, recording_step=recording_step)


def _filled(target: Target, of_m: Target, found: Weighted, alphas: Concentrations, *, key: Array) -> Filled:
    """The draws of one m, weighted for the declared prior."""
    keys = jax.random.split(key, len(found.z))
    counts = np.asarray(row_counts(of_m, jnp.asarray(found.z), keys), float)
    padded = np.pad(counts, ((0, 0), (0, target.n_components - counts.shape[1])))
    joint = np.asarray(_log_partitions(target, jnp.asarray(padded), alphas))
    uniform = np.asarray(jax.vmap(lambda n: of_m.weights_prior.log_partition(n, jnp.ones(()), jnp.array(n.shape[0])))(counts))
    log_ratio = logsumexp(joint.reshape(len(joint), -1), axis=1) - uniform
    log_w = np.where((counts > 0).all(1), found.log_ratio + found.log_n_labellings + log_ratio, -np.inf)
    z, h = (np.asarray(a) for a in _parts_of(of_m, found.z))
    return Filled(log_w, np.pad(z, ((0, 0), (0, target.n_components - z.shape[1]), (0, 0))), h, padded)


def _parts_of(target: Target, z: Float[AnyArray, "s z"]) -> tuple[Float[Array, "s k q"], Float[Array, "s h"]]:
    """Parameters component by component, and shared ones."""
    n, k = z.shape[0], target.n_components
    sites = jax.vmap(lambda z: unpack(target.layout, z))(jnp.asarray(z))
    each = [sites[name].reshape(n, k, -1) for name, _ in target.component_sites]
    shared = [sites[name].reshape(n, -1) for name, _ in target.shared_sites]
    return jnp.concatenate(each, axis=2), jnp.concatenate([*shared, jnp.zeros((n, 0))], axis=1)


@jax.jit
def row_counts(target: Target, z: Float[Array, "s z"], keys: Array) -> Int[Array, "s k"]:
    """How many rows each component holds in one draw of the assignments, for each draw of the parameters."""

    def one(inputs):
        z, key = inputs
        return kernel.counts(target.mixture(z).natural(centred=target.centred), target.rows, key=key)

    return jax.lax.map(one, (z, keys), batch_size=_IN_PARALLEL)


def _log_partition_grid(target: Target, counts: Float[Array, " m"], alphas: Concentrations) -> Float[Array, "a k"]:
    """log [p(alpha) p(K) p(C | alpha, K)] of a partition, in each cell of alpha."""
    weights, k = target.weights_prior, jnp.arange(1, target.n_components + 1)
    log_p = jax.vmap(jax.vmap(weights.log_partition, (None, None, 0)), (None, 0, None))(counts, jnp.exp(alphas.log_alpha), k)
    return log_p + jax.nn.log_softmax(weights.log_prior_k())[None] + alphas.log_p[:, None]


@jax.jit
def _log_partitions(target: Target, counts: Float[Array, "s m"], alphas: Concentrations) -> Float[Array, "s a k"]:
    return jax.lax.map(lambda n: _log_partition_grid(target, n, alphas), counts, batch_size=_IN_PARALLEL)


@jax.jit
def _states(target: Target, filled: Filled, alphas: Concentrations, keys: Array) -> State:
    """States of the declared model given partitions and the parameters of their blocks."""
    m = target.n_components

    def one(z, h, counts, key):
        key_grid, key_cell, key_weights, key_empty = jax.random.split(key, 4)
        grid = _log_partition_grid(target, counts, alphas)
        a, k = jnp.divmod(jax.random.categorical(key_grid, grid.reshape(-1)), grid.shape[1])
        log_alpha = alphas.log_alpha[a] + alphas.width * (jax.random.uniform(key_cell) - 0.5)
        log_w = target.weights_prior.draw_log_weights(counts, jnp.exp(log_alpha), k + 1, key=key_weights)
        empty = jax.vmap(lambda key: target.draw_component(h, key=key)[0])(jax.random.split(key_empty, m))
        z = jnp.where((counts > 0)[:, None], z, empty)
        return State(k + 1, log_w, z, h, log_alpha)

    return jax.vmap(one)(filled.z, filled.h, filled.counts, keys)


@jax.jit
def _log_likelihoods(target: Target, mixtures: Mixture) -> Float[Array, " s"]:
    return jax.lax.map(target.log_likelihood, mixtures, batch_size=_IN_PARALLEL)
