"""Estimators with scikit-learn's interface: ``GaussianMixture``, ``BayesianGaussianMixture`` and ``Clusters``.

Writing ``from bgmm.estimators import GaussianMixture`` in place of ``from sklearn.mixture import GaussianMixture`` is enough.
"""

from __future__ import annotations

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError("bgmm.estimators needs scikit-learn; install it with: pip install 'bgmm[sklearn]'") from None

from bgmm.estimators.bayesian import BayesianGaussianMixture
from bgmm.estimators.clusters import Clusters
from bgmm.estimators.maximum_likelihood import GaussianMixture

__all__ = ["BayesianGaussianMixture", "Clusters", "GaussianMixture"]
