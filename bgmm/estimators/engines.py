"""The maximum-likelihood estimator by bgmm's own EM."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from sklearn.utils import check_random_state

from bgmm import models
from bgmm.core.caller import warn
from bgmm.data.table import Table, as_table
from bgmm.engines.em import EM
from bgmm.fitting import fit
from bgmm.tree.read import posterior_of

_FAMILIES: dict[str, models.Family] = {
    "full": models.Gaussian(),
    "tied": models.Gaussian(tied=True),
    "diag": models.Diagonal(),
}
_KEPT = {"n_components", "covariance_type", "random_state", "verbose", "verbose_interval", "engine"}


class Found(NamedTuple):
    """The one mixture of a fit, in the units of X; covariances have a first axis of length one where tied."""

    tree: xr.DataTree
    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, "k d"]
    covariances: Float[np.ndarray, "l *c"]
    converged: bool
    n_steps: int


def by_engine(estimator: Any, x: Table, c: Float[np.ndarray, " n"] | None) -> Found:
    """``models.finite`` by the estimator's ``engine``."""
    engine, covariance_type = estimator.engine, estimator.covariance_type
    if engine != "em" and not isinstance(engine, EM):
        raise ValueError(
            f"engine must be None, 'em' or bgmm.EM(...), which give one mixture, not {engine!r}; for draws from the "
            "posterior use bgmm.estimators.Clusters or bgmm.fit"
        )
    defaults = type(estimator)().get_params()
    unused = [name for name, value in estimator.get_params().items() if name not in _KEPT and value is not defaults[name]]
    unused = [name for name in unused if not np.array_equal(getattr(estimator, name), defaults[name])]
    if unused:
        raise ValueError(f"engine={engine!r} does not use {', '.join(unused)}; leave that out, or leave out engine")
    if covariance_type not in _FAMILIES:
        raise ValueError(
            f"engine={engine!r} fits standardised rows, in which no component is {covariance_type} in the units of X; "
            "use covariance_type='diag', or leave out engine"
        )
    model = models.finite(estimator.n_components, components=_FAMILIES[covariance_type])
    tree = fit(model, x, engine, seed=seed_of(estimator.random_state), weights=c, progress=bool(estimator.verbose) or None)
    of_draw, stats = posterior_of(tree).isel(chain=0, draw=0), tree["sample_stats"].to_dataset().isel(chain=0, draw=0)
    covariances = of_draw["covariances"].to_numpy() if "covariances" in of_draw else np.square(of_draw["scales"].to_numpy())
    return Found(
        tree,
        of_draw["weights"].to_numpy(),
        of_draw["means"].to_numpy(),
        covariances[None] if covariance_type == "tied" else covariances,
        bool(stats["converged"]),
        int(stats["n_passes"]),
    )


def named_rows(estimator: Any, x: Float[np.ndarray, "n d"], labels: np.ndarray | None) -> Table:
    """The rows as ``bgmm.fit`` takes them, under the names that scikit-learn found, and the labels of the user's rows."""
    names = getattr(estimator, "feature_names_in_", None)
    table = as_table(x if names is None else pd.DataFrame(x, columns=names), names, copy=False)
    for note in table.notes:
        warn(note)
    return table._replace(labels=labels)


def seed_of(random_state) -> int:
    """A seed of bgmm from a ``random_state``."""
    return int(check_random_state(random_state).randint(2**31 - 1))
