"""A text summary of a tree: model and data, number of occupied components, parameters of the clusters, and diagnostics."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from bgmm.posterior.occupied import n_occupied
from bgmm.posterior.relabel import relabelled
from bgmm.tree.read import about, features_of, has_mixtures, held_assignments, is_independent, posterior_of, presence_of

_MAX_R_HAT = 1.01  # Vehtari et al. (2021)
_MIN_EFFECTIVE = 400  # bulk effective sample size, same source
_MIN_AGREEMENT = 0.8  # mean agreement of the draws with the mean memberships
_LISTED_SHARE = 0.05  # a cluster in a smaller share of the draws is not in the table
_DIAGNOSED_SHARE = 0.5  # a cluster in a smaller share of the draws is not in the diagnostics
_LABEL_FREE = ("lp", "n_occupied", "log_density")  # statistics that do not depend on the order of the components


def summary_text(tree: xr.DataTree) -> str:
    """The summary of a tree, as the command line prints it; the tree is relabelled first where it is not yet."""
    tree = relabelled(tree)
    sizes = tree["sample_stats"]["agreement"].sizes
    single = sizes["chain"] * sizes["draw"] == 1
    parts = [_heading(tree), _occupied_line(tree), _emptied_line(tree), _pruned_line(tree)]
    parts += [_modes_line(tree), _clusters_line(tree)]
    if has_mixtures(tree):
        listed = xr.DataTree.from_dict({"posterior": _listed(tree, _LISTED_SHARE)})
        table = az.summary(listed, kind="stats" if single or is_independent(tree) else "all")
        if single:
            table = table[["mean"]].rename(columns={"mean": "estimate"}).astype(float).map("{:.4g}".format)
        parts += ["", table.to_string(), "", _resolution_line(tree)]
    parts += [_converged_line(tree)] if single else verdicts(tree)
    return "\n".join(part for part in parts if part is not None)


def verdicts(tree: xr.DataTree) -> list[str]:
    """Sentences on how far the draws can be trusted, and on low agreement between them."""
    sentences = _approximation_lines(tree) if is_independent(tree) else _chains_lines(tree)
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    if "agreement" in stats and (low := float(stats["agreement"].mean())) < _MIN_AGREEMENT:
        sentences.append(f"The draws agree on only {low:.0%} of the memberships: the clusters are not well determined.")
    return sentences


def _approximation_lines(tree: xr.DataTree) -> list[str]:
    """What independent draws with importance weights say of themselves."""
    names = ("elbo", "log_evidence", "log_evidence_error", "k_hat", "effective_draws", "effective_share")
    stats = {name: float(tree["sample_stats"][name]) for name in names}
    figures = (
        f"ELBO {stats['elbo']:.2f}, log evidence {stats['log_evidence']:.2f} +- {stats['log_evidence_error']:.2g}; "
        f"importance weights: k-hat {stats['k_hat']:.2f}, {stats['effective_draws']:.0f} effective draws "
        f"({stats['effective_share']:.0%} of those drawn)"
    )
    doubts = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in about(tree).get("warnings", [])]
    return [figures, *(doubts or ["The approximation passes its checks."])]


def _chains_lines(tree: xr.DataTree) -> list[str]:
    """Sentences on the convergence of the chains, and on divergences if there are any."""
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    label_free = _diagnostics(_label_free(tree))
    clusters = _diagnostics(_listed(tree, _DIAGNOSED_SHARE) if has_mixtures(tree) else None)
    table = pd.concat([label_free, clusters])
    r_hat, effective = table["r_hat"], table["ess_bulk"]
    rare = has_mixtures(tree) and bool((presence_of(tree) < _DIAGNOSED_SHARE).any())
    scope = " (clusters in under half of the draws left out)" if rare else ""
    sentences = []
    if max(node.sizes.get("chain", 1) for node in tree.children.values()) == 1:
        sentences.append("R-hat needs at least two chains, so the convergence of the sampler is not known.")
    elif not r_hat.notna().any():
        sentences.append("No variable varies between draws in a way that shows whether the sampler converged.")
    elif (label_free["r_hat"] > _MAX_R_HAT).any():
        sentences.append(
            f"The chains do not agree: R-hat of {label_free['r_hat'].idxmax()}, which does not depend on labels, is "
            f"{label_free['r_hat'].max():.3f} (over {_MAX_R_HAT}): they are in different modes or too short; "
            "run longer, or compare the chains."
        )
    elif (r_hat > _MAX_R_HAT).any():
        sentences.append(
            "The chains do not agree: "
            f"R-hat of {r_hat.idxmax()} is {r_hat.max():.3f} (over {_MAX_R_HAT}); run longer, or compare the chains."
        )
    elif (effective < _MIN_EFFECTIVE).any():
        sentences.append(
            f"The chains agree, but {effective.idxmin()} has only "
            f"{effective.min():.0f} effective draws (under {_MIN_EFFECTIVE}); run longer."
        )
    else:
        sentences.append(
            f"The chains agree: R-hat is at most {r_hat.max():.3f}, and each variable has at least "
            f"{effective.min():.0f} effective draws{scope}."
        )
    if "diverging" in stats and (n := int(stats["diverging"].sum())):
        sentences.append(f"{n} draws diverged: the sampler could not explore all of the posterior.")
    return sentences


def _diagnostics(variables: xr.Dataset | None) -> pd.DataFrame:
    """R-hat and bulk effective sample size of each variable."""
    if variables is None or not variables.data_vars:
        return pd.DataFrame({"r_hat": [], "ess_bulk": []}, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):  # a chain whose draws are all equally far from the median
        return az.summary(xr.DataTree.from_dict({"posterior": variables}), kind="diagnostics", round_to="none").astype(float)


def _listed(tree: xr.DataTree, share: float) -> xr.Dataset:
    """The variables of the table, for the clusters that at least this share of the draws has.

    The weight of a single cluster is constant, so it is left out.
    """
    posterior = posterior_of(tree)
    usual = np.flatnonzero(presence_of(tree) >= share)
    names = ["weights"] * (posterior.sizes["cluster"] > 1) + [name for name in ("means", "scales") if name in posterior]
    return posterior[names].isel(cluster=usual)


def _label_free(tree: xr.DataTree) -> xr.Dataset:
    """Variables that vary and do not depend on labels: K, K+, concentration, log posterior, log densities at fixed points."""
    variables: dict[str, xr.DataArray] = {}
    if "sample_stats" in tree.children:
        stats = tree["sample_stats"].to_dataset()
        variables |= {name: stats[name] for name in _LABEL_FREE if name in stats}
    if "components" in tree.children:
        posterior = tree["posterior"].to_dataset()
        variables |= {str(name): value for name, value in posterior.items() if "cluster" not in value.dims}
    return xr.Dataset({name: value for name, value in variables.items() if bool((value != value[0, 0]).any())})


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
    size = f"{sizes['chain']} x {sizes['draw']} draws"
    fit = f"{origin['engine']}, {size}\nmodel: {origin['model']}" if "engine" in origin else f"{size} from another program"
    return f"{data}; {fit}"


def _occupied_line(tree: xr.DataTree) -> str | None:
    if "n_occupied" not in tree["sample_stats"] and "observed_data" not in tree.children:
        return None
    probability = n_occupied(tree)
    likely = probability.where(probability >= 0.005, drop=True)
    prior = [f" (prior {float(p):.2f})" for p in likely["prior"]] if "prior" in likely.coords else [""] * len(likely)
    return "occupied components: " + ", ".join(
        f"{int(k)} with probability {float(p):.2f}{before}"
        for k, p, before in zip(likely["n_occupied"], likely, prior, strict=True)
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


def _converged_line(tree: xr.DataTree) -> str | None:
    if "sample_stats" not in tree.children or "converged" not in tree["sample_stats"]:
        return None
    return "EM converged." if bool(tree["sample_stats"]["converged"].all()) else "EM did not converge."


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
