"""How many: posterior and prior probabilities of the number of components K and of occupied ones K+."""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bgmm.core.checks import random_key
from bgmm.core.precision import in_float64
from bgmm.posterior.evaluate import evaluation, occupied
from bgmm.tree.question import of_tree
from bgmm.tree.read import about, has_mixtures, mixtures_of


@of_tree
@in_float64
def n_occupied(tree: xr.DataTree, *, seed: int | jax.Array = 0) -> xr.DataArray:
    """Posterior probabilities of K+, the number of components that hold at least one observation.

    K+ of a draw counts the components that hold a row after each row's assignment has been drawn from its
    responsibilities under that draw. A tree of ours holds it in ``sample_stats``; for draws from elsewhere it is drawn now,
    with ``seed``, an integer or a JAX key.

    :returns: dims (n_occupied,), from 1 to the largest number of components. For fits of ``bgmm.models`` the
        coordinate ``prior`` holds the prior probabilities beside the posterior ones, unless the rows are so many that they take
        more than a few seconds (``prior_n_occupied`` computes them for any number).
    """
    counts = occupied_counts(tree, seed=seed)
    least = mixtures_of(tree).sizes["cluster"] if has_mixtures(tree) else 1
    return _table("n_occupied", counts, _prior(tree, "prior_n_occupied"), least).assign_attrs(
        description="posterior probability of each number of components that hold at least one row, counted in each draw"
    )


def occupied_counts(tree: xr.DataTree, *, seed: int | jax.Array = 0) -> Int[np.ndarray, " s"]:
    """K+ of every draw, chain after chain."""
    if "sample_stats" in tree.children and "n_occupied" in tree["sample_stats"]:
        return tree["sample_stats"]["n_occupied"].to_numpy().reshape(-1)
    return occupied(evaluation(tree), key=random_key(seed)).sum(1)


@of_tree
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
    return _table("n_components", counts, _prior(tree, "prior_n_components"), largest).assign_attrs(
        description="posterior probability of each number of components of the mixture, those that hold no row among them"
    )


def _table(name: str, counts: Int[np.ndarray, "..."], prior: Float[np.ndarray, " k"] | None, least: int) -> xr.DataArray:
    """Shares of the draws with each count, the prior probabilities beside them."""
    k = np.arange(1, max(int(counts.max()), least, 0 if prior is None else len(prior)) + 1)
    coords: dict = {name: k}
    if prior is not None:
        coords["prior"] = (name, np.pad(prior, (0, len(k) - len(prior))))
    return xr.DataArray([(counts == value).mean() for value in k], coords=coords, dims=name, name="probability")


def _prior(tree: xr.DataTree, name: str) -> Float[np.ndarray, " k"] | None:
    """The prior probabilities of that name, where the tree holds them."""
    if "constant_data" not in tree.children or name not in tree["constant_data"]:
        return None
    return tree["constant_data"][name].to_numpy()
