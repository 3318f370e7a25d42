"""Whether the draws of a tree can be trusted: R-hat and effective draws of chains, importance weights of independent draws.

R-hat is rank-normalised and effective draws are those of the bulk, with the thresholds of Vehtari, Gelman, Simpson, Carpenter
and Buerkner (2021). Quantities that do not depend on labels come first: the number of occupied components, the log posterior,
log densities at fixed points. Then come the clusters that at least half of the draws have.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bgmm.posterior.relabel import relabelled
from bgmm.tree.read import about, has_mixtures, is_independent, posterior_of, presence_of

_MAX_R_HAT = 1.01
_ENDLESS_R_HAT = 100.0  # what is larger says no more
_MIN_EFFECTIVE = 400
_MIN_DRAWS = 100  # of a chain, under which R-hat says little
_MIN_AGREEMENT = 0.8  # mean agreement of the draws with the mean memberships
_DIAGNOSED_SHARE = 0.5  # a cluster in a smaller share of the draws is not diagnosed
_LABEL_FREE = ("lp", "n_occupied", "log_density")  # statistics that do not depend on the order of the components
_FEW_ROWS = 64  # at which draws are aligned for the diagnosis alone


class Verdict(NamedTuple):
    """What the chains of a tree say of themselves."""

    failure: str | None  # one sentence: what is wrong, how bad it is, what to do
    sentences: list[str]  # all that there is to say, for a summary
    passed: bool  # whether nothing failed and no draw diverged


def verdicts(tree: xr.DataTree) -> list[str]:
    """Sentences on how far the draws can be trusted, and on low agreement between them.

    ``fit`` leaves the verdict on chains in the tree; it is computed anew for other trees, and where draws have been left out.
    """
    if is_independent(tree):
        sentences = _approximation_sentences(tree)
    elif (kept := about(tree).get("verdict")) is not None and kept["shape"] == list(_shape(tree)):
        sentences = list(kept["sentences"])
    else:
        sentences = chains_verdict(tree).sentences
    stats = _stats(tree)
    if "agreement" in stats and (low := float(stats["agreement"].mean())) < _MIN_AGREEMENT:
        sentences.append(f"The draws agree on only {low:.0%} of the memberships: the clusters are not well determined.")
    return sentences


def verdict_entry(tree: xr.DataTree, verdict: Verdict) -> dict:
    """What ``about`` of a tree remembers of its verdict: the numbers of chains and draws that it is of, and the sentences."""
    stopped = about(tree).get("stopped")
    sentences = verdict.sentences + ([] if stopped is None else [stopped])
    return {"shape": list(_shape(tree)), "passed": verdict.passed, "sentences": sentences}


def chains_verdict(tree: xr.DataTree) -> Verdict:
    """Whether the chains agree and are long enough, and how many draws diverged."""
    failure, sentence = _judged(tree)
    stats = _stats(tree)
    diverged = int(stats["diverging"].sum()) if "diverging" in stats else 0
    more = [f"{diverged} draw{'s' * (diverged > 1)} diverged: the sampler could not explore all of the posterior."] * (
        diverged > 0
    )
    return Verdict(
        sentence if failure else None, [f"{sentence[0].upper()}{sentence[1:]}.", *more], not failure and not diverged
    )


def _judged(tree: xr.DataTree) -> tuple[bool, str]:
    """Whether the chains fail, and the sentence on them."""
    n_chains, n_draws = _shape(tree)
    if n_chains == 1:
        return True, (
            "the chain is alone, and R-hat needs at least two chains, so the convergence of the sampler is not known; "
            "run four chains"
        )
    if n_draws < _MIN_DRAWS:
        return True, (
            f"{n_chains} chains of {n_draws} draws are too short to show whether they agree; "
            f"run longer, at least {_MIN_DRAWS} draws each"
        )
    label_free = _diagnostics(_label_free(tree))
    if (label_free["r_hat"] > _MAX_R_HAT).any():
        name = str(label_free["r_hat"].idxmax())
        worst, n_still = float(label_free["r_hat"].max()), int(label_free["n_still"][name])
        size = f"{worst:.3f} (over {_MAX_R_HAT})" if worst < _ENDLESS_R_HAT else f"over {_ENDLESS_R_HAT:.0f}"
        still = f", and {n_still} of the {n_chains} chains have one value of it throughout" if n_still else ""
        sentence = f"the chains do not agree: R-hat of {name}, which does not depend on labels, is {size}{still}"
        return True, sentence + _remedy(tree)
    if has_mixtures(tree):  # after the cheap check, because draws may have to be aligned first
        tree = relabelled(tree, max_rows=_FEW_ROWS)
        table = pd.concat([label_free, _diagnostics(cluster_variables(tree, _DIAGNOSED_SHARE))])
    else:
        table = label_free
    r_hat, effective = table["r_hat"], table["ess_bulk"]
    if not r_hat.notna().any():
        return True, "no variable varies between draws in a way that shows whether the sampler converged"
    if (r_hat > _MAX_R_HAT).any():
        return True, (
            f"the chains do not agree: R-hat of {r_hat.idxmax()} is {r_hat.max():.3f} (over {_MAX_R_HAT}); "
            "run longer, or compare the chains"
        )
    if (effective < _MIN_EFFECTIVE).any():
        return True, (
            f"the chains agree, but {effective.idxmin()} has only {effective.min():.0f} effective draws "
            f"(under {_MIN_EFFECTIVE}); run longer"
        )
    rare = has_mixtures(tree) and bool((presence_of(tree) < _DIAGNOSED_SHARE).any())
    return False, (
        f"the chains agree: R-hat is at most {r_hat.max():.3f}, and each variable has at least {effective.min():.0f} "
        f"effective draws{' (clusters in under half of the draws left out)' if rare else ''}"
    )


def _remedy(tree: xr.DataTree) -> str:
    """What to do about chains that are in different places."""
    stats = _stats(tree)
    modes = np.unique(stats["mode"].to_numpy()) if "mode" in stats else np.zeros(1)
    if len(modes) == 1:
        return ": they are in different modes or too short; run longer, or compare the chains"
    started = " and ".join([", ".join(str(m) for m in modes[:-1]), str(modes[-1])])
    return f": they started in modes {started}, and do not move between these; compare the chains, or run more of them"


def _approximation_sentences(tree: xr.DataTree) -> list[str]:
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


def cluster_variables(tree: xr.DataTree, share: float) -> xr.Dataset:
    """Weights, means and scales of the clusters that at least this share of the draws has.

    The weight of a single cluster is constant, so it is left out.
    """
    posterior = posterior_of(tree)
    usual = np.flatnonzero(presence_of(tree) >= share)
    names = ["weights"] * (posterior.sizes["cluster"] > 1) + [name for name in ("means", "scales") if name in posterior]
    group = posterior[names]
    return group.isel(cluster=usual) if "cluster" in group.dims else group


def _label_free(tree: xr.DataTree) -> xr.Dataset:
    """Variables that vary and do not depend on labels: K, K+, concentration, log posterior, log densities at fixed points."""
    stats = _stats(tree)
    variables = {name: stats[name] for name in _LABEL_FREE if name in stats}
    if "components" in tree.children:
        posterior = tree["posterior"].to_dataset()
        variables |= {str(name): value for name, value in posterior.items() if "cluster" not in value.dims}
    return xr.Dataset({name: value for name, value in variables.items() if bool((value != value[0, 0]).any())})


def _diagnostics(variables: xr.Dataset) -> pd.DataFrame:
    """R-hat and bulk effective sample size of each number, and how many chains have one value of it throughout."""
    import arviz as az  # here, because it imports Matplotlib: half a second that a fit of one draw does not need

    columns: dict[str, list[float]] = {"r_hat": [], "ess_bulk": [], "n_still": []}
    names = []
    with np.errstate(divide="ignore", invalid="ignore"):  # a chain whose draws are all equally far from the median
        for name, value in variables.items():
            names += _names(str(name), value)
            arrays = value.transpose("chain", "draw", ...).to_numpy().astype(float)
            flat = arrays.reshape(*arrays.shape[:2], -1)
            columns["n_still"] += (np.ptp(flat, axis=1) == 0).sum(axis=0).tolist()
            for column, function in (("r_hat", az.rhat), ("ess_bulk", az.ess)):
                columns[column] += [float(function(flat[:, :, i])) for i in range(flat.shape[2])]
    return pd.DataFrame(columns, index=names, dtype=float)


def _names(name: str, value: xr.DataArray) -> list[str]:
    """Each number of a variable, as ArviZ writes it: means[0, eruption]."""
    dims = [dim for dim in value.dims if dim not in ("chain", "draw")]
    places = [
        [str(value[dim].to_numpy()[i]) for dim, i in zip(dims, index, strict=True)]
        for index in np.ndindex(*(value.sizes[dim] for dim in dims))
    ]
    return [f"{name}[{', '.join(place)}]" if place else name for place in places]


def _stats(tree: xr.DataTree) -> xr.Dataset:
    return tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()


def _shape(tree: xr.DataTree) -> tuple[int, int]:
    """Numbers of chains and draws."""
    sizes = [node.sizes for node in tree.children.values() if {"chain", "draw"} <= set(node.sizes)]
    return sizes[0]["chain"], sizes[0]["draw"]
