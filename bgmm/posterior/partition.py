"""One clustering for all draws, and how far from it the posterior lies.

The point partition minimises the posterior expectation of a loss between partitions (``losses``), found by ``salso``; the
credible ball around it is that of Wade and Ghahramani (2018): the smallest one that holds a stated share of the draws. Both ask
only which rows are together, so that labels may switch and the number of clusters vary between draws.
"""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from bgmm.core.checks import check_between, check_count, numpy_generator, random_key
from bgmm.core.precision import in_float64
from bgmm.posterior.assignments import N_DRAWS, drawn
from bgmm.posterior.losses import Grouped, distances, grouped, loss_named, shared, ungrouped
from bgmm.posterior.salso import search

_BOUNDS = ("vertical upper", "vertical lower", "horizontal")
_TIE = 1e-9


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
    """The partition of the fitted rows that is closest to the draws: it minimises (1/S) sum_s loss(c, z_s).

    The assignments z_s are those that the tree holds, or else drawn from the responsibilities; the expectation is the mean
    over them and not a bound on it. Every row counts once, whatever its observation weight. The search is heuristic, and never
    ends with a partition worse than the best draw. (Where comparing all draws with all takes long, those are passed over whose
    loss to some others is worse by four standard errors.)

    :param loss: "vi", variation of information in bits, 0..log2 N; or "binder", the share of ordered pairs of rows that one
        partition puts together and the other apart, which makes many small clusters of doubtful rows.
    :param seed: of the assignments and the search, an integer or a JAX key.
    :param n_draws: draws used at most, evenly chosen from each chain. Trees with under 200 give several assignments a draw.
    :param n_starts: random starts of the search.
    :param max_clusters: of the partition; by default twice as many as in any draw, and at least 32.
    :returns: ``assignments`` (observation), clusters numbered from the largest; ``size`` (cluster); ``membership``
        (observation, cluster), the share of draws that put the row into the cluster, where a cluster of a draw stands for that
        one of the partition with which it shares most rows; ``entropy`` (observation) of that membership, in bits;
        ``with_mates`` (observation), the mean probability of being together with the other rows of its own cluster (of a row
        alone: of being alone); ``expected_loss``; and the attributes ``loss``, ``unit`` and ``n_draws``.
    :raises ValueError: for an unknown loss, a count under one, or a tree without data or assignments.

    Source: Dahl, Johnson and Mueller (2022), "Search algorithms and loss functions for Bayesian clustering".
    """
    measured = loss_named(loss)
    for name, value in (("n_starts", n_starts), ("max_clusters", 1 if max_clusters is None else max_clusters)):
        check_count(name, value)
    key, of_search = jax.random.split(random_key(seed))
    z = drawn(tree, n_draws=n_draws, key=key).z
    c = search(z, measured, numpy_generator(of_search), n_starts, max_clusters)
    draws = grouped(z)
    of_group = _of_groups(c, draws)
    membership, with_mates = _sureness(of_group, draws)
    log_p = np.log2(membership, where=membership > 0, out=np.zeros_like(membership))
    return xr.Dataset(
        {
            "assignments": ("observation", c),
            "size": ("cluster", np.bincount(c)),
            "membership": (("observation", "cluster"), membership[draws.of_row]),
            "entropy": ("observation", -np.sum(membership * log_p, axis=1)[draws.of_row] + 0.0),
            "with_mates": ("observation", with_mates[draws.of_row]),
            "expected_loss": distances(of_group, draws, measured).mean(),
        },
        attrs={"loss": loss, "unit": measured.unit, "n_draws": len(z)},
    )


def given_or_found(around: object, tree: xr.DataTree, **options) -> xr.Dataset:
    """The partition that was given, or, where that is None, what ``partition`` finds with these options."""
    if around is None:
        return partition(tree, **options)
    if not isinstance(around, xr.Dataset) or not {"assignments", "membership"} <= set(around) or "loss" not in around.attrs:
        raise ValueError(f"around must be what bgmm.partition returned, not {type(around).__name__}")
    return around


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
    """The smallest ball of partitions {c : loss(c*, c) <= radius} around c* that holds ``probability`` of the draws.

    Its bounds are draws in it: "horizontal", the farthest; "vertical upper", the farthest of those with fewest clusters; and
    "vertical lower", the farthest of those with most. Of several alike the first is given, and ``n_alike`` counts them.

    :param around: c*, as ``partition`` returned it, whose loss is then used; by default that partition is found first.
    :param probability: that the ball holds, strictly between 0 and 1.
    :param loss: see ``partition``.
    :returns: ``radius``; ``held``, the share of draws inside, at least ``probability``; ``distance`` (bound) and ``n_clusters``
        (bound) and ``assignments`` (bound, observation), clusters numbered like those of c* that they share most rows with;
        ``chain`` and ``draw`` (bound) of the tree; ``centre`` (observation), c* itself; attributes as ``partition``.
    :raises ValueError: for a probability outside of 0..1, an unknown loss, or a partition of other rows.

    Source: Wade and Ghahramani (2018), "Bayesian cluster analysis: point estimation and credible balls", section 4.
    """
    check_between("probability", probability, 0, 1)
    around = given_or_found(around, tree, loss=loss, seed=seed, n_draws=n_draws)
    measured = loss_named(around.attrs["loss"])
    found = drawn(tree, n_draws=n_draws, key=jax.random.split(random_key(seed))[0])
    c = around["assignments"].to_numpy()
    if len(c) != found.z.shape[1]:
        raise ValueError(
            f"the partition is of {len(c)} rows and the tree of {found.z.shape[1]}; give the partition of this tree"
        )
    d = distances(c, ungrouped(found.z), measured)
    radius = np.sort(d)[int(np.ceil(probability * len(d) - _TIE)) - 1]
    inside, counts = d <= radius + _TIE, found.z.max(1).astype(np.int64) + 1
    sets = {
        "vertical upper": inside & (counts == counts[inside].min()),
        "vertical lower": inside & (counts == counts[inside].max()),
        "horizontal": inside,
    }
    bounds, alike = [], []
    for name in _BOUNDS:
        farthest = np.flatnonzero(sets[name] & (d >= d[sets[name]].max() - _TIE))
        bounds.append(farthest[0])
        alike.append(len(np.unique(found.z[farthest], axis=0)))
    return xr.Dataset(
        {
            "radius": radius,
            "held": inside.mean(),
            "distance": ("bound", d[bounds]),
            "n_clusters": ("bound", counts[bounds]),
            "n_alike": ("bound", np.array(alike)),
            "assignments": (("bound", "observation"), np.stack([_numbered_like(c, found.z[s]) for s in bounds])),
            "chain": ("bound", found.chain[bounds]),
            "draw": ("bound", found.draw[bounds]),
            "centre": ("observation", c),
        },
        coords={"bound": list(_BOUNDS)},
        attrs={"probability": probability, "loss": around.attrs["loss"], "unit": measured.unit, "n_draws": len(d)},
    )


def _of_groups(c: Int[np.ndarray, " n"], draws: Grouped) -> Int[np.ndarray, " g"]:
    """Cluster of each group; rows that are together in all draws are together in an optimal partition."""
    labels = np.empty(len(draws.size), np.int64)
    labels[draws.of_row] = c
    return labels


def _sureness(c: Int[np.ndarray, " g"], draws: Grouped) -> tuple[Float[np.ndarray, "g k"], Float[np.ndarray, " g"]]:
    """Membership of each group in each cluster of ``c``, and the mean co-clustering of its rows with the others of its own.

    Of a row in cluster k and a draw's cluster j it is (n_kj - 1) / (a_k - 1), averaged over the draws.
    """
    n = shared(c, draws, int(c.max()) + 1)
    a, b = n[0].sum(0), n.sum(2)
    membership, mates, g = np.zeros((len(c), len(a))), np.zeros(len(c)), np.arange(len(c))
    for of_draw, rows, z in zip(n, b, draws.z, strict=True):
        membership[g, of_draw.argmax(1)[z]] += 1
        mates += np.where(a[c] > 1, (of_draw[z, c] - 1) / np.maximum(a[c] - 1, 1), rows[z] == 1)
    return membership / len(n), mates / len(n)


def _numbered_like(c: Int[np.ndarray, " n"], z: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The partition ``z``, each cluster numbered as one of ``c``, so that most rows agree; further ones after them."""
    k, j = int(c.max()) + 1, int(z.max()) + 1
    n = np.bincount(z.astype(np.int64) * k + c, minlength=j * k).reshape(j, k)
    own, theirs = linear_sum_assignment(n, maximize=True)
    name = np.full(j, -1)
    name[own] = theirs
    name[name < 0] = k + np.arange((name < 0).sum())
    return name[z]
