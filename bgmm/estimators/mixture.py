"""What the two mixtures of scikit-learn share: how fit goes, and what a fitted mixture answers."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral, Real
from time import perf_counter
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from bgmm.core.caller import warn
from bgmm.core.components import Mixture
from bgmm.core.in_memory import in_memory
from bgmm.core.precision import in_float64
from bgmm.core.rows import Rows
from bgmm.data.source import filled
from bgmm.data.table import row_labels
from bgmm.estimators import ascent, checks
from bgmm.estimators.beginnings import KINDS, completed, first_moments, first_responsibilities
from bgmm.estimators.covariance_types import COVARIANCE_TYPES, CovarianceType

_SINGULAR = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance caused by "
    "singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale the input data."
)
_NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or check for "
    "degenerate data."
)


class BaseMixture(DensityMixin, BaseEstimator):
    """A mixture with scikit-learn's options, fitted by coordinate ascent."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(KINDS))],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
    }

    _meaning: ClassVar[tuple[str, ...]] = ("covariance_type",)  # options that say what the attributes of a fit mean

    lower_bound_: float
    means_: Float[np.ndarray, "k d"]

    @abstractmethod
    def _algorithm(self, x: Float[np.ndarray, "n d"], c: Float[np.ndarray, " n"] | None) -> ascent.Algorithm:
        """The settings of the ascent, once the options are checked against the rows."""

    @abstractmethod
    def _begin(self, algorithm, x, c, rng: np.random.RandomState) -> Any:
        """A state to begin with."""

    @abstractmethod
    def _state(self) -> Any:
        """The state that the attributes hold."""

    @abstractmethod
    def _hold(self, state, dtype) -> None:
        """Attributes from a state; a LinAlgError where a covariance is singular."""

    @abstractmethod
    def _mixture(self) -> Mixture:
        """Under which rows are weighed, from the attributes."""

    def fit(self, X, y=None, sample_weight=None):
        """Estimate the parameters.

        :param X: rows (n, d), an array or a data frame; NaN is a missing value and is marginalised.
        :param y: ignored.
        :param sample_weight: weights of the rows (n,): a row of weight 2 counts as that row twice.
        :returns: the estimator.
        :raises ValueError: for fewer rows than components, singular covariances, and options that do not go with the rows.
        """
        self._fit(X, sample_weight)
        return self

    def fit_predict(self, X, y=None, sample_weight=None) -> Int[np.ndarray, " n"]:
        """Fit, and the most probable component of each row; arguments as in ``fit``."""
        return self._labels(self._fit(X, sample_weight))

    @in_float64
    def _fit(self, X, sample_weight) -> Float[np.ndarray, "n d"]:
        self._validate_params()
        given, X = X, self._rows(X, ensure_min_samples=2)
        x, c, labels = np.asarray(X, np.float64), None, row_labels(given)
        if sample_weight is not None:
            c = checks.row_weights(sample_weight, X)
            x, c, labels = x[c > 0], c[c > 0], None if labels is None else labels[c > 0]
        if len(x) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {len(x)}"
            )
        empty = np.flatnonzero(np.isnan(x).all(0))
        if empty.size:
            raise ValueError(f"column {empty[0] + 1} of X has no value; leave it out")
        self._ascend(x, c, X.dtype, labels)
        self._fitted_options = {name: getattr(self, name) for name in self._meaning}
        return x if sample_weight is None else np.asarray(X, np.float64)

    def _ascend(self, x: Float[np.ndarray, "n d"], c: Float[np.ndarray, " n"] | None, dtype: np.dtype, labels) -> None:
        """scikit-learn's fit: the best of the beginnings, each taken up to ``max_iter`` steps; labels are for a tree."""
        algorithm = self._algorithm(x, c)
        rows = in_memory(x, c)[0]
        first = not (self.warm_start and hasattr(self, "converged_"))
        if not first:
            self._check_fitted()
            if self.means_.shape != (self.n_components, x.shape[1]):
                raise ValueError(
                    f"warm_start continues {len(self.means_)} components of {self.means_.shape[1]} features; fit a clone"
                )
        rng = check_random_state(self.random_state)
        best, best_bound, best_bounds, best_converged = None, -np.inf, [], False
        for i in range(self.n_init if first else 1):
            if self.verbose:
                print(f"Initialization {i}")
            state = self._begin(algorithm, completed(x, c), c, rng) if first else self._state()
            state, bounds, converged = self._run(algorithm, state, rows, -np.inf if first else self.lower_bound_)
            if best is None or (bounds and (bounds[-1] > best_bound or best_bound == -np.inf)):
                best, best_bounds, best_converged = state, bounds, converged
                best_bound = bounds[-1] if bounds else -np.inf
        if not best_converged and self.max_iter > 0:
            warn(_NOT_CONVERGED, ConvergenceWarning)
        try:
            self._hold(jax.device_get(best), dtype)
        except np.linalg.LinAlgError:
            raise ValueError(_SINGULAR) from None
        self.converged_, self.n_iter_ = best_converged, len(best_bounds)
        self.lower_bound_, self.lower_bounds_ = best_bound, best_bounds

    def _run(self, algorithm, state, rows: Rows, bound: float) -> tuple[Any, list[float], bool]:
        """Steps from one beginning: the state, the bound of each step, and whether their change fell under ``tol``."""
        bounds: list[float] = []
        start = before = perf_counter()
        for n in range(1, self.max_iter + 1):
            state, found = ascent.step(algorithm, state, rows)
            previous, bound = bound, float(found)
            if not np.isfinite(bound):
                raise ValueError(_SINGULAR)
            bounds.append(bound)
            change = bound - previous
            if self.verbose and n % self.verbose_interval == 0:
                now = perf_counter()
                print(f"  Iteration {n}" + (f"\t time lapse {now - before:.5f}s\t ll change {change:.5f}" * (self.verbose > 1)))
                before = now
            if abs(change) < self.tol:
                break
        converged = bool(bounds) and abs(change) < self.tol
        if self.verbose and bounds:
            said = f"\t time lapse {perf_counter() - start:.5f}s\t lower bound {bound:.5f}." * (self.verbose > 1)
            print(f"Initialization {'converged' if converged else 'did not converge'}.{said}")
        return state, bounds, converged

    def _first_moments(self, x, c, rng) -> ascent.Moments:
        r = first_responsibilities(self.init_params, x, c, self.n_components, rng)
        return first_moments(x, c, r, self._structure, self.reg_covar)

    @property
    def _structure(self) -> CovarianceType:
        return COVARIANCE_TYPES[self.covariance_type]

    def _check_fitted(self) -> None:
        """Require attributes that mean what the options say; those set by hand are taken to."""
        check_is_fitted(self)
        for name, fitted in getattr(self, "_fitted_options", {}).items():
            if (now := getattr(self, name)) != fitted:
                raise ValueError(f"{name} was {fitted!r} in the fit and is {now!r} now; set it back, or fit a clone")

    def _rows(self, X, **options) -> np.ndarray:
        return validate_data(self, filled(X), dtype=[np.float64, np.float32], ensure_all_finite="allow-nan", **options)

    def _placed(self, X) -> tuple[Rows, Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Rows for a pass, the place of each among them, and how much further out it is."""
        x, times = ascent.within_reach(np.asarray(X, np.float64), self.means_)
        return *in_memory(x), times

    @in_float64
    def _labels(self, x: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        rows, position, _ = self._placed(x)
        return np.asarray(ascent.most_probable(self._mixture(), rows))[position]

    def predict(self, X) -> Int[np.ndarray, " n"]:
        """The most probable component of each row."""
        self._check_fitted()
        return self._labels(self._rows(X, reset=False))

    @in_float64
    def predict_proba(self, X) -> Float[np.ndarray, "n k"]:
        """The probability of each component for each row."""
        self._check_fitted()
        X = self._rows(X, reset=False)
        rows, position, _ = self._placed(X)
        return np.asarray(ascent.responsibilities(self._mixture(), rows))[position].astype(X.dtype)

    def score_samples(self, X) -> Float[np.ndarray, " n"]:
        """The log density of each row, of its observed part where values are missing."""
        self._check_fitted()
        X = self._rows(X, reset=False)
        return self._log_densities(X).astype(X.dtype)

    @in_float64
    def _log_densities(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        rows, position, times = self._placed(X)
        with np.errstate(over="ignore"):  # a log density under the least number is minus infinity
            return np.asarray(ascent.log_densities(self._mixture(), rows))[position] * np.square(times)

    def score(self, X, y=None, sample_weight=None) -> float:
        """The mean log density of the rows, each weighted by its ``sample_weight``."""
        of_rows = self.score_samples(X)
        c = checks.row_weights(sample_weight, of_rows)
        c /= c.max()  # whose sum is finite
        return float(np.average(of_rows[c > 0], weights=c[c > 0]))

    def sample(self, n_samples: int = 1) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """New rows, and the component of each; the components stand in order, as scikit-learn's do."""
        self._check_fitted()
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        rng = check_random_state(self.random_state)
        weights = np.asarray(self.weights_, np.float64)
        counts = rng.multinomial(n_samples, weights / weights.sum())
        structure = self._structure
        covariances = structure.stacked(self.covariances_)
        of_each = [
            structure.draw(rng, mean, covariances[0 if structure.tied else k], int(counts[k]))
            for k, mean in enumerate(self.means_)
        ]
        return np.vstack(of_each), np.repeat(np.arange(len(counts)), counts)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
