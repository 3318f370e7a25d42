"""What a family of components has to be, and what it may offer besides."""

from __future__ import annotations

import inspect
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from bgmm.core.components import Components
from bgmm.core.factor import AnyArray
from bgmm.program.weights_prior import WeightsPrior


class About(NamedTuple):
    """What a family may know of the rows before it declares its components."""

    recording_step: Float[AnyArray, " d"]  # step to which each feature was recorded, in the units of the rows; zero if unknown

    @property
    def n_features(self) -> int:
        """D."""
        return self.recording_step.shape[0]


@runtime_checkable
class Family(Protocol):
    """A family of components: a hashable value, such as a frozen dataclass, whose fields are the hyperparameters."""

    def declare(self, k: int, about: About) -> Components:
        """Sample what ``k`` components are made of with ``numpyro.sample``, and return them.

        Gibbs needs sites of the components with k as their first axis, independent given the other sites, which all components
        share and whose shapes do not depend on k. Other engines take any sites.
        """


@runtime_checkable
class ClosedForm(Protocol):
    """A family whose likelihood, given expected statistics, has its maximum in closed form."""

    def maximum_likelihood(self, statistics: Float[Array, "k p"], about: About) -> Components:
        """The components that maximise <statistics, eta>: the M-step of maximum likelihood."""


@runtime_checkable
class Recentred(Protocol):
    """A family whose components have a form that determines each of them without what they share: their centred form.

    Sites that say how a component differs from what is shared are non-centred: other values of what is shared change the
    component, and rows hold both fast. Given the centred forms, what is shared no longer depends on the rows, so Gibbs draws it
    from p(h) prod_k p(form_k | h) (Papaspiliopoulos, Roberts and Skold 2007, "A general framework for the parametrization of
    hierarchical models").
    """

    def centred_form(self, component: dict[str, Array], shared: dict[str, Array]) -> dict[str, Array]:
        """The form of one component, given its sites without the axis of components, and the shared sites."""

    def from_centred_form(self, form: dict[str, Array], shared: dict[str, Array]) -> tuple[dict[str, Array], Float[Array, ""]]:
        """The sites of the component with this form given the shared sites, and log |d sites / d form|.

        A Cholesky factor of correlations counts as its entries below the diagonal, as its density does.
        """


@runtime_checkable
class Placed(Protocol):
    """A family that says where a component of a given mean and covariance has its sites, about: there, searches begin."""

    def sites_near(
        self, mean: Float[Array, " d"], covariance: Float[Array, "*c"], shared: dict[str, Array]
    ) -> dict[str, Array]:
        """The sites of one component, without the axis of components, given the shared sites; floors may be ignored.

        :param covariance: in the shape of the family's structure.
        """


@runtime_checkable
class Sharing(Protocol):
    """A family that learns how much the shapes of its components have in common, as the shared site ``shape_spread``."""

    def spread_prior(self) -> Distribution:
        """Prior of ``shape_spread``: near zero the shapes are alike, well above one they are unrelated."""


@runtime_checkable
class Resolved(Protocol):
    """A family with a floor under its scales at the resolution of the data."""

    @property
    def recording_step(self) -> float | tuple[float, ...] | None:
        """The step that the user declares, in the units of the data; None where it is read off the data."""

    def resolution(self, about: About) -> Float[AnyArray, " d"]:
        """Standard deviation of the recording of each feature, in the units of the rows."""


@runtime_checkable
class DeclaredMixture(Protocol):
    """A program made of a prior over the weights and a family of components."""

    @property
    def weights(self) -> WeightsPrior:
        """Prior over the weights, and over the number of components."""

    @property
    def components(self) -> Family:
        """Prior over the components."""

    def __call__(self, rows: Float[AnyArray, "n d"], recording_step: Float[AnyArray, " d"] | None = None) -> None:
        """The program: declare the model of rows that were recorded to these steps, in their units."""


def is_of_bgmm(one: object) -> bool:
    """Whether this function or class, or the class of this value, is one of ``bgmm.models``."""
    named = one if inspect.isfunction(one) or inspect.isclass(one) else type(one)
    return str(named.__module__).startswith("bgmm.models")  # that of a function made by exec is None


def check_called(model: object) -> None:
    """Refuse a function or a class of ``bgmm.models`` in the place of the model that a call of it returns."""
    if not (inspect.isfunction(model) or inspect.isclass(model)) or not is_of_bgmm(model):
        return
    needed = [p.name for p in inspect.signature(model).parameters.values() if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    arguments = ", ".join(f"{name}=3" if name == "n_components" else f"{name}=..." for name in needed)
    kind = "class" if inspect.isclass(model) else "function"
    raise ValueError(f"models.{model.__name__} is a {kind} and not a model; call it: models.{model.__name__}({arguments})")
