"""Coordinate ascent as scikit-learn's: an E-step, an M-step and a bound in turn, over bgmm's one pass of the rows.

With S the expected statistics of a pass, N_k, xbar_k and S_k are the count, the mean and the covariance of the rows of
component k, ``reg_covar`` added to the diagonal. An ``Algorithm`` says what becomes of them, and under which mixture the next
pass weighs the rows. All natural forms are about the means, so that an offset of the data costs no digits.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bgmm.core import kernel
from bgmm.core.components import Mixture
from bgmm.core.factor import AnyArray, Factor
from bgmm.core.gaussians import Gaussians, Linear, moments
from bgmm.core.rows import Rows
from bgmm.core.scaling import Scaling

EMPTY = 10 * float(jnp.finfo(jnp.float64).eps)  # added to every count, as scikit-learn does

_REACH = 1e100  # times the means, beyond which rows are moved


class Moments(NamedTuple):
    """Counts, means and covariances of the rows of each component; one covariance where tied."""

    counts: Float[AnyArray, " k"]
    means: Float[AnyArray, "k d"]
    covariances: Float[AnyArray, "l *c"]


class Pass(NamedTuple):
    """Sums over all rows."""

    log_likelihood: Float[Array, ""]  # of the mixture that weighed them
    entropy: Float[Array, ""]  # of the responsibilities, and of missing values
    total_weight: Float[Array, ""]


class Algorithm[State](Protocol):
    """A pytree of settings; the structure of the covariances is static."""

    @property
    def factor(self) -> type[Factor]:
        """The structure of the covariances."""

    @property
    def tied(self) -> bool:
        """Whether all components share one."""

    @property
    def regularisation(self) -> Float[Array, "*c"]:
        """What is added to each covariance."""

    def mixture(self, state: State) -> Mixture:
        """Under which rows are weighed; its weights need not sum to one."""

    def update(self, m: Moments) -> State:
        """The M-step."""

    def bound(self, state: State, of: Pass) -> Float[Array, ""]:
        """The quantity whose change decides."""


@jax.jit
def step[State](algorithm: Algorithm[State], state: State, rows: Rows) -> tuple[State, Float[Array, ""]]:
    """An E-step, the M-step after it, and the bound."""
    natural = algorithm.mixture(state).natural(centred=True)
    assert isinstance(natural, Linear)
    assert natural.centres is not None
    value, derivative = kernel.expected_statistics(natural, rows)
    S = derivative.eta
    about = S.at[:, 0].add(EMPTY)
    shift, covariances = moments(algorithm.factor, about, tied=algorithm.tied)
    found = Moments(about[:, 0], natural.centres + shift, covariances + algorithm.regularisation)
    updated = algorithm.update(found)
    return updated, algorithm.bound(updated, Pass(value, value - jnp.vdot(S, natural.eta), rows.total_weight))


@jax.jit
def update[State](algorithm: Algorithm[State], m: Moments) -> State:
    """The M-step alone, for a beginning."""
    return algorithm.update(m)


@partial(jax.jit, static_argnames=("factor", "tied"))
def mixture_of(log_weights, means, covariances, *, factor: type[Factor], tied: bool) -> Mixture:
    """Gaussians from covariances."""
    return Mixture(log_weights, Gaussians(means, jax.vmap(factor.of_covariance)(covariances), tied))


def within_reach(
    x: Float[np.ndarray, "n d"], means: Float[np.ndarray, "k d"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Rows moved towards the origin until no square overflows, and the factor s >= 1 by which each was further out."""
    d = x.shape[1]
    return Scaling(np.zeros(d), np.ones(d)).within_reach(x, _REACH * max(1.0, float(np.abs(means).max())))


@jax.jit
def log_densities(mixture: Mixture, rows: Rows) -> Float[Array, " places"]:
    """log sum_k exp(log w_k + log N(x_n | k)) of the row in each place."""
    return kernel.log_likelihood_of_rows(mixture.natural(centred=True), rows)


@jax.jit
def responsibilities(mixture: Mixture, rows: Rows) -> Float[Array, "places k"]:
    """p(z_n = k | x_n) of the row in each place."""
    return kernel.responsibilities(mixture.natural(centred=True), rows)


@jax.jit
def most_probable(mixture: Mixture, rows: Rows) -> Int[Array, " places"]:
    """The component of the largest responsibility."""
    return responsibilities(mixture, rows).argmax(1)
