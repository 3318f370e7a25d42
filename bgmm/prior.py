"""What a declared prior says of the number of components and of occupied components, before any data."""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from bgmm.core.checks import check_count
from bgmm.core.precision import in_float64
from bgmm.core.slots import Weights
from bgmm.models import Mixture
from bgmm.posterior.occupied import expected_occupied

_DRAWS = 10_000  # of a concentration with a prior of its own, of which only so many quantiles are used:
_QUANTILES = 50


@in_float64
def prior_n_occupied(model: Mixture, n: int) -> xr.DataArray:
    """Prior predictive probabilities of K+, the number of components that hold one of n rows.

    They follow from the priors of the number of components and of the weights alone (see ``core.urn``), exactly for a given
    concentration; one with a prior of its own is averaged over 50 quantiles of draws. Of a Dirichlet process they are those of
    the whole process, all beyond its K components counted as K: what Gibbs works with, and not the program's where alpha is not
    small beside K. The posterior of K+ is worth comparing with them: where both are alike, the data say little.

    :param model: one of ``bgmm.models``.
    :param n: number of rows.
    :returns: dims (n_occupied,), 1 .. the largest number of components.
    :raises ValueError: for a program whose weights have a prior of its own making, or a count under one.
    """
    check_count("n", n)
    if not isinstance(model, Mixture):
        raise ValueError(f"prior_n_occupied needs one of bgmm.models, whose weights it knows, not {type(model).__name__}")
    p = expected_occupied(count_prior(model), n)
    return xr.DataArray(p, coords={"n_occupied": np.arange(1, len(p) + 1)}, dims="n_occupied", name="prior probability")


def count_prior(model: Mixture) -> xr.Dataset:
    """What the prior of K+ follows from, as a tree keeps it.

    The prior probabilities of 1, 2, ... components, values of the concentration (all equally likely), and how the weights
    follow from it.
    """
    log_p = np.asarray(model.weights.log_prior_k(), float)
    p = np.exp(log_p - log_p.max())
    return xr.Dataset(
        {
            "prior_n_components": ("n_components", p / p.sum()),
            "prior_concentration": ("concentration_quantile", _concentrations(model.weights)),
            "prior_law": model.weights.law,
        },
        coords={"n_components": np.arange(1, len(p) + 1)},
    )


def _concentrations(weights: Weights) -> Float[np.ndarray, " a"]:
    """The concentration, or quantiles of the prior that it has."""
    if isinstance(weights.concentration, int | float):
        return np.array([float(weights.concentration)])
    draws = np.asarray(weights.concentration.distribution().sample(jax.random.key(0), (_DRAWS,)))
    return np.quantile(draws, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)
