"""Membership probabilities of some rows in the occupied components of every draw: the quantities that ``relabel`` aligns.

For draws of mixtures they are the responsibilities p(z_n = k | x_n, draw s), conditional on component k being occupied. For
draws of assignments they are zero or one. The weight of row n in draw s compares the density p_sn of the row under the draw
with its mean p_n over the draws: g_sn = p_sn / (p_sn + p_n / 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logsumexp

from bgmm.core.components import Mixture
from bgmm.core.gaussians import Gaussians
from bgmm.core.scaling import Scaling
from bgmm.posterior.assignments import small_labels
from bgmm.posterior.evaluate import at_rows, log_likelihoods, responsibilities
from bgmm.tree.read import held_assignments, mixtures_of, observed, occupied_of, parameters


@dataclass(frozen=True)
class Constants:
    """Constants of the choice of rows."""

    max_rows: int = 256  # rows of the data: enough to tell clusters apart, few enough to keep for every draw
    min_rows: int = 64
    max_numbers: int = 5 * 10**7  # numbers in the memberships of all draws: 200 MB
    incomplete: float = 0.05  # share of draws with an empty component up to which every component counts as a cluster
    least_log_density: float = -1e30  # of a row far from every component: finite in single precision
    half_weight_ratio: float = 10.0  # a row has weight 1/2 when its density is this many times lower than the mean over draws


_CONSTANTS = Constants()


class Memberships(NamedTuple):
    """Memberships of rows in components. The occupied components of each draw come first on the axis j."""

    p: Float[np.ndarray, "s n j"]
    g: Float[np.ndarray, "s n"]  # how well the draw explains the row, in 0..1
    component: Int[np.ndarray, "s j"]  # index in the tree
    counts: Int[np.ndarray, " s"]  # number of occupied components
    score: Float[np.ndarray, " s"]  # the draw with the highest score is the pivot of the alignment
    weights: Float[np.ndarray, "s k"]  # mixing weights of the tree's components
    shape: tuple[int, int]  # numbers of chains and draws
    varying: bool  # whether some draw has a component that is not occupied


def _occupied_first(occupied: Bool[np.ndarray, "s k"]) -> tuple[Int[np.ndarray, "s j"], Int[np.ndarray, " s"]]:
    """Indices of the components, occupied ones first, and the number of occupied components."""
    counts = occupied.sum(1)
    return np.argsort(~occupied, axis=1, kind="stable")[:, : counts.max()], counts


def memberships_of_mixtures(tree: xr.DataTree, max_rows: int | None = None) -> Memberships:
    """Memberships in the occupied components, for draws of mixtures, at up to ``max_rows`` rows of the data (default 256)."""
    mixture, scaling = parameters(tree)
    sizes = mixtures_of(tree).sizes
    shape, occupied = (sizes["chain"], sizes["draw"]), np.ones(mixture.log_weights.shape, bool)
    if (stored := occupied_of(tree)) is not None:
        occupied = stored.reshape(occupied.shape)
        if "components" not in tree.children and (~occupied.all(1)).mean() <= _CONSTANTS.incomplete:
            occupied = np.ones_like(occupied)  # the number of components is given, and hardly a draw leaves one empty
    elif "components" in tree.children:
        occupied = np.exp(mixture.log_weights) > 0
    elif "sample_stats" in tree.children and "present" in tree["sample_stats"]:
        occupied = tree["sample_stats"]["present"].to_numpy().reshape(occupied.shape)
    component, counts = _occupied_first(occupied)
    rows = _choose_rows(tree, mixture, scaling, component, counts, max_rows or _CONSTANTS.max_rows)
    p = np.empty((len(component), len(rows), component.shape[1]), np.float32)
    step = min(len(p), max(1, _CONSTANTS.max_numbers // (len(rows) * occupied.shape[1])))
    log_p = np.empty(p.shape[:2], np.float32)
    for low in range(0, len(p), step):
        some = slice(low, low + step)
        inputs = at_rows(jax.tree.map(lambda a: np.asarray(a)[some], mixture), scaling, rows)  # noqa: B023
        log_p[some], r = np.maximum(log_likelihoods(inputs), _CONSTANTS.least_log_density), responsibilities(inputs)
        r = np.take_along_axis(r * occupied[some][:, None, :], component[some][:, None, :], axis=2)
        p[some] = r / np.maximum(r.sum(2, keepdims=True), np.finfo(float).tiny)
    # g = p_sn / (p_sn + p_n / 10), as a logistic function of the log ratio
    g = expit(log_p - (logsumexp(log_p, axis=0) - np.log(len(log_p))) + np.log(_CONSTANTS.half_weight_ratio))
    score = p.max(2).mean(1)  # where the tree holds no log posterior: the mean of the largest memberships
    if "sample_stats" in tree.children and "lp" in tree["sample_stats"]:
        score = tree["sample_stats"]["lp"].to_numpy().reshape(-1)
    return Memberships(p, g, component, counts, score, np.exp(np.asarray(mixture.log_weights)), shape, not occupied.all())


def _choose_rows(
    tree: xr.DataTree,
    mixture: Mixture,
    scaling: Scaling,
    component: Int[np.ndarray, "s j"],
    counts: Int[np.ndarray, " s"],
    max_rows: int,
) -> Float[np.ndarray, "n d"]:
    """Rows at which memberships are computed, in the user's units.

    They are an even choice of the data and the component means of one or two draws, so that hardly any cluster is without a
    row. A tree without data uses the means of more draws.
    """
    means = np.asarray(mixture.components.means) if isinstance(mixture.components, Gaussians) else None
    reference = (0, int(counts.argmax()))[: 1 + (counts.min() < counts.max())]  # draws
    points = [] if means is None else [means[s, component[s, : counts[s]]] for s in reference]
    n_rows = int(np.clip(_CONSTANTS.max_numbers // component.size, _CONSTANTS.min_rows, max_rows))
    if "observed_data" not in tree.children and means is not None:
        spaced = np.unique(np.linspace(0, len(means) - 1, max(1, n_rows // counts.max())).astype(int))
        points = [means[s, component[s, : counts[s]]] for s in spaced] + points
        return np.asarray(scaling.restore(np.concatenate(points)))
    x = observed(tree)
    some = np.unique(np.linspace(0, len(x) - 1, n_rows).astype(int))
    return np.concatenate([x[some], *(scaling.restore(point) for point in points)])


def memberships_of_assignments(tree: xr.DataTree) -> Memberships:
    """Memberships of zero or one, for draws of assignments."""
    assignments = held_assignments(tree)
    assert assignments is not None
    z = small_labels(assignments.to_numpy().reshape(-1, assignments.sizes["observation"]))
    share = np.stack([np.bincount(labels, minlength=z.max() + 1) for labels in z]) / z.shape[1]
    component, counts = _occupied_first(share > 0)
    n_rows = max(_CONSTANTS.min_rows, _CONSTANTS.max_numbers // component.size)
    some = np.unique(np.linspace(0, z.shape[1] - 1, n_rows).astype(int))
    exists = np.arange(component.shape[1]) < counts[:, None]
    p = ((z[:, some, None] == component[:, None, :]) & exists[:, None, :]).astype(np.float32)
    g, shape = np.ones(p.shape[:2], np.float32), (assignments.sizes["chain"], assignments.sizes["draw"])
    return Memberships(p, g, component, counts, np.zeros(len(z)), share, shape, not share.all())
