"""The modes of the unconstrained log posterior, Jacobian included, and how much of the posterior lies around each.

The mass of a mode z is Laplace's, exp(log posterior(z)) (2 pi)^(D/2) |H|^(-1/2) with H the Hessian of the negative log
posterior there (MacKay 2003, chapter 27). Ranked by mass and not by height, a spike on a few rows does not win.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from bgmm.core import kernel
from bgmm.core.components import Mixture
from bgmm.core.factor import LOG_2PI
from bgmm.core.in_memory import subsample
from bgmm.core.one_off import one_off_if
from bgmm.core.progress import note, stage
from bgmm.engines.importance.labelling import domain_around, permutations_into, permute_each
from bgmm.engines.optimise.ascent import is_small
from bgmm.engines.optimise.objective import Objective
from bgmm.engines.optimise.search import distinct, heights, search
from bgmm.engines.optimise.starts import first_guesses
from bgmm.program.target import Target

_COMPARED = 16_384  # rows
_SAME = 0.5  # standard deviations within which points of one height are one mode
_MULTIPLE = 8  # points that are compared are filled up to a multiple of this, so that few shapes are compiled
_FLATTEST = 0.01  # least curvature believed at a mode: a direction without data has its prior's, of order one


class Modes(NamedTuple):
    """Distinct modes of the unconstrained log posterior, heaviest first."""

    z: Float[np.ndarray, "m z"]
    log_posterior: Float[np.ndarray, " m"]
    mass: Float[np.ndarray, " m"]  # Laplace mass, sums to one
    factor: Float[np.ndarray, "m z z"]  # H^(-1/2): columns are unit steps along which the posterior is about standard normal
    n_found: Int[np.ndarray, " m"]  # restarts that ended here


def find_modes(target: Target, n_starts: int, *, key: Array, start: Mixture | None = None) -> tuple[Target, Modes]:
    """The distinct modes that restarts reach, with their Laplace masses (and the target, centred if needed)."""
    key_guess, key_search = jax.random.split(key)
    guesses = first_guesses(target, n_starts, "k-means++", start, key=key_guess)
    target, optima = search(target, Objective(jacobian=True), guesses, key=key_search, moves=start is None)
    height = heights(optima)
    found: list[tuple] = []  # of each mode: one start that led to it, factor, log |H|, how many starts
    with stage("curvature at the modes"):
        for group in distinct(height, np.asarray(optima.converged)):
            rest = group
            while len(rest):
                factor, log_det = laplace(target, jnp.asarray(optima.z[rest[0]]))
                same = _at_mode(target, np.asarray(optima.z), rest, np.asarray(factor))
                found.append((rest[0], factor, log_det, same.sum()))
                note(f"{len(found)} distinct")
                rest = rest[~same]
    first, factor, log_det, n_found = (np.stack(values) for values in zip(*found, strict=True))
    z, height = np.asarray(optima.z)[first], height[first]
    log_mass = height + 0.5 * target.n_dim * LOG_2PI - 0.5 * log_det
    mass = np.exp(log_mass - log_mass.max())
    by_mass = np.argsort(-mass)
    modes = Modes(z, height, mass / mass.sum(), factor, n_found)
    return target, Modes(*(a[by_mass] for a in modes))


def _at_mode(
    target: Target, z: Float[np.ndarray, "s z"], group: Int[np.ndarray, " g"], factor: Float[np.ndarray, "z z"]
) -> Bool[np.ndarray, " g"]:
    """Which points of a group, of one height, are its first one with the components in some order: data may be symmetric."""
    pivot = z[group[0]]
    z = z[np.resize(group, -(-len(group) // _MULTIPLE) * _MULTIPLE)]
    if target.exchangeable:
        z = np.asarray(permute_each(target, z, permutations_into(target, domain_around(target, pivot, factor), z)))
    return np.linalg.norm(np.linalg.solve(factor, (z[: len(group)] - pivot).T), axis=0) < _SAME


@one_off_if(is_small)
def laplace(target: Target, z: Float[Array, " z"]) -> tuple[Float[Array, "z z"], Float[Array, ""]]:
    """H^(-1/2) and log|H| at a mode, flat directions held to a least curvature."""
    curvature, axes = jnp.linalg.eigh(jax.hessian(lambda z: -target.log_posterior(z, jacobian=True))(z))
    curvature = jnp.maximum(curvature, _FLATTEST)
    return axes / jnp.sqrt(curvature)[None], jnp.log(curvature).sum()


def share_moved(target: Target, mixtures: Mixture) -> Float[np.ndarray, " m"]:
    """How modes differ: the share of rows, of at most 16 384, whose likeliest component under each is not that under the first.

    Components are matched so that as few rows move as possible (Hungarian algorithm).
    """
    if len(mixtures.log_weights) == 1:
        return np.zeros(1)
    rows = subsample(target.rows, _COMPARED, rng=np.random.default_rng(0))
    weights = rows.weights_of(np.arange(rows.n_places))
    few = replace(target, rows=rows)
    of_mode = (jax.tree.map(lambda a, m=m: a[m], mixtures) for m in range(len(mixtures.log_weights)))  # one program
    first, *others = (np.asarray(_likeliest(few, mixture)) for mixture in of_mode)
    shares = [0.0]
    for z in others:
        table = np.zeros((target.n_components, target.n_components))
        np.add.at(table, (first, z), weights)
        shares.append(1 - table[linear_sum_assignment(table, maximize=True)].sum() / weights.sum())
    return np.array(shares)


@jax.jit
def _likeliest(target: Target, mixture: Mixture) -> Int[Array, " places"]:
    return kernel.responsibilities(mixture.natural(centred=target.centred), target.rows).argmax(1)
