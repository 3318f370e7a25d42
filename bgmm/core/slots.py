"""A declared mixture as slots: places for components that are alike, each with unconstrained parameters z_k of its own.

The family's program is traced for one component, never copied. With h the unconstrained hyperparameters that all components
share (sites whose shape does not depend on the number of components), it says

    log p(z_k | h),    log p(h),    theta_k = (mu_k, L_k) at z_k,    and draws of z_k | h and h from the prior.

Given the rows that are assigned to it, a component sees them only through their sufficient statistics S_k:

    log p(z_k | S_k, h) = log p(z_k | h) + <S_k, eta(theta_k)> + constant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Bool, Float, Int
from numpyro.distributions import Distribution, biject_to

from bgmm.core import gaussian
from bgmm.core.blocks import Blocks
from bgmm.core.gaussian import Parameters
from bgmm.core.scaling import Scaling
from bgmm.core.target import HoldAt
from bgmm.core.weights import Law, PaddedDirichlet, Sticks

type Layout = tuple[tuple[str, tuple[int, ...]], ...]


@runtime_checkable
class Family(Protocol):
    """Components that declare themselves: what a family of one's own has to be, and hashable (a frozen dataclass)."""

    def declare(self, k: int, recording_step: Float[Array, " d"]) -> tuple[Float[Array, "k d"], Float[Array, "k d d"]]:
        """Sample the means and lower Cholesky factors of ``k`` components: inside a NumPyro program only.

        Sites of the components have k as their first axis, and are independent given the others: hyperparameters, which all
        components share.
        """


@runtime_checkable
class Hyperprior(Protocol):
    """A prior over the concentration."""

    def distribution(self) -> Distribution:
        """As NumPyro has it."""


@runtime_checkable
class Weights(Protocol):
    """A prior over the weights of some of ``size`` components."""

    @property
    def size(self) -> int:
        """Slots."""

    @property
    def law(self) -> Law:
        """How the weights follow from the concentration."""

    @property
    def concentration(self) -> float | Hyperprior:
        """A number, or its prior."""

    def log_prior_k(self) -> Float[Array, " k"]:
        """Log prior of K = 1 .. size, up to a constant."""

    def given(self, concentration: Float[Array, ""], k: Int[Array, ""]) -> PaddedDirichlet | Sticks:
        """Of the weights of ``size`` components, given the concentration and K; beyond K they are zero."""


@runtime_checkable
class Mixture(Protocol):
    """A program made of the two."""

    @property
    def weights(self) -> Weights:
        """Prior over the weights."""

    @property
    def components(self) -> Family:
        """Prior over the components."""


class Component(NamedTuple):
    """One component at z: its log prior with the Jacobian and without, and what it is, in the program's units."""

    log_density: Float[Array, ""]  # of z
    log_prior: Float[Array, ""]  # of the sites
    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Slots:
    """The declared mixture on given data; a pytree, so that compiled engines take it as an argument."""

    step: Float[Array, " d"]  # recording step in the program's units
    blocks: Blocks
    scaling: Scaling  # from the program's units to those of the blocks
    log_volume: Float[Array, ""]
    model: Mixture = field(metadata={"static": True})
    own: Layout = field(metadata={"static": True})  # sites of a component, without the axis of components
    shared: Layout = field(metadata={"static": True})  # hyperparameters
    mean_at: int | None = field(default=None, metadata={"static": True})  # first of the coordinates of z that are the mean

    @property
    def n_components(self) -> int:
        """Slots: the largest number of components."""
        return self.model.weights.size

    @property
    def random_k(self) -> bool:
        """Whether the number of components is unknown."""
        return bool(np.isfinite(np.asarray(self.model.weights.log_prior_k())).sum() > 1)

    @property
    def n_own(self) -> int:
        """Unconstrained parameters of a component."""
        return _size(self.own)

    @property
    def n_shared(self) -> int:
        """Unconstrained hyperparameters."""
        return _size(self.shared)

    def _at(self, z: Float[Array, " q"], h: Float[Array, " h"]):
        values = {name: a[None] for name, a in _unpack(self.own, z).items()} | _unpack(self.shared, h)
        point = HoldAt(values)
        with point, numpyro.handlers.seed(rng_seed=0):
            means, scale_tril = self.model.components.declare(1, self.step)
        return point, means[0], scale_tril[0]

    def component(self, z: Float[Array, " q"], h: Float[Array, " h"]) -> Component:
        """The component at z."""
        point, mean, scale_tril = self._at(z, h)
        shared = {name for name, _ in self.shared}
        log_prior = sum((p for name, p in point.log_priors.items() if name not in shared), jnp.zeros(()))
        log_jacobian = sum((p for name, p in point.log_jacobians.items() if name not in shared), jnp.zeros(()))
        return Component(log_prior + log_jacobian, log_prior, mean, scale_tril)

    def parameters(self, mean: Float[Array, " d"], scale_tril: Float[Array, "d d"]) -> Parameters:
        """A mixture of one component, in the units of the blocks."""
        return self.scaling.into(Parameters(jnp.zeros(1), mean[None], scale_tril[None]))

    def natural(self, mean: Float[Array, " d"], scale_tril: Float[Array, "d d"]) -> Float[Array, " p"]:
        """eta of a component without its weight, in the units of the blocks."""
        return gaussian.natural(self.parameters(mean, scale_tril))[0]

    def log_shared(self, h: Float[Array, " h"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Log prior of the hyperparameters, and the log Jacobian of their sites."""
        point, *_ = self._at(jnp.zeros(self.n_own), h)
        names = [name for name, _ in self.shared]
        return sum(point.log_priors[n] for n in names) + jnp.zeros(()), sum(point.log_jacobians[n] for n in names) + jnp.zeros(
            ()
        )

    def shared_sites(self, h: Float[Array, " h"]) -> dict[str, Array]:
        """The hyperparameters under their names, constrained."""
        point, *_ = self._at(jnp.zeros(self.n_own), h)
        return {name: point.sites[name] for name, _ in self.shared}

    def draw(self, h: Float[Array, " h"] | None, *, key: Array) -> tuple[Float[Array, " q"], Float[Array, " h"]]:
        """A component from its prior, given h or with h from its own prior."""
        given = {} if h is None else _unpack(self.shared, h)
        drawn = _Draw(given)
        with drawn, numpyro.handlers.seed(rng_seed=key):
            self.model.components.declare(1, self.step)
        own, shared = ([drawn.values[name].reshape(-1) for name, _ in layout] for layout in (self.own, self.shared))
        return jnp.concatenate(own), jnp.concatenate([*shared, jnp.zeros(0)])


class _Draw(numpyro.primitives.Messenger):
    """Keep the unconstrained values of the sites; those that are given stay as they are."""

    def __init__(self, given: dict[str, Array]):
        super().__init__()
        self.given = given
        self.values = dict(given)

    def process_message(self, msg) -> None:
        if msg["type"] == "sample" and msg["name"] in self.given:
            msg["value"] = biject_to(msg["fn"].support)(self.given[msg["name"]])

    def postprocess_message(self, msg) -> None:
        if msg["type"] == "sample" and not msg["is_observed"] and msg["name"] not in self.given:
            self.values[msg["name"]] = biject_to(msg["fn"].support).inv(msg["value"])


def _size(layout: Layout) -> int:
    return sum(int(np.prod(shape)) for _, shape in layout)


def _unpack(layout: Layout, z: Float[Array, " z"]) -> dict[str, Array]:
    values, start = {}, 0
    for name, shape in layout:
        size = int(np.prod(shape))
        values[name] = z[start : start + size].reshape(shape)
        start += size
    return values


def make_slots(
    model: Mixture, *, blocks: Blocks, scaling: Scaling, recording_step: np.ndarray, log_volume: Float[Array, ""]
) -> Slots:
    """The slots of a model whose components are alike; one sentence when they are not."""
    one, two = (_shapes(model.components, k, recording_step) for k in (1, 2))
    own: list = []
    shared: list = []
    for name, shape in one.items():
        if shape == two.get(name):
            shared.append((name, shape))
        elif two.get(name) == (2, *shape[1:]) and shape[:1] == (1,):
            own.append((name, shape[1:]))
        else:
            raise ValueError(f"{_ALIKE}, and those of site '{name}' change their shape otherwise")
    if set(one) != set(two) or not own:
        raise ValueError(f"{_ALIKE}, and the sites of this model depend on how many there are")
    slots = Slots(
        step=jnp.asarray(recording_step),
        blocks=blocks.on_one_device(),  # the chains are what is spread
        scaling=Scaling(*(jnp.asarray(a) for a in scaling)),
        log_volume=log_volume,
        model=model,
        own=tuple(own),
        shared=tuple(shared),
    )
    alike, is_mean = (np.asarray(a) for a in _look(slots))
    if not alike:
        raise ValueError(f"{_ALIKE}, and under this model's prior they are not independent of each other")
    return replace(slots, mean_at=int(is_mean.argmax()) if is_mean.any() else None)


_ALIKE = "Gibbs needs components that are alike and independent given their hyperparameters (engines that do without: nuts, em)"


def _shapes(family: Family, k: int, recording_step: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Unconstrained shapes of the latent sites of k components."""
    shapes: dict[str, tuple[int, ...]] = {}

    def look() -> None:
        with numpyro.handlers.trace() as trace, numpyro.handlers.seed(rng_seed=0):
            family.declare(k, jnp.asarray(recording_step))
        for name, site in trace.items():
            if site["type"] == "sample" and not site["is_observed"]:
                if site["fn"].is_discrete:
                    raise ValueError(f"site '{name}' is discrete, and Gibbs updates components by their gradients")
                shapes[name] = tuple(biject_to(site["fn"].support).inverse_shape(np.shape(site["value"])))

    jax.eval_shape(look)
    return shapes


@jax.jit
def _look(slots: Slots) -> tuple[Bool[Array, ""], Bool[Array, " places"]]:
    """Whether two components declared together are each as declared alone, and from where on z is the mean itself."""
    rng = np.random.default_rng(0)
    z = jnp.asarray(0.3 * rng.normal(size=(2, slots.n_own)))
    h = jnp.asarray(0.3 * rng.normal(size=slots.n_shared))
    each = [slots.component(one, h) for one in z]
    parts = [_unpack(slots.own, one) for one in z]
    together = {name: jnp.stack([part[name] for part in parts]) for name, _ in slots.own}
    point = HoldAt(together | _unpack(slots.shared, h))
    with point, numpyro.handlers.seed(rng_seed=0):
        means, scale_tril = slots.model.components.declare(2, slots.step)
    log_p = sum(point.log_priors.values(), -slots.log_shared(h)[0])
    same = jnp.isclose(log_p, each[0].log_prior + each[1].log_prior)
    for k, component in enumerate(each):
        same &= jnp.allclose(means[k], component.mean) & jnp.allclose(scale_tril[k], component.scale_tril)
    d = means.shape[1]
    is_mean = [jnp.allclose(z[:, at : at + d], means) for at in range(max(slots.n_own - d, 0) + 1)]
    return same, jnp.stack(is_mean)
