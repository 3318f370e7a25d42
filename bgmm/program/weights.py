"""Distributions of the number of components and of their weights, and what priors of symmetric Dirichlet weights share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int, Num
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from bgmm.core import partitions
from bgmm.core.partitions import broken, log_left_of_sticks


class Count(Distribution):
    """A number among 1 .. M with given log probabilities (M,), which need not be normalised."""

    arg_constraints: dict = {}  # noqa: RUF012 (NumPyro's own declaration)

    def __init__(self, log_p: Float[Array, " k"], *, validate_args: bool | None = None):
        self.log_p = jax.nn.log_softmax(jnp.asarray(log_p))
        super().__init__(validate_args=validate_args)

    @property
    def support(self):
        """1 .. M."""
        return constraints.integer_interval(1, self.log_p.shape[0])

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Int[Array, "..."]:
        """Draws of the number."""
        return 1 + jax.random.categorical(key, self.log_p, shape=sample_shape)

    @validate_sample
    def log_prob(self, value: Int[Array, "..."]) -> Float[Array, "..."]:
        """Log probability of each number."""
        return self.log_p[jnp.asarray(value) - 1]


class PaddedDirichlet(Distribution):
    r"""Weights of the first K of M places, symmetric Dirichlet; the others are zero.

    .. math:: p(w) = \frac{\Gamma(K \gamma)}{\Gamma(\gamma)^K} \prod_{k \le K} w_k^{\gamma - 1}

    :param concentration: gamma.
    :param n_components: K.
    :param size: M.
    """

    arg_constraints = {  # noqa: RUF012
        "concentration": constraints.positive,
        "n_components": constraints.positive_integer,
    }
    support = constraints.simplex

    def __init__(self, concentration, n_components, size: int, *, validate_args: bool | None = None):
        self.concentration, self.n_components = jnp.asarray(concentration), jnp.asarray(n_components)
        super().__init__(event_shape=(size,), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of the weights."""
        (size,) = self.event_shape
        log_gamma = jax.random.loggamma(key, self.concentration, (*sample_shape, size))
        return jax.nn.softmax(jnp.where(jnp.arange(size) < self.n_components, log_gamma, -jnp.inf), axis=-1)

    @validate_sample
    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log density of the first K - 1 weights."""
        return self.log_density(jnp.log(jnp.maximum(value, jnp.finfo(value.dtype).tiny)))

    def log_density(self, log_w: Float[Array, "..."]) -> Float[Array, "..."]:
        """The same, of weights that may be too small for numbers other than their logarithms."""
        gamma, k = self.concentration, self.n_components
        total = jnp.where(jnp.arange(self.event_shape[0]) < k, log_w, 0.0).sum(-1)
        return gammaln(k * gamma) - k * gammaln(gamma) + (gamma - 1) * total


class Sticks(Distribution):
    r"""Weights broken off a stick one after the other; the last takes what is left (Ishwaran and James 2001).

    .. math:: w_k = v_k \prod_{l < k} (1 - v_l), \qquad v_k \sim \mathrm{Beta}(1, \alpha), \quad v_M = 1

    so that, with :math:`r_k = 1 - \sum_{l < k} w_l`, :math:`p(w) = \alpha^{M - 1} r_M^{\alpha - 1} \prod_{k < M} 1 / r_k`.

    :param concentration: alpha.
    :param size: M.
    """

    arg_constraints = {"concentration": constraints.positive}  # noqa: RUF012
    support = constraints.simplex

    def __init__(self, concentration, size: int, *, validate_args: bool | None = None):
        self.concentration = jnp.asarray(concentration)
        super().__init__(event_shape=(size,), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of the weights."""
        return jnp.exp(broken(log_left_of_sticks(self.concentration, (*sample_shape, *self.event_shape), key=key)))

    @validate_sample
    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log density of the first M - 1 weights."""
        return self.log_density(jnp.log(jnp.maximum(value, jnp.finfo(value.dtype).tiny)))

    def log_density(self, log_w: Float[Array, "..."]) -> Float[Array, "..."]:
        """The same, of weights that may be too small for numbers other than their logarithms."""
        alpha, (size,) = self.concentration, self.event_shape
        log_left = jax.lax.cumlogsumexp(log_w, axis=log_w.ndim - 1, reverse=True)
        return (size - 1) * jnp.log(alpha) + (alpha - 1) * log_left[..., -1] - log_left[..., :-1].sum(-1)


class SymmetricDirichlet(ABC):
    r"""What all weights priors share whose weights are symmetric Dirichlet given K and the concentration.

    .. math:: w \mid K, \alpha \sim \mathrm{Dirichlet}(\gamma, \ldots, \gamma), \qquad \gamma = \gamma(\alpha, K)

    A subclass is a frozen dataclass that adds ``dirichlet_parameter``, which is gamma, and from ``WeightsPrior`` ``size``,
    ``size_is_bound``, ``concentration``, ``log_prior_k`` and ``declare``.
    """

    @abstractmethod
    def dirichlet_parameter(self, concentration: Float[Array, ""], k: Num[Array, ""]) -> Float[Array, ""]:
        """Gamma, for ``k`` components."""

    @property
    def exchangeable(self) -> bool:
        """Whether p(w | alpha, K) is the same for every order of the components."""
        return True

    def log_density(self, log_w: Float[Array, " m"], concentration: Float[Array, ""], k: Int[Array, ""]) -> Float[Array, ""]:
        """Log density of the first K - 1 weights."""
        return PaddedDirichlet(self.dirichlet_parameter(concentration, k), k, log_w.shape[0]).log_density(log_w)

    def log_partition(self, counts: Float[Array, " m"], concentration: Float[Array, ""], k: Num[Array, ""]) -> Float[Array, ""]:
        """Log probability of a partition with these counts (``core.partitions``)."""
        return partitions.dirichlet_log_partition(counts, self.dirichlet_parameter(concentration, k), k)

    def new_component(
        self, n: Num[Array, ""], occupied: Num[Array, ""], concentration: Float[Array, ""], k: Num[Array, ""]
    ) -> Float[Array, ""]:
        """Probability that row n + 1 opens a new component: gamma (K - K+) / (n + gamma K)."""
        gamma = self.dirichlet_parameter(concentration, k)
        return gamma * jnp.maximum(k - occupied, 0) / (n + gamma * k)

    def draw_log_weights(
        self, counts: Float[Array, " m"], concentration: Float[Array, ""], k: Int[Array, ""], *, key: Array
    ) -> Float[Array, " m"]:
        """Logarithms of w ~ Dirichlet(gamma + n_1, ..., gamma + n_K)."""
        return partitions.dirichlet_log_weights(counts, self.dirichlet_parameter(concentration, k), k, key=key)


def fixed_number(k: int) -> Float[Array, " k"]:
    """Log prior of 1, 2, ... components when there are k."""
    return jax.device_put(np.where(np.arange(1, k + 1) == k, 0.0, -np.inf))


@dataclass(frozen=True)
class UniformWeights(SymmetricDirichlet):
    """Weights of a given number of components, uniform on the simplex, for targets that engines make.

    :param size: K.
    """

    size: int
    size_is_bound: ClassVar[bool] = False
    concentration: ClassVar[float] = 1.0

    def dirichlet_parameter(self, concentration: Float[Array, ""], k: Num[Array, ""]) -> Float[Array, ""]:
        """One."""
        return jnp.ones(())

    def log_prior_k(self) -> Float[Array, " m"]:
        """The number is given."""
        return fixed_number(self.size)

    def declare(self) -> Float[Array, " m"]:
        """Sample the weights: inside a NumPyro program only."""
        return jnp.ones(1) if self.size == 1 else numpyro.sample("weights", dist.Dirichlet(jnp.ones(self.size)))
