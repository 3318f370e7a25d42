"""A fitted tree as text: what was fitted, how many components are occupied, the clusters, and whether to believe it."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from bgmm.posterior.occupied import n_occupied
from bgmm.posterior.relabel import relabelled
from bgmm.tree import about, features_of, has_mixtures, held_assignments, posterior_of, presence_of

_R_HAT = 1.01
_EFFECTIVE = 400
_RARE, _USUAL = 0.05, 0.5  # shares of the draws: a rarer cluster is not listed; a usual one has to agree over the chains
_LABEL_FREE = ("lp", "n_occupied", "log_density")  # statistics that no switching of labels changes


def summary_text(tree: xr.DataTree) -> str:
    """The summary that the command line prints."""
    tree = relabelled(tree)
    sizes = tree["sample_stats"]["agreement"].sizes
    single = sizes["chain"] * sizes["draw"] == 1
    parts = [_heading(tree), _occupied_line(tree), _emptied_line(tree), _pruned_line(tree)]
    parts += [_modes_line(tree), _clusters_line(tree)]
    if has_mixtures(tree):
        listed = xr.DataTree.from_dict({"posterior": _listed(tree, _RARE)})
        table = az.summary(listed, kind="stats" if single else "all")
        if single:
            table = table[["mean"]].rename(columns={"mean": "estimate"}).astype(float).map("{:.4g}".format)
        parts += ["", table.to_string(), "", _resolution_line(tree)]
    parts += [_converged_line(tree)] if single else verdicts(tree)
    return "\n".join(part for part in parts if part is not None)


def verdicts(tree: xr.DataTree) -> list[str]:
    """One sentence on the chains' agreement, one on divergences if there were any."""
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    free, of_clusters = _diagnostics(_label_free(tree)), _diagnostics(_listed(tree, _USUAL) if has_mixtures(tree) else None)
    table = pd.concat([free, of_clusters])
    r_hat, effective = table["r_hat"], table["ess_bulk"]
    rare = has_mixtures(tree) and bool((presence_of(tree) < _USUAL).any())
    of_what = ", clusters that under half of the draws have left out" if rare else " of each"
    said = []
    if max(node.sizes.get("chain", 1) for node in tree.children.values()) == 1:
        said.append("R-hat needs at least two chains, so nothing here says whether the sampler converged.")
    elif not r_hat.notna().any():
        said.append("Nothing that was drawn varies in a way that tells whether the sampler converged.")
    elif (free["r_hat"] > _R_HAT).any():
        said.append(
            f"The chains do not agree: R-hat of {free['r_hat'].idxmax()}, which labels cannot change, is "
            f"{free['r_hat'].max():.3f} (over {_R_HAT}): they sit in different modes or are too short; "
            "run longer, or compare the chains."
        )
    elif (r_hat > _R_HAT).any():
        said.append(
            f"The chains do not agree: "
            f"R-hat of {r_hat.idxmax()} is {r_hat.max():.3f} (over {_R_HAT}); run longer, or compare the chains."
        )
    elif (effective < _EFFECTIVE).any():
        said.append(
            f"The chains agree, but {effective.idxmin()} has only "
            f"{effective.min():.0f} effective draws (under {_EFFECTIVE}); run longer."
        )
    else:
        said.append(
            f"The chains agree: R-hat at most {r_hat.max():.3f}, at least {effective.min():.0f} effective draws{of_what}."
        )
    if "diverging" in stats and (n := int(stats["diverging"].sum())):
        said.append(f"{n} draws diverged: the posterior has places that the sampler could not enter.")
    if "agreement" in stats and (low := float(stats["agreement"].mean())) < 0.8:
        said.append(f"Draws agree with each other on only {low:.0%} of the memberships: the clusters are not well determined.")
    return said


def _diagnostics(variables: xr.Dataset | None) -> pd.DataFrame:
    """R-hat and effective draws of each."""
    if variables is None or not variables.data_vars:
        return pd.DataFrame({"r_hat": [], "ess_bulk": []}, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):  # of a chain whose every draw is as far from the median
        return az.summary(xr.DataTree.from_dict({"posterior": variables}), kind="diagnostics", round_to="none").astype(float)


def _listed(tree: xr.DataTree, share: float) -> xr.Dataset:
    """The variables of the table, of the clusters that so many draws have.

    The weight of a single component is one, and no diagnostic can say more of it.
    """
    posterior = posterior_of(tree)
    usual = np.flatnonzero(presence_of(tree) >= share)
    names = ["weights"] * (posterior.sizes["cluster"] > 1) + [name for name in ("means", "scales") if name in posterior]
    return posterior[names].isel(cluster=usual)


def _label_free(tree: xr.DataTree) -> xr.Dataset:
    """What has a meaning without labels: K, K+, the concentration, log posterior, and log densities at fixed points."""
    found: dict[str, xr.DataArray] = {}
    if "sample_stats" in tree.children:
        stats = tree["sample_stats"].to_dataset()
        found |= {name: stats[name] for name in _LABEL_FREE if name in stats}
    if "components" in tree.children:
        posterior = tree["posterior"].to_dataset()
        found |= {str(name): value for name, value in posterior.items() if "cluster" not in value.dims}
    return xr.Dataset({name: value for name, value in found.items() if bool((value != value[0, 0]).any())})


def _heading(tree: xr.DataTree) -> str:
    how, sizes = about(tree), tree["sample_stats"]["agreement"].sizes
    if "observed_data" in tree.children:
        rows = str(tree["observed_data"].sizes["observation"])
    else:
        rows = str(given.sizes["observation"]) if (given := held_assignments(tree)) is not None else "unknown"
    d = len(features_of(tree)) if has_mixtures(tree) else 0
    what = f"{rows} rows, {d} {'feature' if d == 1 else 'features'}" if d else f"assignments of {rows} rows"
    size = f"{sizes['chain']} x {sizes['draw']} draws"
    made = f"{how['engine']}, {size}\nmodel: {how['model']}" if "engine" in how else f"{size} made elsewhere"
    return f"{what}; {made}"


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
    """Which clusters not all draws have."""
    presence = presence_of(tree)
    if (presence == 1).all():
        return None
    listed = [f"{k} in {share:.0%}" for k, share in enumerate(presence) if share >= _RARE]
    rare = len(presence) - len(listed)
    return f"clusters, and the draws that have them: {', '.join(listed)}" + f"; {rare} more in under {_RARE:.0%}" * (rare > 0)


def _emptied_line(tree: xr.DataTree) -> str | None:
    n = int(tree["sample_stats"]["n_emptied"].max()) if "n_emptied" in tree["sample_stats"] else 0
    return (
        f"emptied: {n} component{'s' * (n > 1)}, with about the least weight that is sought, a hundredth of a row"
        if n
        else None
    )


def _pruned_line(tree: xr.DataTree) -> str | None:
    if (pruned := about(tree).get("pruned")) is None:
        return None
    if not (each := pruned["clusters"]):
        return "pruned: nothing"
    n, most = len(each), max(one["probability"] for one in each)
    return (
        f"pruned: {n} cluster{'s' * (n > 1)}, each occupied with probability {most:.2g} at most; "
        f"predictions change by no more than {pruned['removed_mass']:.2g}"
    )


def _modes_line(tree: xr.DataTree) -> str | None:
    if "sample_stats" not in tree.children or "mode_starts" not in tree["sample_stats"]:
        return None
    stats = tree["sample_stats"]
    starts = stats["mode_starts"].to_numpy()
    total = int(starts.sum())
    found = f"{len(starts)} mode{'s' * (len(starts) > 1)} found by {total} restart{'s' * (total > 1)}"
    if "mode_mass" in stats:
        shown = ", ".join(f"{m:.2g}" for m in stats["mode_mass"].to_numpy()[:4]) + (", ..." if len(starts) > 4 else "")
        used = ", ".join(str(m) for m in np.unique(stats["mode"].to_numpy()))
        return f"{found}, with Laplace mass {shown}; chains began in mode {used}"
    lower = stats["mode_log_posterior"].to_numpy()[0] - stats["mode_log_posterior"].to_numpy()
    others = [
        f"{gap:.1f} nats lower by {n}, {share:.0%} of the rows in other clusters"
        for gap, n, share in zip(lower[1:4], starts[1:4], stats["mode_moved"].to_numpy()[1:4], strict=True)
    ]
    return "; ".join([f"{found}: the best by {starts[0]}", *others, *["..."] * (len(starts) > 4)])


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
