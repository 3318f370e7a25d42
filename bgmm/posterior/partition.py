"""A point estimate of the partition of the rows, and a credible ball around it.

The point estimate minimises the posterior expectation of a loss between partitions (``losses``), by the search in ``salso``.
The credible ball of Wade and Ghahramani (2018) is the smallest ball around it that holds a given share of the draws. Both
depend only on which rows share a cluster, so that labels may switch and the number of clusters may vary between draws.
"""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from bgmm.core.checks import check_between, check_count, numpy_generator, random_key
from bgmm.core.precision import in_float64
from bgmm.posterior.assignments import N_DRAWS, draw_assignments
from bgmm.posterior.evaluate import row_coords
from bgmm.posterior.losses import Grouped, contingency_tables, distances, grouped, loss_named, ungrouped
from bgmm.posterior.salso import search
from bgmm.tree.question import of_tree

_BOUNDS = ("vertical upper", "vertical lower", "horizontal")
_TIE = 1e-9  # losses that differ by less are equal up to rounding


@of_tree
@in_float64
def partition(
    tree: xr.DataTree,
    *,
    loss: str = "vi",
    seed: int | jax.Array = 0,
    n_draws: int = N_DRAWS,
    n_starts: int = 16,
    max_clusters: int | None = None,
) -> xr.Dataset:
    """The partition c of the fitted rows with the smallest posterior expected loss, (1/S) sum_s loss(c, z_s).

    The draws z_s are the assignments in the tree; without these they are drawn from the responsibilities of each draw. The
    expected loss is exactly the mean over the draws, not a bound on it. Every row counts once, whatever its observation
    weight. The search is heuristic, and its result is never worse than the best draw. (Where comparing all pairs of draws would
    take too long, a draw is left out if its mean loss to some of the others is worse by four standard errors.)

    :param loss: "vi", the variation of information in bits, 0..log2 N; or "binder", the share of ordered pairs of rows that are
        in the same cluster of one partition and in different clusters of the other. "binder" tends to put uncertain rows into
        many small clusters.
    :param seed: random seed of the assignments and of the search, an integer or a JAX key.
    :param n_draws: largest number of draws used, evenly spaced in each chain. A tree with fewer than 200 draws gives several
        assignments for each draw.
    :param n_starts: number of random starts of the search.
    :param max_clusters: largest number of clusters; by default twice the largest number in any draw, and at least 32.
    :returns: a dataset with ``assignments`` (observation), the clusters numbered by size, largest first; ``size`` (cluster);
        ``membership`` (observation, cluster), the share of draws that put the row into the cluster, where each cluster of a
        draw is matched to the cluster of the partition with which it shares most rows; ``entropy`` (observation) of that
        membership, in bits; ``with_mates`` (observation), the mean probability that the row shares a cluster with another row
        of its cluster (for a cluster of one row: the probability that the row is alone); ``expected_loss``; and the attributes
        ``loss``, ``unit``, ``n_draws`` and ``description``.
    :raises ValueError: for an unknown loss, a count below one, or a tree with neither data nor assignments.

    Source: Dahl, Johnson and Mueller (2022), "Search algorithms and loss functions for Bayesian clustering".
    """
    loss_function = loss_named(loss)
    for name, value in (("n_starts", n_starts), ("max_clusters", 1 if max_clusters is None else max_clusters)):
        check_count(name, value)
    key_assignments, key_search = jax.random.split(random_key(seed))
    z = draw_assignments(tree, n_draws=n_draws, key=key_assignments).z
    c = search(z, loss_function, numpy_generator(key_search), n_starts, max_clusters)
    draws = grouped(z)
    c_groups = _clusters_of_groups(c, draws)
    membership, with_mates = _certainty(c_groups, draws)
    log_p = np.log2(membership, where=membership > 0, out=np.zeros_like(membership))
    return xr.Dataset(
        {
            "assignments": ("observation", c),
            "size": ("cluster", np.bincount(c)),
            "membership": (("observation", "cluster"), membership[draws.of_row]),
            "entropy": ("observation", -np.sum(membership * log_p, axis=1)[draws.of_row] + 0.0),
            "with_mates": ("observation", with_mates[draws.of_row]),
            "expected_loss": distances(c_groups, draws, loss_function).mean(),
        },
        coords=row_coords(tree),
        attrs={
            "description": "one clustering of all rows together, the closest to those of the draws; see credible_ball",
            "loss": loss,
            "unit": loss_function.unit,
            "n_draws": len(z),
        },
    )


def check_or_find_partition(around: object, tree: xr.DataTree, **options) -> xr.Dataset:
    """``around``, checked to be a result of ``partition``; where it is None, the result of ``partition(tree, **options)``."""
    if around is None:
        return partition(tree, **options)
    if not isinstance(around, xr.Dataset) or not {"assignments", "membership"} <= set(around) or "loss" not in around.attrs:
        raise ValueError(f"around must be what bgmm.partition returned, not {type(around).__name__}")
    return around


@of_tree
@in_float64
def credible_ball(
    tree: xr.DataTree,
    around: xr.Dataset | None = None,
    *,
    probability: float = 0.95,
    loss: str = "vi",
    seed: int | jax.Array = 0,
    n_draws: int = N_DRAWS,
) -> xr.Dataset:
    """The smallest ball of partitions {c : loss(c*, c) <= radius} around c* that holds at least ``probability`` of the draws.

    Three bounds describe the ball. Each is the draw in it that is farthest from c*: "horizontal" among all draws in the ball,
    "vertical upper" among those with the fewest clusters, and "vertical lower" among those with the most clusters. Where
    several different partitions tie, the first is returned and ``n_alike`` counts them.

    :param around: c*, a result of ``partition``, whose loss is used; by default ``partition`` is called with the options below.
    :param probability: posterior probability of the ball, strictly between 0 and 1.
    :param loss: see ``partition``; used where ``around`` is None.
    :param seed: random seed of the assignments, an integer or a JAX key.
    :param n_draws: see ``partition``.
    :returns: a dataset with ``radius``; ``held``, the share of draws in the ball; for each bound (dim bound) ``distance`` from
        c*, ``n_clusters``, ``n_alike``, ``assignments`` (bound, observation), and the ``chain`` and ``draw`` of the tree;
        ``centre`` (observation), the assignments of c*; and attributes as ``partition``. The clusters of a bound have the
        numbers of the clusters of c* that they match best.
    :raises ValueError: for a probability outside of 0..1, an unknown loss, or a partition of other rows.

    Source: Wade and Ghahramani (2018), "Bayesian cluster analysis: point estimation and credible balls", section 4.
    """
    check_between("probability", probability, 0, 1)
    around = check_or_find_partition(around, tree, loss=loss, seed=seed, n_draws=n_draws)
    loss_function = loss_named(around.attrs["loss"])
    draws = draw_assignments(tree, n_draws=n_draws, key=jax.random.split(random_key(seed))[0])
    c = around["assignments"].to_numpy()
    if len(c) != draws.z.shape[1]:
        raise ValueError(
            f"the partition is of {len(c)} rows and the tree of {draws.z.shape[1]}; give the partition of this tree"
        )
    d = distances(c, ungrouped(draws.z), loss_function)
    radius = np.sort(d)[int(np.ceil(probability * len(d) - _TIE)) - 1]
    inside, counts = d <= radius + _TIE, draws.z.max(1).astype(np.int64) + 1
    candidates = {
        "vertical upper": inside & (counts == counts[inside].min()),
        "vertical lower": inside & (counts == counts[inside].max()),
        "horizontal": inside,
    }
    bounds, n_alike = [], []
    for name in _BOUNDS:
        farthest = np.flatnonzero(candidates[name] & (d >= d[candidates[name]].max() - _TIE))
        bounds.append(farthest[0])
        n_alike.append(len(np.unique(draws.z[farthest], axis=0)))
    return xr.Dataset(
        {
            "radius": radius,
            "held": inside.mean(),
            "distance": ("bound", d[bounds]),
            "n_clusters": ("bound", counts[bounds]),
            "n_alike": ("bound", np.array(n_alike)),
            "assignments": (("bound", "observation"), np.stack([_number_like(c, draws.z[s]) for s in bounds])),
            "chain": ("bound", draws.chain[bounds]),
            "draw": ("bound", draws.draw[bounds]),
            "centre": ("observation", c),
        },
        coords={"bound": list(_BOUNDS)} | row_coords(tree),
        attrs={"probability": probability, "loss": around.attrs["loss"], "unit": loss_function.unit, "n_draws": len(d)},
    )


def _clusters_of_groups(c: Int[np.ndarray, " n"], draws: Grouped) -> Int[np.ndarray, " g"]:
    """Cluster of each group; an optimal partition does not divide a group."""
    labels = np.empty(len(draws.size), np.int64)
    labels[draws.of_row] = c
    return labels


def _certainty(c: Int[np.ndarray, " g"], draws: Grouped) -> tuple[Float[np.ndarray, "g k"], Float[np.ndarray, " g"]]:
    """Membership of each group in each cluster of ``c``, and the mean co-clustering of a row with the others of its cluster.

    For a row in cluster k of ``c`` and cluster j of a draw the latter is (n_kj - 1) / (a_k - 1), averaged over the draws.
    """
    tables = contingency_tables(c, draws, int(c.max()) + 1)
    a, b = tables[0].sum(0), tables.sum(2)
    membership, mates, g = np.zeros((len(c), len(a))), np.zeros(len(c)), np.arange(len(c))
    for n, b_draw, z in zip(tables, b, draws.z, strict=True):
        membership[g, n.argmax(1)[z]] += 1
        mates += np.where(a[c] > 1, (n[z, c] - 1) / np.maximum(a[c] - 1, 1), b_draw[z] == 1)
    return membership / len(tables), mates / len(tables)


def _number_like(c: Int[np.ndarray, " n"], z: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The partition ``z`` with its clusters numbered so that most rows agree with ``c``; clusters in excess come last."""
    k, j = int(c.max()) + 1, int(z.max()) + 1
    n = np.bincount(z.astype(np.int64) * k + c, minlength=j * k).reshape(j, k)
    matched_z, matched_c = linear_sum_assignment(n, maximize=True)
    name = np.full(j, -1)
    name[matched_z] = matched_c
    name[name < 0] = k + np.arange((name < 0).sum())
    return name[z]
