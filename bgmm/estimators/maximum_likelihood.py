"""GaussianMixture: maximum likelihood with scikit-learn's interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bgmm.core.components import Mixture
from bgmm.core.factor import AnyArray, Factor
from bgmm.core.gaussians import Gaussians
from bgmm.estimators import ascent, checks
from bgmm.estimators.engines import by_engine, named_rows
from bgmm.estimators.mixture import BaseMixture


class State(NamedTuple):
    """Parameters of a mixture."""

    weights: Float[AnyArray, " k"]
    means: Float[AnyArray, "k d"]
    covariances: Float[AnyArray, "l *c"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MaximumLikelihood:
    """EM (Dempster, Laird and Rubin 1977); the bound is the mean log likelihood before the M-step."""

    regularisation: Float[Array, "*c"]
    factor: type[Factor] = field(metadata={"static": True})
    tied: bool = field(metadata={"static": True})

    def mixture(self, state: State) -> Mixture:
        """The mixture itself."""
        L = jax.vmap(self.factor.of_covariance)(state.covariances)
        return Mixture(jnp.log(state.weights), Gaussians(state.means, L, self.tied))

    def update(self, m: ascent.Moments) -> State:
        """The moments themselves."""
        return State(m.counts / m.counts.sum(), m.means, m.covariances)

    def bound(self, state: State, of: ascent.Pass) -> Float[Array, ""]:
        """Log likelihood of a row of weight one."""
        return of.log_likelihood / of.total_weight


def _in_rows(c: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Weights of which the least is one, unless they then sum to more than 1e20: maximum likelihood has no unit of weight."""
    return c / max(c.min(), (c / 1e20).sum())


class GaussianMixture(BaseMixture):
    """A Gaussian mixture by maximum likelihood, with scikit-learn's options and results.

    fit is scikit-learn's by default: from the same ``init_params`` and ``random_state`` it takes the same steps, up to
    rounding, and every option has the meaning that https://scikit-learn.org/stable/modules/generated/sklearn.mixture.GaussianMixture.html
    gives it. Besides, NaN in X is a missing value that is marginalised, and ``fit`` takes ``sample_weight``.

    What differs: computations are in double precision, and attributes have the dtype of X; a tied covariance that begins at
    seeds ("k-means++", "random_from_data") does not depend on the offset of the data; beginnings that need complete rows see
    column means in place of missing values; the array API is not supported.

    ``engine="em"``, or a value such as ``bgmm.EM(prior=False)``, fits ``models.finite`` by ``bgmm.fit`` instead: standardised
    rows, ten restarts with split-and-merge moves, a floor under the scales, convergence to the last digit. ``n_components``,
    ``covariance_type``, ``random_state`` and ``verbose`` keep their meaning then; another option that is not at its default
    raises an error, and ``tree_`` holds the fit. Spheres are spheres of the standardised rows there, so that
    ``covariance_type="spherical"`` is refused.

    :param n_components: K.
    :param covariance_type: "full", "tied", "diag" or "spherical".
    :param tol: change of the mean log likelihood of a row under which the steps end.
    :param reg_covar: added to the diagonals of the covariances, in the squared units of X.
    :param max_iter: steps from each beginning; none returns the beginning.
    :param n_init: beginnings, of which the best is kept.
    :param init_params: "kmeans", "k-means++", "random" or "random_from_data".
    :param weights_init: weights to begin with (k,).
    :param means_init: means to begin with (k, d).
    :param precisions_init: precisions to begin with, in the shape of ``precisions_``.
    :param random_state: a seed or a RandomState, for the beginnings and for ``sample``.
    :param warm_start: whether fit continues where the last one ended.
    :param verbose: 1 prints every ``verbose_interval`` steps, 2 also times and changes.
    :param engine: None for scikit-learn's EM, or an engine of bgmm that gives one mixture: "em" or ``bgmm.EM(...)``.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = BaseMixture._parameter_constraints | {
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "engine": "no_validation",
    }

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol=1e-3,
        reg_covar=1e-6,
        max_iter=100,
        n_init=1,
        init_params="kmeans",
        weights_init=None,
        means_init=None,
        precisions_init=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        engine=None,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.engine = engine

    def _algorithm(self, x, c):
        k, d, structure = self.n_components, x.shape[1], self._structure
        if self.weights_init is not None:
            checks.weights(self.weights_init, k)
        if self.means_init is not None:
            checks.of_shape(self.means_init, (k, d), "means")
        if self.precisions_init is not None:
            checks.precisions(self.precisions_init, structure, k, d)
        regularisation = jnp.asarray(structure.diagonal(self.reg_covar, d), float)
        return MaximumLikelihood(regularisation, structure.factor, structure.tied)

    def _ascend(self, x, c, dtype, labels):
        if self.engine is None:
            super()._ascend(x, None if c is None else _in_rows(c), dtype, labels)
            return
        found = by_engine(self, named_rows(self, x, labels), c)
        self._hold(State(found.weights, found.means, found.covariances), dtype)
        self.tree_, self.converged_, self.n_iter_ = found.tree, found.converged, found.n_steps
        self.lower_bound_ = float(np.average(self._log_densities(x), weights=c))
        self.lower_bounds_ = [self.lower_bound_]

    def _begin(self, algorithm, x, c, rng):
        brought = (self.weights_init, self.means_init, self.precisions_init)
        weights: AnyArray | None
        means: AnyArray | None
        covariances: AnyArray | None
        weights, means, covariances = (None if one is None else np.asarray(one, np.float64) for one in brought)
        structure = self._structure
        if covariances is not None:
            covariances = structure.covariances(structure.root_of(structure.stacked(covariances)))
        if any(one is None for one in brought):
            m = self._first_moments(x, c, rng)
            total = len(x) if c is None else c.sum()
            weights = m.counts / total if weights is None else weights
            means = m.means if means is None else means
            covariances = m.covariances if covariances is None else covariances
        return State(*(jnp.asarray(one) for one in (weights, means, covariances)))

    def _state(self):
        covariances = self._structure.stacked(self.covariances_)
        return State(*(jnp.asarray(one, float) for one in (self.weights_, self.means_, covariances)))

    def _hold(self, state, dtype):
        structure = self._structure
        roots = structure.precisions_cholesky(state.covariances)
        self.weights_, self.means_ = state.weights.astype(dtype), state.means.astype(dtype)
        self.covariances_ = structure.shown(state.covariances).astype(dtype)
        self.precisions_cholesky_ = structure.shown(roots).astype(dtype)
        self.precisions_ = structure.shown(structure.precisions(roots)).astype(dtype)

    def _mixture(self):
        structure = self._structure
        with np.errstate(divide="ignore"):
            log_w = np.log(np.asarray(self.weights_, np.float64))
        roots = structure.stacked(np.asarray(self.precisions_cholesky_, np.float64))
        covariances = structure.covariances(roots)
        return ascent.mixture_of(
            log_w, np.asarray(self.means_, np.float64), covariances, factor=structure.factor, tied=structure.tied
        )

    def _n_parameters(self) -> int:
        """Free parameters of the mixture."""
        k, d = self.means_.shape
        return (1 if self._structure.tied else k) * self._structure.n_parameters(d) + k * d + k - 1

    def bic(self, X) -> float:
        """Bayesian information criterion of the rows: the lower, the better."""
        return -2 * self.score(X) * len(X) + self._n_parameters() * float(np.log(len(X)))

    def aic(self, X) -> float:
        """Akaike's information criterion of the rows: the lower, the better."""
        return -2 * self.score(X) * len(X) + 2 * self._n_parameters()
