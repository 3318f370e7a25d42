"""Who is asked the boundary cases: bgmm, scikit-learn, and gmmx where it is installed; each gives a ``Found``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from benchmarks.boundary_judge import Found


class Asked(NamedTuple):
    """A fit: data, number of components, rows to predict (None: the data), and options of ``bgmm.fit``."""

    x: Any
    k: int
    new: Any
    options: dict[str, Any]


class Contender(NamedTuple):
    """A library: how it fits, the libraries whose refusals are its own, and whether these are to be one line."""

    name: str
    run: Callable[[Asked], Found]
    packages: tuple[str, ...]
    one_line: bool = False


def by_bgmm(asked: Asked) -> Found:
    """EM at its defaults unless the options name another engine."""
    import bgmm

    options = dict(asked.options)
    model = options.pop("model", None)
    if model is None:
        model = bgmm.models.finite(asked.k)
    elif isinstance(model, str):
        model = getattr(bgmm.models, model)()
    tree = bgmm.relabel(bgmm.fit(model, asked.x, options.pop("engine", "em"), **options))
    posterior = tree["posterior"].mean(["chain", "draw"])
    new = () if asked.new is None else (asked.new,)
    weights = posterior["weights"].to_numpy()
    return Found(
        weights / weights.sum(),  # means over draws of which some lack a cluster
        posterior["means"].to_numpy(),
        posterior["scales"].to_numpy(),
        bgmm.membership(tree, *new).to_numpy(),
        bgmm.log_density(tree, *new).to_numpy(),
    )


def by_sklearn(asked: Asked) -> Found:
    """GaussianMixture with three initialisations."""
    from sklearn.mixture import GaussianMixture

    fitted = GaussianMixture(asked.k, n_init=3, random_state=0).fit(asked.x)
    return _like_sklearn(fitted, fitted.score_samples, asked)


def by_gmmx(asked: Asked) -> Found:
    """Its estimator like scikit-learn's, in float32, the precision that it has."""
    from gmmx import GaussianMixtureSKLearn

    fitted = GaussianMixtureSKLearn(n_components=asked.k, random_state=0)
    fitted.fit(asked.x)
    return _like_sklearn(fitted, fitted._gmm.score_samples, asked)


def _like_sklearn(fitted, score: Callable, asked: Asked) -> Found:
    rows = asked.x if asked.new is None else asked.new
    weights, means, covariances = (np.asarray(a, float) for a in (fitted.weights_, fitted.means_, fitted.covariances_))
    k, d = means.reshape(-1, means.shape[-1]).shape
    with np.errstate(invalid="ignore"):
        scales = np.sqrt(np.diagonal(covariances.reshape(k, d, d), axis1=1, axis2=2))
    membership = np.asarray(fitted.predict_proba(rows), float)
    log_density = np.asarray(score(rows), float)
    return Found(weights.reshape(-1), means.reshape(k, d), scales, membership.reshape(-1, k), log_density.reshape(-1))


US = Contender("bgmm", by_bgmm, ("bgmm",), one_line=True)
PEERS = (Contender("scikit-learn", by_sklearn, ("sklearn",)), Contender("gmmx", by_gmmx, ("gmmx", "sklearn")))


def installed(contender: Contender) -> bool:
    """Whether the library can be imported."""
    return find_spec(contender.packages[0]) is not None
