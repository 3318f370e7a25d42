"""Clusters: an unknown number of clusters, with scikit-learn's interface."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClusterMixin, DensityMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from bgmm import models
from bgmm.data.source import filled
from bgmm.data.table import row_labels
from bgmm.estimators.engines import named_rows, seed_of
from bgmm.fitting import fit
from bgmm.posterior.occupied import n_occupied
from bgmm.posterior.predict import log_density, membership
from bgmm.posterior.prune import prune
from bgmm.posterior.relabel import relabel


class Clusters(ClusterMixin, DensityMixin, BaseEstimator):
    """Clusters whose number is unknown: draws from the posterior of ``models.random_k()``.

    The clusters are those of the relabelled draws that hold a row with a probability of one half at least, the largest first; a
    row's label is the cluster of its largest membership probability, so that ``predict(X)`` of the fitted rows is ``labels_``.
    NaN in X is a missing value and is marginalised. ``bgmm.partition(estimator.tree_)`` instead chooses the labels of
    all fitted rows together, and ``bgmm.summary(estimator.tree_)`` says how far the draws can be trusted.

    :param model: a model of ``bgmm.models`` or a NumPyro program; by default ``models.random_k()``.
    :param engine: as in ``bgmm.fit``: a name, or settings such as ``bgmm.Gibbs(n_draws=500)``.
    :param random_state: a seed or a RandomState.
    :param verbose: whether the progress is shown.

    After ``fit``, ``labels_`` (n,) are the labels of the rows, ``n_clusters_`` is the number of clusters, ``n_clusters_proba_``
    (m,) the posterior probability of 1, 2, ..., m clusters, each draw counting the components that hold a row, and ``tree_``
    the relabelled ArviZ tree.
    """

    def __init__(self, *, model=None, engine=None, random_state=None, verbose=False):
        self.model = model
        self.engine = engine
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Draw from the posterior.

        :param X: rows (n, d), an array or a data frame.
        :param y: ignored.
        :returns: the estimator.
        :raises ValueError: one sentence that says what is wrong with the rows, the model or the engine.
        """
        x = self._rows(X, ensure_min_samples=2)
        model = models.random_k() if self.model is None else self.model
        rows = named_rows(self, x, row_labels(X))
        tree = fit(model, rows, self.engine, seed=seed_of(self.random_state), progress=True if self.verbose else None)
        self.tree_ = relabel(tree)
        self._pruned = prune(self.tree_)
        self.n_clusters_ = self._pruned["posterior"].sizes["cluster"]
        self.n_clusters_proba_ = n_occupied(self.tree_).to_numpy()
        self.labels_ = membership(self._pruned, x).to_numpy().argmax(1)
        return self

    def fit_predict(self, X, y=None) -> Int[np.ndarray, " n"]:
        """Fit, and the cluster of each row."""
        return self.fit(X).labels_

    def predict(self, X) -> Int[np.ndarray, " n"]:
        """The most probable cluster of each row."""
        return self.predict_proba(X).argmax(1)

    def predict_proba(self, X) -> Float[np.ndarray, "n k"]:
        """The probability of each cluster for each row, averaged over the draws."""
        check_is_fitted(self)
        return membership(self._pruned, self._rows(X, reset=False)).to_numpy()

    def score_samples(self, X) -> Float[np.ndarray, " n"]:
        """The log posterior predictive density of each row, of its observed part where values are missing."""
        check_is_fitted(self)
        return log_density(self.tree_, self._rows(X, reset=False)).to_numpy()

    def score(self, X, y=None) -> float:
        """The mean log posterior predictive density of the rows."""
        return float(self.score_samples(X).mean())

    def _rows(self, X, **options) -> Float[np.ndarray, "n d"]:
        return validate_data(self, filled(X), dtype=np.float64, ensure_all_finite="allow-nan", **options)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
