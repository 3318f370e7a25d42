"""scikit-learn's four types of covariances, as values with the same methods; nobody asks which one it has.

Inside, arrays of covariances have a first axis of length K, or one where the covariance is tied; scikit-learn's attributes lack
that axis where it is tied. ``precisions_cholesky`` is scikit-learn's U, upper triangular, with precision U U'.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from bgmm.core.dense import Dense
from bgmm.core.factor import Factor
from bgmm.core.uncorrelated import Diagonal, Spherical


@dataclass(frozen=True)
class CovarianceType(ABC):
    """A structure of covariances under scikit-learn's name."""

    name: str
    factor: type[Factor]
    tied: bool = False

    def stacked(self, a: Float[np.ndarray, "..."]) -> Float[np.ndarray, "l ..."]:
        """An array as scikit-learn has it, with the first axis."""
        return a[None] if self.tied else a

    def shown(self, a: Float[np.ndarray, "l ..."]) -> Float[np.ndarray, "..."]:
        """An array as scikit-learn has it."""
        return a[0] if self.tied else a

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """Of the covariances as scikit-learn has them."""
        return self.one(d) if self.tied else (k, *self.one(d))

    @abstractmethod
    def one(self, d: int) -> tuple[int, ...]:
        """The shape of one covariance."""

    @abstractmethod
    def n_parameters(self, d: int) -> int:
        """Free parameters of one covariance."""

    @abstractmethod
    def of_rows(self, x: Float[np.ndarray, "n d"], c: Float[np.ndarray, " n"]) -> Float[np.ndarray, "*c"]:
        """sum_n c_n x_n x_n' in this shape."""

    @abstractmethod
    def precisions_cholesky(self, covariances: Float[np.ndarray, "l *c"]) -> Float[np.ndarray, "l *c"]:
        """U; a LinAlgError where a covariance is singular."""

    @abstractmethod
    def root_of(self, precisions: Float[np.ndarray, "l *c"]) -> Float[np.ndarray, "l *c"]:
        """U of precisions."""

    @abstractmethod
    def precisions(self, roots: Float[np.ndarray, "l *c"]) -> Float[np.ndarray, "l *c"]:
        """U U'."""

    @abstractmethod
    def covariances(self, roots: Float[np.ndarray, "l *c"]) -> Float[np.ndarray, "l *c"]:
        """(U U')^-1."""

    @abstractmethod
    def fault(self, precisions: Float[np.ndarray, "..."]) -> str | None:
        """What precisions should be and are not."""

    @abstractmethod
    def draw(self, rng: np.random.RandomState, mean, covariance, n: int) -> Float[np.ndarray, "n d"]:
        """Rows of one component, by the same random numbers as scikit-learn's."""

    @abstractmethod
    def diagonal(self, variance: float, d: int) -> Float[np.ndarray, "*c"]:
        """``variance`` times the identity."""


class _Dense(CovarianceType):
    def one(self, d):
        return (d, d)

    def n_parameters(self, d):
        return d * (d + 1) // 2

    def of_rows(self, x, c):
        return (c * x.T) @ x

    def precisions_cholesky(self, covariances):
        L = np.linalg.cholesky(covariances)
        return np.swapaxes(np.linalg.solve(L, np.broadcast_to(np.eye(L.shape[-1]), L.shape)), -1, -2)

    def root_of(self, precisions):
        return np.linalg.cholesky(precisions[:, ::-1, ::-1])[:, ::-1, ::-1]  # upper triangular

    def precisions(self, roots):
        return roots @ np.swapaxes(roots, -1, -2)

    def covariances(self, roots):
        inverse = np.linalg.inv(roots)
        return np.swapaxes(inverse, -1, -2) @ inverse

    def fault(self, precisions):
        symmetric = np.allclose(precisions, np.swapaxes(precisions, -1, -2), atol=0)
        positive = symmetric and (np.linalg.eigvalsh(precisions) > 0).all()
        return None if positive else "symmetric, positive-definite"

    def draw(self, rng, mean, covariance, n):
        return rng.multivariate_normal(mean, covariance, n)

    def diagonal(self, variance, d):
        return variance * np.eye(d)


class _Uncorrelated(CovarianceType):
    def precisions_cholesky(self, covariances):
        if (covariances <= 0).any():
            raise np.linalg.LinAlgError("a variance is not positive")
        return 1 / np.sqrt(covariances)

    def root_of(self, precisions):
        return np.sqrt(precisions)

    def precisions(self, roots):
        return np.square(roots)

    def covariances(self, roots):
        return 1 / np.square(roots)

    def fault(self, precisions):
        return None if (precisions > 0).all() else "positive"

    def draw(self, rng, mean, covariance, n):
        return mean + rng.standard_normal(size=(n, len(mean))) * np.sqrt(covariance)


class _Diagonal(_Uncorrelated):
    def one(self, d):
        return (d,)

    def n_parameters(self, d):
        return d

    def of_rows(self, x, c):
        return c @ np.square(x)

    def diagonal(self, variance, d):
        return np.full(d, variance)


class _Spherical(_Uncorrelated):
    def one(self, d):
        return ()

    def n_parameters(self, d):
        return 1

    def of_rows(self, x, c):
        return (c @ np.square(x)).mean()

    def diagonal(self, variance, d):
        return np.asarray(variance)


COVARIANCE_TYPES: dict[str, CovarianceType] = {
    one.name: one
    for one in (
        _Dense("full", Dense),
        _Dense("tied", Dense, tied=True),
        _Diagonal("diag", Diagonal),
        _Spherical("spherical", Spherical),
    )
}
