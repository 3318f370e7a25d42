"""What a declared prior says before any data: of the number of components, of occupied ones, of how alike their shapes are."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bgmm.core.checks import check_count
from bgmm.core.options import named_options
from bgmm.core.precision import in_float64
from bgmm.core.prior_occupied import n_occupied_probabilities
from bgmm.models import Mixture
from bgmm.program.family import DeclaredMixture, Sharing, check_called
from bgmm.program.weights_prior import WeightsPrior, concentration_prior

_DRAWS = 10_000  # of a random concentration, which these quantiles replace:
_QUANTILES = 50
_SPREAD_PROBABILITIES = (0.025, 0.5, 0.975)
_MOST_STEPS = 1e10  # of the recursion, at 0.35 ns each (measured on one core): 3.5 s


@named_options()
@in_float64
def prior_n_occupied(model: Mixture, n: int) -> xr.DataArray:
    """Prior predictive probabilities of K+, the number of components that hold one of n rows.

    They follow from the priors of the number of components and of the weights alone (``core.prior_occupied``), exactly for a
    fixed concentration; a random one is averaged over 50 quantiles of draws. Of a Dirichlet process they are those of the whole
    process, all beyond its K components counted as K: what Gibbs works with, and not the program's where alpha is not small
    beside K. The posterior of K+ is worth comparing with them: where both are alike, the data say little.

    :param model: one of ``bgmm.models``.
    :param n: number of rows.
    :returns: dims (n_occupied,), 1 .. the largest number of components.
    :raises ValueError: for a program that is not a ``Mixture``, or a count under one.
    """
    check_count("n", n)
    check_called(model)
    if not isinstance(model, Mixture):
        raise ValueError(f"prior_n_occupied needs one of bgmm.models, whose weights it knows, not {type(model).__name__}")
    p = _n_occupied(model.weights, n)
    return xr.DataArray(p, coords={"n_occupied": np.arange(1, len(p) + 1)}, dims="n_occupied", name="prior probability")


def count_prior(weights: WeightsPrior, n: int) -> xr.Dataset:
    """Prior probabilities of K and of K+ for n rows, as a tree keeps them.

    :returns: ``prior_n_components`` over ``n_components`` and ``prior_n_occupied`` over ``n_occupied``, both 1 .. the largest
        number of components. The latter is left out where n is so large that it takes more than a few seconds: above 500 000
        rows for the default ``RandomK``, 25 million for one with a fixed concentration; ``prior_n_occupied`` still computes it.
    """
    p, alpha = n_components_probabilities(weights), _concentrations(weights)
    variables = {"prior_n_components": ("n_components", p)}
    if n * alpha.size * np.count_nonzero(p) * p.size <= _MOST_STEPS:
        variables["prior_n_occupied"] = ("n_occupied", _n_occupied(weights, n))
    k = np.arange(1, len(p) + 1)
    return xr.Dataset(variables, coords={dim: k for dim, _ in variables.values()})


def declared_prior(model: DeclaredMixture, n: int) -> xr.Dataset:
    """What a tree keeps of the prior: ``count_prior`` for n rows, and quantiles of the spread of shapes, where it is learned.

    :returns: the variables of ``count_prior``, and ``prior_shape_spread`` over ``probability``.
    """
    kept = count_prior(model.weights, n)
    if not isinstance(model.components, Sharing):
        return kept
    p = np.array(_SPREAD_PROBABILITIES)
    quantiles = np.asarray(model.components.spread_prior().icdf(p))
    return kept.assign(prior_shape_spread=xr.DataArray(quantiles, coords={"probability": p}, dims="probability"))


def n_components_probabilities(weights: WeightsPrior) -> Float[np.ndarray, " m"]:
    """Prior probabilities of K = 1 .. size."""
    log_p = np.asarray(weights.log_prior_k(), float)
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


def _n_occupied(weights: WeightsPrior, n: int) -> Float[np.ndarray, " m"]:
    """Prior probabilities of K+ = 1 .. size for n rows."""
    p = n_components_probabilities(weights)
    k = 1 + np.flatnonzero(p)
    return np.asarray(_recursion(weights, n, k, p[k - 1], _concentrations(weights)))


@partial(jax.jit, static_argnames="weights")
def _recursion(weights: WeightsPrior, n, k, p_k, concentrations) -> Float[Array, " m"]:
    return n_occupied_probabilities(weights.new_component, n, k, p_k, concentrations, size=weights.size)


def _concentrations(weights: WeightsPrior) -> Float[np.ndarray, " a"]:
    """The concentration, or quantiles of the prior that it has."""
    prior = concentration_prior(weights)
    if prior is None:
        return np.array([weights.concentration], float)
    draws = np.asarray(prior.sample(jax.random.key(0), (_DRAWS,)))
    return np.quantile(draws, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)
