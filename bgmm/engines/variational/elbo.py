r"""The evidence lower bound of a normal distribution, over fixed draws, and the normal that maximises it.

In the coordinates u of z = z0 + A u that the Hessian at the mode z0 whitens, q is N(m, S S') with S lower triangular, and

.. math::
    \mathrm{ELBO}(m, S) = \frac1M \sum_i \log p(z_0 + A (m + S e_i)) + \sum_j \log S_{jj} + \log |A| + \frac d2 \log(2 \pi e).

The e_i are fixed, so this is a smooth function that L-BFGS maximises (Giordano, Ingram and Broderick 2024, deterministic ADVI):
no learning rate, and a stopping rule that needs no tuning. They are antithetic Sobol points mapped to normal ones, and
transformed to have mean zero and covariance I exactly: where p is normal, its ELBO and its maximum are exact.

Too few draws are overfitted, as rows are by a regression. The ELBO of other draws shows by how much; their number is doubled
while it falls short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import logsumexp
from scipy.stats import norm, qmc

from bgmm.core.factor import LOG_2PI
from bgmm.core.lbfgs import minimise
from bgmm.engines.importance.labelling import Domain, permutations_into, permute_each
from bgmm.engines.importance.proposal import Normals
from bgmm.engines.variational.density import LogPosterior, log_posteriors
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the optimisation."""

    least_draws: int = 128
    draws_for_each: int = 4  # draws for each parameter of the posterior, at least
    overfitted: float = 0.2  # nats by which other draws may fall short
    most_doublings: int = 1
    max_evaluations: int = 100
    tolerance: float = 1e-5  # nats: a shift of 0.003 standard deviations


_CONSTANTS = Constants()


class Normal(NamedTuple):
    """A normal distribution N(centre, factor factor') of z."""

    centre: Float[np.ndarray, " z"]
    factor: Float[np.ndarray, "z z"]
    elbo: float  # over draws to which it was not fitted
    n_evaluations: int  # of the ELBO over fixed draws; each is a pass over the rows for every draw


def n_fixed_draws(n_dim: int) -> int:
    """How many draws the ELBO begins with."""
    return max(_CONSTANTS.least_draws, _CONSTANTS.draws_for_each * n_dim)


def standard_normals(n: int, d: int, *, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """``n`` (even) antithetic Sobol normals with mean zero and covariance I, which needs n / 2 >= d."""
    sobol = qmc.Sobol(d, rng=rng)
    u = sobol.random_base2((n // 2 - 1).bit_length())[: n // 2]
    e = norm.ppf(np.clip(u, 1e-12, 1 - 1e-12))
    variances, axes = np.linalg.eigh(e.T @ e / len(e))
    e = e @ (axes / np.sqrt(variances)) @ axes.T
    return np.concatenate([e, -e])


def laplace_normal(log_posterior: LogPosterior, mode: int, z0, A, *, rng: np.random.Generator) -> Normal:
    """Laplace's approximation N(z0, A A'), with its ELBO."""
    d = len(z0)
    e = jnp.asarray(standard_normals(n_fixed_draws(d), d, rng=rng))
    value = elbo(log_posterior, jnp.asarray(mode), jnp.asarray(z0), jnp.asarray(A), jnp.zeros(d), jnp.eye(d), e)
    return Normal(z0, A, float(value), 0)


def best_normal(log_posterior: LogPosterior, mode: int, z0, A, *, mean_field: bool, rng: np.random.Generator) -> Normal:
    """The normal with the largest ELBO, from Laplace's approximation on."""
    d, n = len(z0), n_fixed_draws(len(z0))
    arguments = (log_posterior, jnp.asarray(mode), jnp.asarray(z0), jnp.asarray(A))
    parameters = jnp.zeros(2 * d if mean_field else 2 * d + d * (d - 1) // 2)
    n_evaluations, most = 0, n << _CONSTANTS.most_doublings
    while True:
        fixed, other = (jnp.asarray(standard_normals(n, d, rng=rng)) for _ in range(2))
        found = _maximise(*arguments, fixed, parameters)
        parameters, n_evaluations = found.x, n_evaluations + int(found.n_evaluations)
        m, S = _unpack(parameters, d)
        value = float(elbo(*arguments, m, S, other))
        if -float(found.value) - value <= _CONSTANTS.overfitted or n == most:
            return Normal(z0 + A @ np.asarray(m), A @ np.asarray(S), value, n_evaluations)
        n *= 2


def elbo_of_mixture(log_posterior: LogPosterior, normals: Normals, domain: Domain | None, *, rng: np.random.Generator) -> float:
    """The ELBO, in one labelling, of the mixture q of normals with weights proportional to the exponentials of their own ELBOs.

    It is the log of the sum of these exponentials where the normals are apart, and less where they overlap. Draws in other
    labellings are permuted into the domain, where their density is sum_s q(s z) over the permutations s: else a q that reaches
    over several labellings would count their posterior mass more than once.
    """
    e = standard_normals(n_fixed_draws(normals.centre.shape[1]), normals.centre.shape[1], rng=rng)
    log_w = normals.log_mass - logsumexp(normals.log_mass)
    total = 0.0
    for m, (centre, factor) in enumerate(zip(normals.centre, normals.factor, strict=True)):
        z = centre + e @ factor.T
        log_p = np.asarray(log_posteriors(log_posterior, jnp.asarray(z), jnp.full(len(z), m)))
        total += np.exp(log_w[m]) * np.mean(log_p - _log_folded(log_posterior.target, normals, domain, z))
    return float(total)


def _log_folded(
    target: Target, normals: Normals, domain: Domain | None, z: Float[np.ndarray, "s z"]
) -> Float[np.ndarray, " s"]:
    """log sum_s q(s z) over the permutations s that take some of the points out of the domain."""
    log_w = (normals.log_mass - logsumexp(normals.log_mass))[:, None]
    if domain is None:
        return logsumexp(log_w + _log_normals(normals, z), axis=0)
    orders = permutations_into(target, domain, z)
    inside = permute_each(target, z, orders)
    outwards = np.argsort(np.unique(orders, axis=0), axis=1)
    copies = [np.asarray(permute_each(target, inside, np.broadcast_to(order, orders.shape))) for order in outwards]
    return logsumexp([logsumexp(log_w + _log_normals(normals, copy), axis=0) for copy in copies], axis=0)


def _log_normals(normals: Normals, z: Float[np.ndarray, "s z"]) -> Float[np.ndarray, "m s"]:
    """Log density of each normal at each point."""
    u = np.stack([np.linalg.solve(A, (z - centre).T) for centre, A in zip(normals.centre, normals.factor, strict=True)])
    log_det = np.linalg.slogdet(normals.factor)[1]
    return -0.5 * np.square(u).sum(1) - log_det[:, None] - 0.5 * z.shape[1] * LOG_2PI


def _unpack(parameters: Float[Array, " p"], d: int) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    """m and S: the logarithms of its diagonal come times sqrt 2, which is their standard deviation's scale at the optimum."""
    S = jnp.diag(jnp.exp(parameters[d : 2 * d] / np.sqrt(2)))
    if parameters.size > 2 * d:
        S = S.at[np.tril_indices(d, -1)].set(parameters[2 * d :])
    return parameters[:d], S


@jax.jit
def elbo(log_posterior: LogPosterior, mode: Int[Array, ""], z0, A, m, S, e: Float[Array, "n d"]) -> Float[Array, ""]:
    """The ELBO of N(m, S S') over draws e."""
    d = z0.shape[0]
    z = z0[None] + (m[None] + e @ S.T) @ A.T
    log_p = log_posterior.each(z, jnp.broadcast_to(mode, z.shape[:1]))
    return log_p.mean() + jnp.log(jnp.diagonal(S)).sum() + jnp.linalg.slogdet(A)[1] + 0.5 * d * (1 + LOG_2PI)


@jax.jit
def _maximise(log_posterior: LogPosterior, mode, z0, A, e, parameters):
    def loss(parameters):
        return -elbo(log_posterior, mode, z0, A, *_unpack(parameters, z0.shape[0]), e)

    evaluations, tolerance = _CONSTANTS.max_evaluations, _CONSTANTS.tolerance
    return minimise(jax.value_and_grad(loss), parameters, max_evaluations=evaluations, tolerance=tolerance)
