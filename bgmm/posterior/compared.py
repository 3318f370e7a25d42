"""By what ``relabel`` aligns the draws of a tree: membership probabilities of some rows in the occupied components.

Of draws of mixtures they are the responsibilities p(z_n = k | x_n, draw s), given that k is occupied; of draws of assignments
they are zero and one. How well a draw explains a row is its density beside a tenth of the mean
over the draws, as a share of the two.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logsumexp

from bgmm.core.gaussian import Parameters
from bgmm.core.scaling import Scaling
from bgmm.posterior.assignments import small_labels
from bgmm.posterior.evaluate import at_rows, log_likelihoods, responsibilities
from bgmm.tree import held_assignments, mixtures_of, observed, occupied_of, parameters

_ROWS = 256
_NUMBERS = 5 * 10**7  # in the memberships of all draws: 200 MB
_FEWEST_ROWS = 64
_WELL = 10.0  # a row is half explained when its density is so many times lower than the mean over the draws


class Compared(NamedTuple):
    """What the draws are aligned by: of each draw its occupied components first."""

    p: Float[np.ndarray, "s n j"]
    g: Float[np.ndarray, "s n"]  # how well the draw explains the row, in 0..1
    component: Int[np.ndarray, "s j"]  # of the tree
    counts: Int[np.ndarray, " s"]  # occupied ones
    score: Float[np.ndarray, " s"]  # the pivot has a high one
    weights: Float[np.ndarray, "s k"]  # of the tree's components
    shape: tuple[int, int]
    varying: bool  # whether some component of some draw is not occupied


def _occupied_first(held: Bool[np.ndarray, "s k"]) -> tuple[Int[np.ndarray, "s j"], Int[np.ndarray, " s"]]:
    counts = held.sum(1)
    return np.argsort(~held, axis=1, kind="stable")[:, : counts.max()], counts


def of_mixtures(tree: xr.DataTree) -> Compared:
    """Memberships in the occupied components, of draws of mixtures."""
    mixture, scaling = parameters(tree)
    whole = mixtures_of(tree)
    shape, held = (whole.sizes["chain"], whole.sizes["draw"]), np.ones(mixture.log_weights.shape, bool)
    if "components" in tree.children:
        given = occupied_of(tree)
        held = np.exp(mixture.log_weights) > 0 if given is None else given.reshape(held.shape)
    elif "sample_stats" in tree.children and "present" in tree["sample_stats"]:
        held = tree["sample_stats"]["present"].to_numpy().reshape(held.shape)
    component, counts = _occupied_first(held)
    rows = _rows(tree, mixture, scaling, component, counts)
    p = np.empty((len(component), len(rows), component.shape[1]), np.float32)
    step = min(len(p), max(1, _NUMBERS // (len(rows) * held.shape[1])))
    log_p = np.empty(p.shape[:2], np.float32)
    for low in range(0, len(p), step):
        some = np.minimum(np.arange(low, low + step), len(p) - 1)  # of one shape, that nothing is compiled twice
        at = at_rows(jax.tree.map(lambda a: np.asarray(a)[some], mixture), scaling, rows)  # noqa: B023
        log_p[some], r = log_likelihoods(at), responsibilities(at)
        r = np.take_along_axis(r * held[some][:, None, :], component[some][:, None, :], axis=2)
        p[some] = r / np.maximum(r.sum(2, keepdims=True), np.finfo(float).tiny)
    g = expit(log_p - (logsumexp(log_p, axis=0) - np.log(len(log_p))) + np.log(_WELL))
    score = p.max(2).mean(1)  # the most decided draw, where the tree knows no log posterior
    if "sample_stats" in tree.children and "lp" in tree["sample_stats"]:
        score = tree["sample_stats"]["lp"].to_numpy().reshape(-1)
    return Compared(p, g, component, counts, score, np.exp(np.asarray(mixture.log_weights)), shape, not held.all())


def _rows(
    tree: xr.DataTree, mixture: Parameters, scaling: Scaling, component: Int[np.ndarray, "s j"], counts: Int[np.ndarray, " s"]
) -> Float[np.ndarray, "n d"]:
    """Rows at which memberships are compared: some of the data, and the means of two draws so that few clusters lack one."""
    means, centre, scale = np.asarray(mixture.means), np.asarray(scaling.centre), np.asarray(scaling.scale)
    drawn = [means[s, component[s, : counts[s]]] for s in (0, int(counts.argmax()))[: 1 + (counts.min() < counts.max())]]
    most = int(np.clip(_NUMBERS // component.size, _FEWEST_ROWS, _ROWS))
    if "observed_data" not in tree.children:
        spread = np.unique(np.linspace(0, len(means) - 1, max(1, most // counts.max())).astype(int))
        drawn = [means[s, component[s, : counts[s]]] for s in spread] + drawn
        return centre + scale * np.concatenate(drawn)
    x = observed(tree)
    some = np.unique(np.linspace(0, len(x) - 1, most).astype(int))
    return np.concatenate([x[some], centre + scale * np.concatenate(drawn)])


def of_assignments(tree: xr.DataTree) -> Compared:
    """Memberships that are certain, of draws of assignments."""
    given = held_assignments(tree)
    assert given is not None
    z = small_labels(given.to_numpy().reshape(-1, given.sizes["observation"]))
    share = np.stack([np.bincount(own, minlength=z.max() + 1) for own in z]) / z.shape[1]
    component, counts = _occupied_first(share > 0)
    most = max(_FEWEST_ROWS, _NUMBERS // component.size)
    some = np.unique(np.linspace(0, z.shape[1] - 1, most).astype(int))
    exists = np.arange(component.shape[1]) < counts[:, None]
    p = ((z[:, some, None] == component[:, None, :]) & exists[:, None, :]).astype(np.float32)
    explained, shape = np.ones(p.shape[:2], np.float32), (given.sizes["chain"], given.sizes["draw"])
    return Compared(p, explained, component, counts, np.zeros(len(z)), share, shape, not share.all())
