"""What one fit says at some rows: moments of its parameters, and averages over its draws, in all and by halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import arviz as az
import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bgmm.core.components import Mixture
from bgmm.posterior.co_clustering import same_cluster
from bgmm.posterior.evaluate import at_rows, mean_log_density, mean_responsibilities
from bgmm.posterior.occupied import occupied_counts
from bgmm.posterior.relabel import relabelled
from bgmm.tree.read import is_independent, parameters, posterior_of

_MAX_PAIRED = 150  # rows whose pairs are compared


class Moments(NamedTuple):
    """Mean and standard deviation of each parameter of a fit, with the errors of both; one axis, of parameters."""

    names: list[str]
    mean: Float[np.ndarray, " p"]
    sd: Float[np.ndarray, " p"]
    mean_error: Float[np.ndarray, " p"]
    sd_error: Float[np.ndarray, " p"]


class Answers:
    """What one fit says: moments of its parameters, and averages over all draws and over each half of them."""

    def __init__(self, tree: xr.DataTree, rows: Float[np.ndarray, "n d"]):
        tree = relabelled(tree)
        self.posterior, self.independent = posterior_of(tree), is_independent(tree)
        self.whole, self.scaling = parameters(tree)
        self.clusters, _ = parameters(tree, self.posterior)
        n = len(self.whole.log_weights)
        self.halves = [slice(None)] if n == 1 else [slice(None), slice(0, n // 2), slice(n // 2, n)]
        self.effective = _effective_draws(tree, n) if self.independent else float(n)
        self.repeats = n / self.effective  # the variance of resampled draws is so many times that of as many independent ones
        self.counts = occupied_counts(tree)
        self.n_occupied = [np.bincount(self.counts[half]) / len(self.counts[half]) for half in self.halves]
        inputs = [(self._part(self.whole, half), self._part(self.clusters, half)) for half in self.halves]
        self.log_density = [mean_log_density(at_rows(whole, self.scaling, rows)) for whole, _ in inputs]
        self.membership = [mean_responsibilities(at_rows(clusters, self.scaling, rows)) for _, clusters in inputs]
        paired = rows[np.unique(np.linspace(0, len(rows) - 1, _MAX_PAIRED).astype(int))]
        self.co_clustering = [same_cluster(whole, self.scaling, paired) for whole, _ in inputs]

    @staticmethod
    def _part(mixture: Mixture, half: slice) -> Mixture:
        return jax.tree.map(lambda a: np.asarray(a)[half], mixture)

    def moments(self, name: str, cluster: Int[np.ndarray, " m"]) -> Moments:
        """Of the parameters with this name, for these clusters in turn."""
        values = self.posterior[name]
        values = values.isel(cluster=cluster) if "cluster" in values.dims else values
        values = values.stack(parameter=[dim for dim in values.dims if dim not in ("chain", "draw")]).transpose(
            ..., "parameter"
        )
        mean, sd = values.mean(["chain", "draw"]).to_numpy(), values.std(["chain", "draw"]).to_numpy()
        if self.independent or len(self.halves) == 1:
            mean_error, sd_error = sd / np.sqrt(self.effective), sd / np.sqrt(2 * self.effective)
        else:
            arrays = np.moveaxis(values.to_numpy(), -1, 0)
            mean_error, sd_error = (np.array([float(az.mcse(a, method=m)) for a in arrays]) for m in ("mean", "sd"))
        names = [_place(self.posterior[name], index) for index in np.ndindex(*_shape(self.posterior[name], len(cluster)))]
        return Moments(names, mean, sd, mean_error, sd_error)

    def noise(self, averages: list[np.ndarray], distance: Callable) -> float:
        """The share of this fit in the distance that chance alone gives."""
        return 0.0 if len(averages) == 1 else 0.5 * float(distance(*averages[1:])) * np.sqrt(self.repeats)


def _effective_draws(tree: xr.DataTree, n: int) -> float:
    """Of n draws resampled from S weighted ones that are worth E: a mean varies by both, by 1/n where all weights are equal."""
    worth, share = (float(tree["sample_stats"][name]) for name in ("effective_draws", "effective_share"))
    return 1 / (1 / worth + 1 / n - share / worth) if worth > 0 else 1.0


def _shape(values: xr.DataArray, n_clusters: int) -> tuple[int, ...]:
    return tuple(n_clusters if dim == "cluster" else values.sizes[dim] for dim in values.dims if dim not in ("chain", "draw"))


def _place(values: xr.DataArray, index: tuple[int, ...]) -> str:
    """Which parameter this is, in words: cluster 1, x2."""
    dims = [dim for dim in values.dims if dim not in ("chain", "draw")]
    words = [f"cluster {i}" if dim == "cluster" else str(values[dim].to_numpy()[i]) for dim, i in zip(dims, index, strict=True)]
    return ", ".join(words) or "all clusters"
