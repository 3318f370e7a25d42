"""How many: posterior and prior probabilities of the number of components K and of occupied ones K+."""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bgmm.core.checks import random_key
from bgmm.core.precision import in_float64
from bgmm.core.urn import n_occupied_probabilities
from bgmm.posterior.evaluate import evaluation, occupied
from bgmm.tree import about, has_mixtures, mixtures_of


@in_float64
def n_occupied(tree: xr.DataTree, *, seed: int | jax.Array = 0) -> xr.DataArray:
    """Posterior probabilities of K+, the number of components that hold at least one observation.

    K+ of a draw counts the components that hold a row after each row's assignment has been drawn from its
    responsibilities under that draw. A tree of ours holds it in ``sample_stats``; for draws from elsewhere it is drawn now,
    with ``seed``, an integer or a JAX key.

    :returns: dims (n_occupied,), from 1 to the largest number of components; where the tree knows the priors of the weights,
        the coordinate ``prior`` holds the prior probabilities beside the posterior ones.
    """
    if "sample_stats" in tree.children and "n_occupied" in tree["sample_stats"]:
        counts = tree["sample_stats"]["n_occupied"].to_numpy()
    else:
        counts = occupied(evaluation(tree), key=random_key(seed)).sum(1)
    prior = None
    if (given := _priors(tree)) is not None and "observed_data" in tree.children:
        prior = expected_occupied(given, _n_rows(tree))
    least = mixtures_of(tree).sizes["cluster"] if has_mixtures(tree) else 1
    return _table("n_occupied", counts, prior, least)


def n_components(tree: xr.DataTree) -> xr.DataArray:
    """Posterior probabilities of K, the number of components of the mixture, occupied or not.

    :returns: dims (n_components,), from 1 to the largest, with the coordinate ``prior`` as ``n_occupied``. A K that the model
        fixed has probability one.
    :raises ValueError: for a tree of assignments alone, which know nothing of components that hold no row.
    """
    if not has_mixtures(tree):
        raise ValueError("this tree holds assignments alone, which know nothing of empty components; ask for n_occupied")
    posterior = tree["posterior"].to_dataset()
    largest = mixtures_of(tree).sizes["cluster"]
    fixed = np.array([about(tree).get("n_components", largest)])
    counts = posterior["n_components"].to_numpy() if "n_components" in posterior else fixed
    given = _priors(tree)
    return _table("n_components", counts, None if given is None else given["prior_n_components"].to_numpy(), largest)


def expected_occupied(given: xr.Dataset, n: int) -> Float[np.ndarray, " k"]:
    """Prior probabilities of K+ = 1, 2, ... for n rows, from what a tree keeps of the priors of the weights."""
    p_k, alpha = given["prior_n_components"].to_numpy(), given["prior_concentration"].to_numpy()
    return np.asarray(n_occupied_probabilities(n, p_k, alpha, law=given["prior_law"].item()))


def _table(name: str, counts: Int[np.ndarray, "..."], prior: Float[np.ndarray, " k"] | None, least: int) -> xr.DataArray:
    """Shares of the draws with each count, the prior probabilities beside them."""
    k = np.arange(1, max(int(counts.max()), least, 0 if prior is None else len(prior)) + 1)
    coords: dict = {name: k}
    if prior is not None:
        coords["prior"] = (name, np.pad(prior, (0, len(k) - len(prior))))
    return xr.DataArray([(counts == value).mean() for value in k], coords=coords, dims=name, name="probability")


def _priors(tree: xr.DataTree) -> xr.Dataset | None:
    """The prior of the number of components and of the weights, where the tree knows it."""
    if "constant_data" not in tree.children or "prior_n_components" not in tree["constant_data"]:
        return None
    return tree["constant_data"].to_dataset()


def _n_rows(tree: xr.DataTree) -> int:
    """Rows that can make a component occupied."""
    if "observation_weights" in tree["constant_data"]:
        return int((tree["constant_data"]["observation_weights"] > 0).sum())
    return tree["observed_data"].sizes["observation"]
