"""A fitted tree as text: what was fitted, how many components are occupied, the clusters, and whether to believe it."""

from __future__ import annotations

import arviz as az
import numpy as np
import xarray as xr

from bgmm.posterior.occupied import n_occupied
from bgmm.posterior.relabel import relabelled
from bgmm.tree import about, features_of, posterior_of

_R_HAT = 1.01
_EFFECTIVE = 400


def summary_text(tree: xr.DataTree) -> str:
    """The summary that the command line prints."""
    tree = relabelled(tree)
    posterior = posterior_of(tree)
    single = posterior.sizes["chain"] * posterior.sizes["draw"] == 1
    table = az.summary(tree, var_names=_shown(posterior), kind="stats" if single else "all")
    if single:
        table = table[["mean"]].rename(columns={"mean": "estimate"}).astype(float).map("{:.4g}".format)
    parts = [_heading(tree, posterior), _occupied_line(tree), _modes_line(tree), "", table.to_string(), ""]
    parts += [_resolution_line(tree), *([_converged_line(tree)] if single else verdicts(tree))]
    return "\n".join(part for part in parts if part is not None)


def verdicts(tree: xr.DataTree) -> list[str]:
    """One sentence on the chains' agreement, one on divergences if there were any."""
    posterior = posterior_of(tree)
    table = az.summary(tree, var_names=_shown(posterior), kind="diagnostics", round_to="none")
    r_hat, effective = table["r_hat"].astype(float), table["ess_bulk"].astype(float)
    said = []
    if posterior.sizes["chain"] == 1:
        said.append("R-hat needs at least two chains, so nothing here says whether the sampler converged.")
    elif (r_hat > _R_HAT).any():
        said.append(
            f"The chains do not agree: "
            f"R-hat of {r_hat.idxmax()} is {r_hat.max():.2f} (over {_R_HAT}); run longer, or compare the chains."
        )
    elif (effective < _EFFECTIVE).any():
        said.append(
            f"The chains agree, but {effective.idxmin()} has only "
            f"{effective.min():.0f} effective draws (under {_EFFECTIVE}); run longer."
        )
    else:
        said.append(
            f"The chains agree: R-hat at most {r_hat.max():.3f}, at least {effective.min():.0f} effective draws of each."
        )
    stats = tree["sample_stats"] if "sample_stats" in tree.children else xr.Dataset()
    if "diverging" in stats and (n := int(stats["diverging"].sum())):
        said.append(f"{n} draws diverged: the posterior has places that the sampler could not enter.")
    if "agreement" in stats and (low := float(stats["agreement"].mean())) < 0.8:
        said.append(f"Draws agree with each other on only {low:.0%} of the memberships: the clusters are not well determined.")
    return said


def _shown(posterior: xr.Dataset) -> list[str]:
    """Variables of the table; the weight of a single component is one, and no diagnostic can say more of it."""
    return ["means", "scales"] if posterior.sizes["cluster"] == 1 else ["weights", "means", "scales"]


def _heading(tree: xr.DataTree, posterior: xr.Dataset) -> str:
    how = about(tree)
    rows = tree["observed_data"].sizes["observation"] if "observed_data" in tree.children else "unknown"
    size = f"{posterior.sizes['chain']} x {posterior.sizes['draw']} draws"
    made = f"{how['engine']}, {size}\nmodel: {how['model']}" if how else f"{size} made elsewhere"
    return f"{rows} rows, {posterior.sizes['feature']} features; {made}"


def _occupied_line(tree: xr.DataTree) -> str:
    probability = n_occupied(tree)
    likely = probability.where(probability >= 0.005, drop=True)
    return "occupied components: " + ", ".join(
        f"{int(k)} with probability {float(p):.2f}" for k, p in zip(likely["n_occupied"], likely, strict=True)
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
