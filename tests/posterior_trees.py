"""Trees made by hand: draws of a known mixture with known label switching."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bgmm.tree.build import dataset, variables_of
from tests.mixtures import Parameters


def tree_of(mixture: Parameters, x: np.ndarray | None = None, also: tuple[str, ...] = ()) -> xr.DataTree:
    """A tree such as another program would make: weights, means, covariances and what else is named, and the data if given."""
    features = tuple(f"f{j}" for j in range(mixture.means.shape[-1]))
    values, dims = (
        {name: found for name, found in each.items() if name in ("weights", "means", "covariances", *also)}
        for each in variables_of(mixture.mixture)
    )
    groups = {"posterior": dataset(values, dims, features)}
    if x is not None:
        groups["observed_data"] = xr.Dataset({f: ("observation", c) for f, c in zip(features, x.T, strict=True)})
    return xr.DataTree.from_dict(groups)


def jittered(rng: np.random.Generator, mixture: Parameters, chains: int, draws: int, noise: float = 0.05) -> Parameters:
    """Draws around a mixture."""

    def around(a, amount):
        return a + amount * rng.normal(size=(chains, draws, *a.shape))

    log_w = around(mixture.log_weights, noise)
    log_w = log_w - np.log(np.exp(log_w).sum(-1, keepdims=True))
    scale = np.exp(noise * rng.normal(size=(chains, draws, len(mixture.means), 1, 1)))
    return Parameters(log_w, around(mixture.means, noise), scale * mixture.scale_tril)


def switched(rng: np.random.Generator, draws: Parameters, per_chain: bool) -> tuple[Parameters, np.ndarray]:
    """The same draws with their components permuted, by chain or in every draw; and the permutations."""
    c, s, k = draws.log_weights.shape
    order = rng.permuted(np.broadcast_to(np.arange(k), (c, 1 if per_chain else s, k)), axis=-1)
    order = np.broadcast_to(order, (c, s, k))
    index = (np.arange(c)[:, None, None], np.arange(s)[None, :, None], order)
    return Parameters(*(a[index] for a in draws)), order
