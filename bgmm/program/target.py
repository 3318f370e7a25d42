"""A declared model and its rows, as pure functions of one unconstrained vector z: all that an engine sees.

The NumPyro program is traced, never copied: the log prior, the observed mixture and the named sites all come from running it
with each latent site held at its value. With m(z) the mixture that the program observes, L the one-pass log likelihood and J
the Jacobian of z -> sites,

    log posterior(z) = log prior(sites(z)) [+ log|det J(z)|] + L(m(z)).

With the Jacobian it is the density of z, which samplers and Laplace need; without it, that of the sites, whose maximum is the
MAP estimate. Under a Dirichlet prior of concentration below one that density has no bound where a weight vanishes; with a
``least_weight`` e, K weights on a simplex are e + (1 - K e) times what z says, so that none is less than e.

Where the components are alike and independent given what they share, z has a view component by component: z_k the unconstrained
parameters of one component, h those that all components share, and

    log p(z_k | h),    log p(h),    the component at (z_k, h),    and draws of z_k | h and h from the prior;

and where the family has centred forms c_k = c(z_k, h) of its components (``Recentred``), also log p(c_k | h).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float

from bgmm.core import kernel
from bgmm.core.components import Components, Mixture
from bgmm.core.dense import Dense
from bgmm.core.factor import AnyArray, Factor
from bgmm.core.gaussians import Gaussians, Linear, converted
from bgmm.core.rows import Rows
from bgmm.core.scaling import Scaling
from bgmm.program.family import About, ClosedForm, DeclaredMixture, Family, Placed, Recentred
from bgmm.program.trace import DrawFree, Hold, Layout, one_program, size, unpack
from bgmm.program.weights_prior import WeightsPrior, concentration_prior, median_concentration

_traced_once = jax.jit  # a larger program that calls such a method in many places traces the model once


class Traced(NamedTuple):
    """Log prior, log Jacobian, mixture and sites at one z."""

    log_prior: Float[Array, ""]
    log_jacobian: Float[Array, ""]
    mixture: Mixture  # in the program's units
    sites: dict[str, Array]


class Component(NamedTuple):
    """One component: its log prior with the Jacobian and without, and itself, in the units of the rows."""

    log_density: Float[Array, ""]  # of z_k
    log_prior: Float[Array, ""]  # of the sites
    components: Components  # one


class Restated(NamedTuple):
    """A component of a given centred form c under given h: its density, and its unconstrained parameters."""

    log_density: Float[Array, ""]  # log p(c | h)
    z: Float[Array, " q"]


class EStep(NamedTuple):
    """Expected statistics of the rows under a mixture of an exponential family."""

    log_likelihood: Float[Array, ""]
    statistics: Float[Array, "k p"]
    centres: Float[Array, "k d"] | None  # about which they are taken


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Target:
    """The log posterior of a declared model on given rows; a pytree, so that compiled engines take it as an argument."""

    arguments: tuple[Array, ...]  # of the program: some rows, and for our models the recording step, in the program's units
    rows: Rows  # standardised
    scaling: Scaling | None  # from the program's units to those of the rows; None where they are the same
    log_volume: Float[Array, ""]  # log density of the rows in the program's units less that in standardised ones
    least_weight: Float[Array, ""]  # zero, except where the mode of a density of weights is sought
    program: Callable = field(metadata={"static": True})
    layout: Layout = field(metadata={"static": True})  # continuous latent sites
    discrete: tuple[str, ...] = field(metadata={"static": True})  # discrete latent sites: the number of components
    n_components: int = field(metadata={"static": True})
    structure: tuple[type[Factor], bool] | None = field(metadata={"static": True})  # of Gaussians: factor, and whether tied
    model: DeclaredMixture | None = field(default=None, metadata={"static": True})  # where weights and components are apart
    component_sites: Layout = field(default=(), metadata={"static": True})  # without the axis of components
    shared_sites: Layout = field(default=(), metadata={"static": True})  # sites that all components share
    hidden: tuple[str, ...] = field(default=(), metadata={"static": True})  # sites that the mixture shows in the user's units
    not_alike: str = field(default="", metadata={"static": True})  # why there is no view component by component
    exchangeable: tuple[str, ...] = field(default=(), metadata={"static": True})  # sites that follow the components' order
    centred: bool = field(default=False, metadata={"static": True})  # natural forms about each component: slower, exact

    @property
    def n_dim(self) -> int:
        """Number of unconstrained parameters."""
        return size(self.layout)

    @property
    def n_parameters(self) -> int:
        """Free parameters of the mixture: unconstrained ones, less those that say nothing of the rows given the others.

        Such are a concentration, and what components with centred forms share.
        """
        n = self.n_dim - (self.model is not None and concentration_prior(self.model.weights) is not None)
        return n - (self.n_dim_shared if self.recentred is not None else 0)

    @property
    def n_dim_component(self) -> int:
        """Unconstrained parameters of one component."""
        return size(self.component_sites)

    @property
    def n_dim_shared(self) -> int:
        """Unconstrained parameters that all components share."""
        return size(self.shared_sites)

    @property
    def weights_prior(self) -> WeightsPrior:
        """Prior over the weights of a declared mixture."""
        assert self.model is not None
        return self.model.weights

    @property
    def leaves_empty(self) -> bool:
        """Whether the prior of the weights favours empty components, or leaves the number of components open."""
        if self.not_alike or self.model is None:
            return False
        return bool(self.discrete) or self.weights_prior.size_is_bound or median_concentration(self.weights_prior) < 1

    @property
    def guess_structure(self) -> tuple[type[Factor], bool]:
        """Factor of Gaussians that guess at the components, and whether tied: as theirs, else dense and not tied."""
        return (Dense, False) if self.structure is None else self.structure

    @property
    def closed_form(self) -> ClosedForm | None:
        """The family, where it has an M-step of maximum likelihood in closed form."""
        return self._family if isinstance(self._family, ClosedForm) and self.structure is not None else None

    @property
    def about(self) -> About:
        """What the family knows of the rows, in the program's units."""
        return About(self.arguments[1])

    @_traced_once
    def trace(self, z: Float[Array, " z"]) -> Traced:
        """Run the program at z."""
        point = Hold(unpack(self.layout, z), self.least_weight)
        with one_program, point, numpyro.handlers.seed(rng_seed=0):
            self.program(*self.arguments)
        assert point.observed is not None
        log_prior, log_jacobian = (sum(p.values(), jnp.zeros(())) for p in (point.log_priors, point.log_jacobians))
        return Traced(log_prior, log_jacobian, point.observed.mixture, point.sites)

    def in_rows_units(self, mixture: Mixture) -> Mixture:
        """A mixture in the program's units, in those of the rows."""
        return mixture if self.scaling is None else self.scaling.into(mixture)

    def in_program_units(self, x: Float[Array, "n d"]) -> Float[AnyArray, "n d"]:
        """Rows, or means, in the program's units."""
        return x if self.scaling is None else self.scaling.restore(x)

    def mixture(self, z: Float[Array, " z"]) -> Mixture:
        """The observed mixture at z, in the units of the rows."""
        return self.in_rows_units(self.trace(z).mixture)

    def constrain(self, z: Float[Array, " z"]) -> dict[str, Array]:
        """The named sites at z, in the program's units."""
        return self.trace(z).sites

    def log_likelihood(self, mixture: Mixture) -> Float[Array, ""]:
        """Log density of all rows under a mixture in their units; the density is per the program's units."""
        return kernel.log_likelihood(mixture.natural(centred=self.centred), self.rows) + self.log_volume

    def log_posterior(self, z: Float[Array, " z"], *, jacobian: bool) -> Float[Array, ""]:
        """Log prior plus log likelihood, with the constants of both, without that of the posterior."""
        traced = self.trace(z)
        return traced.log_prior + jacobian * traced.log_jacobian + self.log_likelihood(self.in_rows_units(traced.mixture))

    def e_step(self, mixture: Mixture) -> EStep:
        """Log likelihood and expected statistics."""
        natural = mixture.natural(centred=self.centred)
        assert isinstance(natural, Linear)
        value, statistics = kernel.expected_statistics(natural, self.rows)
        return EStep(value + self.log_volume, statistics.eta, natural.centres)

    def expected(self, e_step: EStep, mixture: Mixture) -> Float[Array, ""]:
        """Expected complete-data log likelihood <S, eta> of a mixture, up to a constant."""
        g = mixture.components
        assert isinstance(g, Gaussians)
        about = g if e_step.centres is None else g.moved(-e_step.centres)
        return jnp.vdot(e_step.statistics, about.natural(jnp.asarray(mixture.log_weights)).eta)

    def maximum_likelihood(self, e_step: EStep) -> Mixture:
        """The M-step of maximum likelihood in closed form, in the units of the rows."""
        assert self.closed_form is not None
        about = self.about if self.scaling is None else About(self.about.recording_step / self.scaling.scale)
        counts = e_step.statistics[:, 0]
        log_w = jnp.log(jnp.maximum(counts / counts.sum(), jnp.finfo(counts.dtype).tiny))
        components = self.closed_form.maximum_likelihood(e_step.statistics, about)
        if e_step.centres is not None:
            assert isinstance(components, Gaussians)
            components = components.moved(e_step.centres)
        return Mixture(log_w, components)

    def like(self, guess: Mixture) -> Mixture:
        """Gaussians with factors of the structure that guesses at the program's components have."""
        return converted(guess, *self.guess_structure)

    def _component_at(self, z: Float[Array, " q"], h: Float[Array, " h"]) -> tuple[Hold, Components]:
        assert self.model is not None
        point = Hold({name: a[None] for name, a in unpack(self.component_sites, z).items()} | unpack(self.shared_sites, h))
        with one_program, point, numpyro.handlers.seed(rng_seed=0):
            components = self.model.components.declare(1, self.about)
        return point, components

    @_traced_once
    def component(self, z: Float[Array, " q"], h: Float[Array, " h"]) -> Component:
        """The component at (z_k, h)."""
        point, components = self._component_at(z, h)
        shared = {name for name, _ in self.shared_sites}
        log_prior, log_jacobian = (
            sum((p for name, p in of_site.items() if name not in shared), jnp.zeros(()))
            for of_site in (point.log_priors, point.log_jacobians)
        )
        in_units = self.in_rows_units(Mixture(jnp.zeros(1), components)).components
        return Component(log_prior + log_jacobian, log_prior, in_units)

    @property
    def _family(self) -> Family | None:
        return None if self.model is None else self.model.components

    @property
    def recentred(self) -> Recentred | None:
        """The family, where its components have a centred form."""
        return self._family if isinstance(self._family, Recentred) else None

    @_traced_once
    def centred_form(self, z: Float[Array, " q"], h: Float[Array, " h"]) -> dict[str, Array]:
        """What determines the component at (z_k, h) whatever the components share."""
        assert self.recentred is not None
        sites = self._component_at(z, h)[0].sites
        return self.recentred.centred_form({name: sites[name][0] for name, _ in self.component_sites}, self._shared(h))

    @_traced_once
    def at_centred_form(self, form: dict[str, Array], h: Float[Array, " h"]) -> Restated:
        """The component of this form under h."""
        assert self.recentred is not None
        shared = self._shared(h)
        sites, log_jacobian = self.recentred.from_centred_form(form, shared)
        log_prior, z = self._component_of(sites, shared)
        return Restated(log_prior + log_jacobian, z)

    @_traced_once
    def component_near(
        self, mean: Float[Array, " d"], covariance: Float[Array, "*c"], h: Float[Array, " h"]
    ) -> Float[Array, " q"] | None:
        """z of about the component of this mean and covariance, in the rows' units; None where the family does not say."""
        if not isinstance(self._family, Placed) or self.scaling is not None:
            return None
        shared = self._shared(h)
        return self._component_of(self._family.sites_near(mean, covariance, shared), shared)[1]

    def _component_of(self, sites: dict[str, Array], shared: dict[str, Array]) -> tuple[Float[Array, ""], Float[Array, " q"]]:
        """log p(sites | shared) of one component, and its unconstrained parameters."""
        assert self.model is not None
        found = DrawFree({})
        held = numpyro.handlers.substitute(data=shared | {name: value[None] for name, value in sites.items()})
        with one_program, numpyro.handlers.trace() as trace, found, numpyro.handlers.seed(rng_seed=0), held:
            self.model.components.declare(1, self.about)
        log_prior = sum((trace[name]["fn"].log_prob(trace[name]["value"]).sum() for name in sites), jnp.zeros(()))
        return log_prior, jnp.concatenate([found.values[name].reshape(-1) for name, _ in self.component_sites])

    def _shared(self, h: Float[Array, " h"]) -> dict[str, Array]:
        """The shared sites, constrained."""
        point, _ = self._component_at(jnp.zeros(self.n_dim_component), h)
        return {name: point.sites[name] for name, _ in self.shared_sites}

    @_traced_once
    def log_shared(self, h: Float[Array, " h"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Log prior of what the components share, and the log Jacobian of its sites."""
        point, _ = self._component_at(jnp.zeros(self.n_dim_component), h)
        names = [name for name, _ in self.shared_sites]
        zero = jnp.zeros(())
        return sum((point.log_priors[n] for n in names), zero), sum((point.log_jacobians[n] for n in names), zero)

    def shared_values(self, h: Float[Array, " h"]) -> dict[str, Array]:
        """What the components share, under the names of its sites, constrained."""
        return {name: value for name, value in self._shared(h).items() if name not in self.hidden}

    def draw_component(self, h: Float[Array, " h"] | None, *, key: Array) -> tuple[Float[Array, " q"], Float[Array, " h"]]:
        """A component from its prior, given h or with h drawn too."""
        assert self.model is not None
        drawn = DrawFree({} if h is None else unpack(self.shared_sites, h))
        with one_program, drawn, numpyro.handlers.seed(rng_seed=key):
            self.model.components.declare(1, self.about)
        z, h = (
            jnp.concatenate([*(drawn.values[name].reshape(-1) for name, _ in layout), jnp.zeros(0)])
            for layout in (self.component_sites, self.shared_sites)
        )
        return z, h
