"""Components of a mixture, whatever their family, and the form in which a pass over the rows evaluates them.

A family gives a subclass of ``Components``: a pytree whose arrays have the component axis k first. Only ``n_features``,
``log_density`` and ``rescale`` are needed. Each further method lets more engines and questions work; where a family lacks it,
one sentence says what is missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import DTypeLike

from bgmm.core.factor import AnyArray

DIMS = ("cluster", "feature", "feature_bis")


class Natural(ABC):
    """A mixture in the form that is cheapest to evaluate: a pytree, log weights included."""

    @abstractmethod
    def log_joint(self, x: Float[Array, "d b"]) -> Float[Array, "k b"]:
        """log w_k + log p(x_n | component k) of each component and column of x; missing values of x are zero."""

    @abstractmethod
    def marginal(self, observed: Float[Array, " d"]) -> Natural:
        """The mixture of the observed coordinates (one), the others (zero) integrated out."""


class Mixture(NamedTuple):
    """A finite mixture: log weights, and components. Leading axes are draws."""

    log_weights: Float[AnyArray, "*s k"]
    components: Components

    def natural(self, *, centred: bool = False) -> Natural:
        """The form that a pass evaluates; ``centred`` costs time and no digits where tight components lie far apart."""
        return self.components.natural(jnp.asarray(self.log_weights), centred=centred)

    def rescale(self, centre: Float[AnyArray, " d"], scale: Float[AnyArray, " d"]) -> Mixture:
        """The mixture of (x - centre) / scale."""
        return self._replace(components=self.components.rescale(centre, scale))

    def sample(self, n: int, *, key: Array) -> Float[Array, "n d"]:
        """``n`` rows of one mixture: for each a component by its weight, then a row from it."""
        key_component, key_row = jax.random.split(key)
        assignments = jax.random.categorical(key_component, self.log_weights, shape=(n,))
        return self.components.sample(assignments, key=key_row)


class Components(ABC):
    """K components of one family. A subclass is a frozen dataclass, registered with ``jax.tree_util.register_dataclass``.

    Shapes are those of one mixture; ``variables``, ``from_variables``, ``rescale`` and ``needs_centres`` work with leading axes
    of draws too.
    """

    registered: ClassVar[dict[str, type[Components]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Components.registered[cls.__name__] = cls  # so that a tree can be read back into its components

    @property
    @abstractmethod
    def n_features(self) -> int:
        """D."""

    @abstractmethod
    def log_density(self, x: Float[Array, "d b"]) -> Float[Array, "k b"]:
        """log p(x_n | component k) of each component and column of x."""

    @abstractmethod
    def rescale(self, centre: Float[AnyArray, " d"], scale: Float[AnyArray, " d"]) -> Components:
        """The components of (x - centre) / scale."""

    def natural(self, log_weights: Float[Array, " k"], *, centred: bool = False) -> Natural:
        """The form that a pass evaluates: by default the components themselves beside the log weights."""
        return Plain(log_weights, self)

    def marginal(self, observed: Float[Array, " d"]) -> Components:
        """The components of the observed coordinates (one), the others (zero) integrated out; D and the layout stay."""
        raise ValueError(
            f"{type(self).__name__} components do not say what remains of their density where values are missing; "
            "leave those rows out, or define marginal(observed)"
        )

    def sample(self, assignments: Int[Array, " n"], *, key: Array) -> Float[Array, "n d"]:
        """A row from the component that each assignment names."""
        raise ValueError(f"{type(self).__name__} components cannot be drawn from; define sample(assignments, key=...)")

    def whitened(self, origin: Components) -> Float[Array, "k q"]:
        """Coordinates of each component about ``origin`` in which one row has about the identity as Fisher information.

        They decide how fast optimisers are, and never what they find. By default they are the numbers of each component.
        """
        return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(self)], axis=1)

    def variables(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Dims and values of what a tree shows, leading axes included; by default each field, its axes k, d, d."""
        return {
            f.name: (DIMS[: value.ndim - self._n_leading()], value)
            for f in fields(self)  # type: ignore[arg-type]
            for value in [np.asarray(getattr(self, f.name))]
        }

    @classmethod
    def from_variables(cls, variables: Mapping[str, np.ndarray]) -> Components:
        """The components again, from values in the order of their dims."""
        return cls(**{f.name: variables[f.name] for f in fields(cls)})  # type: ignore[arg-type]

    def _n_leading(self) -> int:
        """Leading axes: by default the first field has the axes k and d besides."""
        return np.ndim(getattr(self, fields(self)[0].name)) - 2  # type: ignore[arg-type]

    def needs_centres(self, dtype: DTypeLike = np.float64, *, lost: float | None = None) -> bool:
        """Whether the natural form loses digits of type ``dtype`` unless it is centred: more than a share of ``lost``."""
        return False


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Plain(Natural):
    """Components of a family without a cheaper form."""

    log_weights: Float[Array, " k"]
    components: Components

    def log_joint(self, x):
        """log w_k + log p(x_n | component k)."""
        return self.log_weights[:, None] + self.components.log_density(x)

    def marginal(self, observed):
        """The mixture of the observed coordinates."""
        return Plain(self.log_weights, self.components.marginal(observed))
