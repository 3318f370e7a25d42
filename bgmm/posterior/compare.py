"""A table that compares fits of one data set: other numbers of components, families, priors or engines."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from bgmm.core.options import named_options
from bgmm.posterior.criteria import LEAST_LOO_DRAWS
from bgmm.tree.read import about, check_fits, check_same_features, n_draws, observation_weights

_BEST_FIRST = (("bic", True), ("elpd_loo", False), ("log_evidence", False))  # and whether smaller is better
_COLUMNS = (
    *("log_likelihood", "n_parameters", "aic", "bic", "icl"),
    *("elpd_loo", "se", "p_loo", "largest_pareto_k", "log_evidence"),
)


@named_options()
def compare(trees: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    """A table of fits of the same rows, the best first.

    A fit by EM has its log likelihood, ``n_parameters``, ``aic``, ``bic`` and ``icl`` (``posterior.criteria``), the smaller the
    better. A fit with draws has ``elpd_loo``, the expected log density of as many new rows by leave-one-out cross-validation,
    with its standard error ``se``, ``p_loo`` and the ``largest_pareto_k`` (``az.loo``; over 0.7 it is not to be trusted), and
    ``log_evidence`` where the engine estimates it; the larger the better. LOO needs the log likelihood of each row in the tree,
    and is left out where rows have weights, which it does not know.

    :param trees: fits of the same rows, by name: ``{"two": tree, "three": other}``.
    :returns: one row for each fit. The best comes first by the first of BIC, ``elpd_loo`` and ``log_evidence`` that all fits
        have; if there is none, fits stay in the order given.
    :raises ValueError: when the fits are not given by name, are of different rows, or one has nothing to compare.
    """
    _check(trees)
    table = pd.DataFrame({name: _row(name, tree) for name, tree in trees.items()}).T.astype(float)
    table = table.reindex(columns=[column for column in _COLUMNS if column in table])
    if "n_parameters" in table:
        table["n_parameters"] = table["n_parameters"].astype("Int64")
    for column, ascending in _BEST_FIRST:
        if column in table and table[column].notna().all():
            return table.sort_values(column, ascending=ascending, kind="stable")
    return table


def _row(name: str, tree: xr.DataTree) -> dict[str, float]:
    """What one fit has to show."""
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    row = {column: float(stats[column].squeeze()) for column in ("n_parameters", "aic", "bic", "icl") if column in stats}
    if row:
        row["log_likelihood"] = row["n_parameters"] - row["aic"] / 2
    if "log_evidence" in stats:
        row["log_evidence"] = float(stats["log_evidence"])
    if n_draws(tree) >= LEAST_LOO_DRAWS and "log_likelihood" in tree.children and observation_weights(tree) is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of large k, which the table shows
            loo = az.loo(tree, pointwise=True)
        row |= {"elpd_loo": loo.elpd, "se": loo.se, "p_loo": loo.p, "largest_pareto_k": float(loo.pareto_k.max())}
    if not row:
        raise ValueError(
            f"fit '{name}' has neither BIC nor log evidence, and for LOO it lacks the log likelihood of unweighted rows "
            f"or {LEAST_LOO_DRAWS} draws; fit it with log_likelihood=True and that many draws"
        )
    return row


def _check(trees: Mapping[str, xr.DataTree]) -> None:
    """Require fits of the same rows, by name."""
    check_fits(trees, 1, "compare needs fits by name, such as bgmm.compare({'two': tree, 'three': other})")
    (first, one), *others = trees.items()
    check_same_features(trees, first)
    for name, tree in others:
        if not _same_rows(tree, one):
            raise ValueError(f"fits '{first}' and '{name}' are of different rows or weights; compare fits of the same data")


def _same_rows(tree: xr.DataTree, other: xr.DataTree) -> bool:
    """Whether two fits of the same features are of the same rows with the same weights."""
    mine, theirs = _rows_of(tree), _rows_of(other)
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name], equal_nan=True) for name in mine)


def _rows_of(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """The values and weights of the rows, or how many there were in the stream."""
    found: dict[str, np.ndarray] = {}
    if "observed_data" in tree.children:
        found |= {str(name): values.to_numpy() for name, values in tree["observed_data"].data_vars.items()}
    if (weights := observation_weights(tree)) is not None:
        found["observation weights"] = weights
    return found | ({"number of rows": np.array(about(tree)["n_rows"])} if "n_rows" in about(tree) else {})
