"""BayesianGaussianMixture: variational inference with scikit-learn's interface."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from sklearn.utils._param_validation import Interval, StrOptions

from bgmm.core.checks import FEW, check_total_weight
from bgmm.core.components import Mixture
from bgmm.estimators import ascent, checks
from bgmm.estimators.beginnings import completed
from bgmm.estimators.mixture import BaseMixture
from bgmm.estimators.variational import State, Variational

_mixture = jax.jit(Variational.mixture)


class BayesianGaussianMixture(BaseMixture):
    """A Gaussian mixture by variational inference under conjugate priors, with scikit-learn's options and results.

    fit is scikit-learn's coordinate ascent: from the same ``init_params`` and ``random_state`` it takes the same steps, up to
    rounding, and every option has the meaning that
    https://scikit-learn.org/stable/modules/generated/sklearn.mixture.BayesianGaussianMixture.html gives it. Besides, NaN in X
    is a missing value that is marginalised, and ``fit`` takes ``sample_weight``.

    This is the one estimator that fits no declared model of bgmm: its priors are conjugate, which those of ``bgmm.models`` are
    not. Mean-field inference finds one mode and says too little of the uncertainty in it. For the posterior itself, and for
    the probability of each number of clusters, use ``Clusters``, or ``bgmm.fit(models.dirichlet_process(), X)``.

    What differs: computations are in double precision, and attributes have the dtype of X; ``lower_bound_`` is, like
    scikit-learn's, without constants, and compares steps of one fit only; with missing values the default of
    ``covariance_prior`` joins the variances of the columns with correlations of mean-imputed rows.

    :param n_components: the largest number of components.
    :param covariance_type: "full", "tied", "diag" or "spherical".
    :param tol: change of the lower bound, of all rows, under which the steps end.
    :param reg_covar: added to the diagonals of the covariances of the rows, in the squared units of X.
    :param max_iter: steps from each beginning.
    :param n_init: beginnings, of which the best is kept.
    :param init_params: "kmeans", "k-means++", "random" or "random_from_data".
    :param weight_concentration_prior_type: "dirichlet_process" or "dirichlet_distribution".
    :param weight_concentration_prior: its concentration; by default 1 / ``n_components``.
    :param mean_precision_prior: rows that the prior mean is worth; by default 1.
    :param mean_prior: prior mean (d,); by default the mean of X.
    :param degrees_of_freedom_prior: of the Wishart; by default d.
    :param covariance_prior: in the shape of one covariance; by default the covariance of X.
    :param random_state: a seed or a RandomState, for the beginnings and for ``sample``.
    :param warm_start: whether fit continues where the last one ended.
    :param verbose: 1 prints every ``verbose_interval`` steps, 2 also times and changes.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = BaseMixture._parameter_constraints | {
        "weight_concentration_prior_type": [StrOptions({"dirichlet_process", "dirichlet_distribution"})],
        "weight_concentration_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "mean_precision_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "mean_prior": [None, "array-like"],
        "degrees_of_freedom_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "covariance_prior": [None, "array-like", Interval(Real, 0.0, None, closed="neither")],
    }
    _meaning = (*BaseMixture._meaning, "weight_concentration_prior_type")

    def __init__(
        self,
        *,
        n_components=1,
        covariance_type="full",
        tol=1e-3,
        reg_covar=1e-6,
        max_iter=100,
        n_init=1,
        init_params="kmeans",
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=None,
        mean_precision_prior=None,
        mean_prior=None,
        degrees_of_freedom_prior=None,
        covariance_prior=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def _algorithm(self, x, c):
        d = x.shape[1]
        if c is not None:
            check_total_weight("sample_weight", c)
        alpha, beta, nu = self.weight_concentration_prior, self.mean_precision_prior, self.degrees_of_freedom_prior
        self.weight_concentration_prior_ = 1.0 / self.n_components if alpha is None else alpha
        self.mean_precision_prior_ = 1.0 if beta is None else beta
        if nu is not None and nu <= d - 1:
            raise ValueError(f"The parameter 'degrees_of_freedom_prior' should be greater than {d - 1}, but got {nu:.3f}.")
        self.degrees_of_freedom_prior_ = d if nu is None else nu
        if self.mean_prior is None:
            self.mean_prior_ = np.average(completed(x, c), axis=0, weights=c)
        else:
            self.mean_prior_ = checks.of_shape(self.mean_prior, (d,), "means")
        self.covariance_prior_ = self._covariance_prior(x, c)
        return self._settings()

    def _covariance_prior(self, x: Float[np.ndarray, "n d"], c: Float[np.ndarray, " n"] | None) -> Any:
        """That of the option, or the covariance of the rows."""
        structure, d = self._structure, x.shape[1]
        if self.covariance_prior is not None:
            if not structure.one(d):
                return self.covariance_prior
            name = f"{structure.name} covariance_prior"
            prior = checks.of_shape(self.covariance_prior, structure.one(d), name)
            if (fault := structure.fault(prior[None])) is not None:
                raise ValueError(f"'{structure.name} precision' should be {fault}")
            return prior
        c = np.ones(len(x)) if c is None else c
        if c.sum() < FEW:
            raise ValueError(
                f"sample_weight count rows, and these sum to {c.sum():.3g}, too few for the default of covariance_prior; scale "
                "them to sum to the number of rows, or give covariance_prior"
            )
        full = completed(x, c)
        away = (full - np.average(full, axis=0, weights=c)) * np.sqrt(c.sum() / (c @ ~np.isnan(x)))
        return structure.of_rows(away, c) / (c.sum() - 1)

    def _settings(self) -> Variational:
        """The priors that the attributes hold."""
        structure, d = self._structure, len(self.mean_prior_)
        return Variational(
            regularisation=jnp.asarray(structure.diagonal(self.reg_covar, d), float),
            concentration=jnp.asarray(self.weight_concentration_prior_, float),
            mean_precision=jnp.asarray(self.mean_precision_prior_, float),
            mean=jnp.asarray(self.mean_prior_, float),
            degrees_of_freedom=jnp.asarray(self.degrees_of_freedom_prior_, float),
            covariance=jnp.asarray(self.covariance_prior_, float),
            factor=structure.factor,
            tied=structure.tied,
            sticks=self.weight_concentration_prior_type == "dirichlet_process",
        )

    def _begin(self, algorithm, x, c, rng):
        m = self._first_moments(x, c, rng)
        return ascent.update(algorithm, ascent.Moments(*(jnp.asarray(one) for one in m)))

    def _state(self):
        structure, concentration = self._structure, self.weight_concentration_
        if not isinstance(concentration, tuple):
            concentration = (concentration, np.zeros(len(concentration)))
        nu = np.atleast_1d(self.degrees_of_freedom_)
        values = (*concentration, self.mean_precision_, self.means_, nu, structure.stacked(self.covariances_))
        return State(*(jnp.asarray(one, float) for one in values))

    def _hold(self, state, dtype):
        structure, a, b = self._structure, state.concentration, state.second
        roots = structure.precisions_cholesky(state.covariances)
        if self.weight_concentration_prior_type == "dirichlet_process":
            self.weight_concentration_ = (a.astype(dtype), b.astype(dtype))
            weights = a / (a + b) * np.concatenate([np.ones(1), np.cumprod(b / (a + b))[:-1]])
        else:
            self.weight_concentration_ = a.astype(dtype)
            weights = a
        self.weights_, self.means_ = (weights / weights.sum()).astype(dtype), state.means.astype(dtype)
        self.mean_precision_ = state.mean_precision.astype(dtype)
        self.degrees_of_freedom_ = structure.shown(state.degrees_of_freedom.astype(dtype))
        self.covariances_ = structure.shown(state.covariances).astype(dtype)
        self.precisions_cholesky_ = structure.shown(roots).astype(dtype)
        self.precisions_ = structure.shown(structure.precisions(roots)).astype(dtype)

    def _mixture(self) -> Mixture:
        return _mixture(self._settings(), self._state())
