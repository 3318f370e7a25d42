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
from jaxtyping import Array, Float, Int
from scipy.optimize import linear_sum_assignment

from bgmm.core import kernel
from bgmm.core.components import Mixture
from bgmm.core.factor import LOG_2PI
from bgmm.core.in_memory import subsample
from bgmm.engines.optimise.objective import Objective
from bgmm.engines.optimise.search import distinct, heights, search
from bgmm.engines.optimise.starts import first_guesses
from bgmm.program.target import Target

_COMPARED = 16_384  # rows
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
    target, optima = search(target, Objective(jacobian=True), guesses, key=key_search)
    height = heights(optima)
    groups = distinct(height, np.asarray(optima.converged))
    first = np.array([group[0] for group in groups])
    n_found = np.array([len(group) for group in groups])
    z, height = np.asarray(optima.z)[first], height[first]
    factor, log_det = (np.stack(a) for a in zip(*(laplace(target, jnp.asarray(mode)) for mode in z), strict=True))
    log_mass = height + 0.5 * target.n_dim * LOG_2PI - 0.5 * log_det
    mass = np.exp(log_mass - log_mass.max())
    by_mass = np.argsort(-mass)
    modes = Modes(z, height, mass / mass.sum(), factor, n_found)
    return target, Modes(*(a[by_mass] for a in modes))


@jax.jit
def laplace(target: Target, z: Float[Array, " z"]) -> tuple[Float[Array, "z z"], Float[Array, ""]]:
    """H^(-1/2) and log|H| at a mode, flat directions held to a least curvature."""
    curvature, axes = jnp.linalg.eigh(jax.hessian(lambda z: -target.log_posterior(z, jacobian=True))(z))
    curvature = jnp.maximum(curvature, _FLATTEST)
    return axes / jnp.sqrt(curvature)[None], jnp.log(curvature).sum()


def share_moved(target: Target, mixtures: Mixture) -> Float[np.ndarray, " m"]:
    """How modes differ: the share of rows, of at most 16 384, whose likeliest component under each is not that under the first.

    Components are matched so that as few rows move as possible (Hungarian algorithm).
    """
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
