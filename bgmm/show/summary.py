"""A text summary of a tree: model and data, number of occupied components, parameters of the clusters, and diagnostics."""

from __future__ import annotations

import arviz as az
import numpy as np
import xarray as xr

from bgmm.posterior.diagnose import cluster_variables, verdicts
from bgmm.posterior.occupied import n_occupied
from bgmm.posterior.relabel import relabelled
from bgmm.tree.question import of_tree
from bgmm.tree.read import about, features_of, has_mixtures, held_assignments, is_independent, presence_of

_LIKENESS = {  # of shapes, by the largest spread: the scales differ by factors of exp(+-spread) or so
    0.15: "nearly alike",
    0.35: "similar",
    0.8: "related",
    1.5: "loosely related",
    np.inf: "unrelated",
}
_LISTED_SHARE = 0.05  # a cluster in a smaller share of the draws is not in the table


class Summary(str):
    """A text that also prints line by line where Python shows a value: in a notebook, at the prompt."""

    __repr__ = str.__str__


@of_tree
def summary(tree: xr.DataTree) -> Summary:
    """What a fit found and how far it can be trusted, in words: what the command ``bgmm summary`` prints.

    It says what was fitted to what; how many components hold rows, with their probabilities; weights, means and scales of the
    clusters; and whether the chains agree, what importance weights say, or whether EM converged. The tree is relabelled first
    where it is not yet.

    :returns: a string, which notebooks show line by line too.
    """
    tree = relabelled(tree)
    sizes = tree["sample_stats"]["agreement"].sizes
    single = sizes["chain"] * sizes["draw"] == 1
    parts = [_heading(tree), _occupied_line(tree), _emptied_line(tree), _pruned_line(tree)]
    parts += [_sharing_line(tree), _modes_line(tree), _clusters_line(tree)]
    if has_mixtures(tree):
        listed = xr.DataTree.from_dict({"posterior": cluster_variables(tree, _LISTED_SHARE)})
        table = az.summary(listed, kind="stats" if single or is_independent(tree) else "all")
        if single:
            table = table[["mean"]].rename(columns={"mean": "estimate"}).astype(float).map("{:.4g}".format)
        parts += ["", _table_line(single), table.to_string(), "", _resolution_line(tree)]
    parts += [_criteria_line(tree), _converged_line(tree)] if single else verdicts(tree)
    return Summary("\n".join(part for part in parts if part is not None))


def _table_line(single: bool) -> str:
    """What the table holds."""
    of_clusters = "weights, means and scales (standard deviations) of the clusters"
    return f"{of_clusters}, at the mode:" if single else f"{of_clusters}, and how far they vary between draws:"


def _heading(tree: xr.DataTree) -> str:
    origin, sizes = about(tree), tree["sample_stats"]["agreement"].sizes
    if "n_rows" in origin:
        rows = str(origin["n_rows"])
    elif "observed_data" in tree.children:
        rows = str(tree["observed_data"].sizes["observation"])
    else:
        assignments = held_assignments(tree)
        rows = "unknown" if assignments is None else str(assignments.sizes["observation"])
    d = len(features_of(tree)) if has_mixtures(tree) else 0
    data = f"{rows} rows, {_count(d, 'feature')}" if d else f"assignments of {rows} rows"
    n_chains, n_draws = sizes["chain"], sizes["draw"]
    size = "one draw" if n_chains * n_draws == 1 else f"{n_chains} x {n_draws} draws"
    if "engine" in origin:
        fit = f"{origin['engine']}, {size}\nmodel: {origin.get('model_in_short', origin['model'])}"
    else:
        fit = f"{size} from another program"
    return f"{data}; {fit}"


def _occupied_line(tree: xr.DataTree) -> str | None:
    if "n_occupied" not in tree["sample_stats"] and "observed_data" not in tree.children:
        return None
    probability = n_occupied(tree)
    likely = probability.where(probability >= 0.005, drop=True)
    prior = [f" (prior {float(p):.2f})" for p in likely["prior"]] if "prior" in likely.coords else [""] * len(likely)
    listed = ", ".join(
        f"{int(k)} with probability {float(p):.2f}{before}"
        for k, p, before in zip(likely["n_occupied"], likely, prior, strict=True)
    )
    return f"occupied components: {listed}; those that hold at least one row, counted in each draw"


def _sharing_line(tree: xr.DataTree) -> str | None:
    """How much the covariances of the clusters have in common, where the model learns it and there are several."""
    posterior = tree["posterior"].to_dataset() if "posterior" in tree.children else xr.Dataset()
    prior = tree["constant_data"].to_dataset() if "constant_data" in tree.children else xr.Dataset()
    if "prior_shape_spread" not in prior or "shape_spread" not in posterior:
        return None
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    if "n_occupied" in stats and float(stats["n_occupied"].median()) < 2:
        return None
    of_prior = prior["prior_shape_spread"]
    draws = posterior["shape_spread"]
    low, middle, high = of_prior.to_numpy()
    prior_range = f"(prior {middle:.2f}, {low:.2f} to {high:.2f})"
    if draws.size == 1:
        return (
            f"spread of the clusters' shapes: {float(draws.squeeze()):.2f} at the mode {prior_range}, which may be far from "
            "the draws: a sampler says how alike the clusters are"
        )
    least, median, most = (float(draws.quantile(p)) for p in of_prior["probability"].to_numpy())
    word = next(word for largest, word in _LIKENESS.items() if median <= largest)
    return (
        f"the clusters' shapes are {word}: spread {median:.2f}, 95 % between {least:.2f} and {most:.2f} {prior_range}; near 0 "
        "all clusters have one covariance, well above 1 they are unrelated"
    )


def _clusters_line(tree: xr.DataTree) -> str | None:
    """The share of the draws that has each cluster, where some draws lack one."""
    presence = presence_of(tree)
    if (presence == 1).all():
        return None
    listed = [f"{k} ({share:.0%})" for k, share in enumerate(presence) if share >= _LISTED_SHARE]
    rare = len(presence) - len(listed)
    others = f"; {rare} more in under {_LISTED_SHARE:.0%}" if rare else ""
    return f"clusters, with the share of draws that have them: {', '.join(listed)}{others}"


def _emptied_line(tree: xr.DataTree) -> str | None:
    n = int(tree["sample_stats"]["n_emptied"].max()) if "n_emptied" in tree["sample_stats"] else 0
    return (
        f"emptied: {_count(n, 'component')} with the smallest weight that EM allows, about a hundredth of a row" if n else None
    )


def _pruned_line(tree: xr.DataTree) -> str | None:
    if (pruned := about(tree).get("pruned")) is None:
        return None
    if not (clusters := pruned["clusters"]):
        return "pruned: nothing"
    n, largest = len(clusters), max(cluster["probability"] for cluster in clusters)
    return (
        f"pruned: {_count(n, 'cluster')}, each occupied with probability at most {largest:.2g}; "
        f"predictive probabilities change by at most {pruned['removed_mass']:.2g}"
    )


def _modes_line(tree: xr.DataTree) -> str | None:
    if "sample_stats" not in tree.children or "mode_starts" not in tree["sample_stats"]:
        return None
    stats = tree["sample_stats"]
    starts = stats["mode_starts"].to_numpy().tolist()
    modes = f"{_count(len(starts), 'mode')} found by {_count(sum(starts), 'restart')}"
    if "mode_mass" in stats:
        shown = ", ".join(f"{m:.2g}" for m in stats["mode_mass"].to_numpy()[:4]) + (", ..." if len(starts) > 4 else "")
        if "mode" not in stats:
            return f"{modes}, with Laplace mass {shown}"
        used = ", ".join(str(m) for m in np.unique(stats["mode"].to_numpy()))
        return f"{modes}, with Laplace mass {shown}; chains start in mode {used}"
    lower = stats["mode_log_posterior"].to_numpy()[0] - stats["mode_log_posterior"].to_numpy()
    others = [
        f"{gap:.1f} nats lower ({_count(n, 'restart')}; {share:.0%} of the rows in other clusters)"
        for gap, n, share in zip(lower[1:4], starts[1:4], stats["mode_moved"].to_numpy()[1:4], strict=True)
    ]
    return "; ".join([f"{modes}: the best ({_count(starts[0], 'restart')})", *others, *["..."] * (len(starts) > 4)])


def _resolution_line(tree: xr.DataTree) -> str | None:
    if "constant_data" not in tree.children or "resolution" not in tree["constant_data"]:
        return None
    values = tree["constant_data"]["resolution"].to_numpy()
    listed = ", ".join(f"{name} {value:.3g}" for name, value in zip(features_of(tree), values, strict=True))
    return f"resolution of the data: {listed}"


def _criteria_line(tree: xr.DataTree) -> str | None:
    """The information criteria of a mode, by which fits to the same rows are compared."""
    if "sample_stats" not in tree.children or "bic" not in tree["sample_stats"]:
        return None
    stats = {name: float(tree["sample_stats"][name].squeeze()) for name in ("aic", "bic", "icl", "n_parameters")}
    listed = ", ".join(f"{name.upper()} {stats[name]:.1f}" for name in ("bic", "aic", "icl"))
    return f"{listed} (less is better), with {stats['n_parameters']:.0f} parameters"


def _converged_line(tree: xr.DataTree) -> str | None:
    if "sample_stats" not in tree.children or "converged" not in tree["sample_stats"]:
        return None
    return "EM converged." if bool(tree["sample_stats"]["converged"].all()) else "EM did not converge."


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
