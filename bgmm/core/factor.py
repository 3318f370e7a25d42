"""Square roots of covariances, Sigma = L L': dense, diagonal or spherical.

Each class is one structure of L, a pytree with the same methods, written for one component unless they say otherwise. They hold
all that depends on the structure: the sufficient statistics T(x), the natural parameters

    log w + log N(x | mu, L L') = <eta, T(x)>,    eta = (a, h, quadratic part of -Lambda / 2),
    Lambda = (L L')^-1,    h = Lambda mu,    a = log w - (D log 2 pi + log|L L'| + mu' h) / 2

(Wainwright and Jordan 2008, example 3.4), the marginal of the observed coordinates, and the coordinates in which a row of the
component has the identity as Fisher information. A structure that needs no D x D matrix never forms one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Array, Float

LOG_2PI = float(np.log(2 * np.pi))
AnyArray = Array | np.ndarray  # of draws on their way between JAX and a tree


class Factor(ABC):
    """What every structure offers; ``covariance`` arrays have the structure's own shape: (d, d), (d,) or ()."""

    @staticmethod
    @abstractmethod
    def statistics(x: Float[Array, "d b"]) -> Float[Array, "p b"]:
        """T(x) of each column: one, the coordinates, and the products that the structure needs."""

    @classmethod
    def inner(cls, eta: Float[Array, " p"], y: Float[Array, "d b"]) -> Float[Array, " b"]:
        """<eta, T(y)> of each column of y, the rows about the centre of one component."""
        return eta @ cls.statistics(y)

    @abstractmethod
    def natural(self, log_w: Float[Array, ""], mean: Float[Array, " d"]) -> Float[Array, " p"]:
        """eta."""

    @staticmethod
    @abstractmethod
    def marginal(eta: Float[Array, " p"], observed: Float[Array, " d"]) -> Float[Array, " p"]:
        """eta of the observed coordinates (one), the others (zero) integrated out, in a layout of unchanged size.

        With o the observed and m the missing coordinates it holds Lambda_o - Lambda_om Lambda_mm^-1 Lambda_mo,
        h_o - Lambda_om Lambda_mm^-1 h_m and a + (|m| log 2 pi - log|Lambda_mm| + h_m' Lambda_mm^-1 h_m) / 2. Entries of missing
        coordinates are zero, so rows may hold zeros there. By Fisher's identity the derivative of the marginal log likelihood
        with respect to ``eta`` is the conditional expectation of T(x) given the observed values.
        """

    @staticmethod
    @abstractmethod
    def conditional(eta: Float[Array, "k p"], observed: Float[Array, " d"]) -> Conditional:
        """The missing coordinates of each component given the observed ones."""

    @staticmethod
    @abstractmethod
    def moments(statistics: Float[Array, " p"]) -> tuple[Float[Array, ""], Float[Array, " d"], Float[Array, "*c"]]:
        """Count, mean and covariance about the mean of the rows whose summed statistics these are."""

    @classmethod
    @abstractmethod
    def of_covariance(cls, covariance: Float[AnyArray, "*c"]) -> Factor:
        """L of a covariance in this structure's shape."""

    @abstractmethod
    def covariance(self) -> Float[Array, "*c"]:
        """L L' in this structure's shape."""

    @abstractmethod
    def variances(self, d: int) -> Float[AnyArray, "*s d"]:
        """The diagonal of L L'; leading axes are allowed."""

    @abstractmethod
    def dense(self, d: int) -> Float[AnyArray, "*s d d"]:
        """L as a lower triangular matrix; leading axes are allowed."""

    @classmethod
    @abstractmethod
    def of(cls, other: Factor, d: int) -> Factor:
        """The nearest factor of this structure, with the variances of ``other``; leading axes are allowed."""

    @abstractmethod
    def whiten(self, y: Float[Array, " d"]) -> Float[Array, " d"]:
        """L^-1 y."""

    @abstractmethod
    def colour(self, y: Float[Array, " d"]) -> Float[Array, " d"]:
        """L y."""

    @abstractmethod
    def log_det(self, d: int) -> Float[Array, ""]:
        """log|L|."""

    @abstractmethod
    def plus_diagonal(self, variances: Float[Array, " d"]) -> Factor:
        """The factor of L L' + diag(variances)."""

    @staticmethod
    @abstractmethod
    def least_rows(d: int) -> int:
        """Rows that a covariance of this structure takes to be determined."""

    @abstractmethod
    def rescale(self, scale: Float[AnyArray, " d"]) -> Factor:
        """The factor of x / scale; leading axes are allowed."""

    @abstractmethod
    def relative(self, origin: Factor, d: int) -> Float[Array, " r"]:
        """Coordinates of L about the factor ``origin``: zero there, with the identity as Fisher information of one row."""

    @abstractmethod
    def displaced(self, u: Float[Array, " r"], d: int) -> Factor:
        """The factor whose coordinates about this one are u, up to terms that vanish with u: inverse of ``relative``."""

    @staticmethod
    @abstractmethod
    def n_relative(d: int) -> int:
        """How many such coordinates there are."""

    @classmethod
    @abstractmethod
    def at_least(cls, covariance: Float[Array, "*c"], r: Float[Array, " d"]) -> Factor:
        """argmin over Sigma >= diag(r^2) of log|Sigma| + tr(Sigma^-1 covariance): the likeliest covariance above a floor."""

    @abstractmethod
    def is_exceeded(self, covariance: Float[Array, "*c"], times: float) -> Array:
        """Whether ``covariance`` - times L L' is positive definite."""

    @abstractmethod
    def narrowest(self) -> np.ndarray:
        """The least standard deviation in any direction; leading axes are allowed, and NumPy computes it."""

    @abstractmethod
    def posterior_scale(self, n: Float[Array, ""], prior_precision: Float[Array, " d"]) -> Float[Array, "*d"]:
        """A with A A' = (n (L L')^-1 + diag(prior_precision))^-1: a matrix, or a vector where A is diagonal."""

    @classmethod
    @abstractmethod
    def log_evidence(
        cls, n: Float[Array, ""], covariance: Float[Array, "*c"], prior: Float[Array, "*c"], d: int
    ) -> Float[Array, ""]:
        """Log density of n rows with this covariance about a known mean, Sigma integrated out.

        Its law is inverse Wishart, or inverse gamma for each variance. ``prior`` is the covariance that this law is centred
        about, with ``least_rows`` degrees of freedom.
        """


class Conditional(ABC):
    """Normal laws of missing coordinates given observed ones, one for each component: a pytree."""

    @abstractmethod
    def fill(self, x: Float[Array, "d b"], assigned: Float[Array, "k b"], noise: Float[Array, "d b"]) -> Float[Array, "d b"]:
        """Columns with their missing coordinates drawn from the component that each is assigned to (one-hot)."""
