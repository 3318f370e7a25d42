"""A declared model and its data, as pure functions of one unconstrained vector z: all that an engine sees.

The NumPyro program is traced, never copied: ``log_prior``, the observed mixture and the named sites all come from running
it with each latent site held at its value. With m(z) the mixture that the program observes, L the one-pass log likelihood
and J the Jacobian of z -> sites,

    log posterior(z) = log prior(sites(z)) [+ log|det J(z)|] + L(eta(m(z))).

With the Jacobian it is the density of z, which samplers and Laplace need; without it, that of the sites, whose maximum is
the MAP estimate. Under a Dirichlet prior of concentration under one that density has no bound where a weight vanishes; with a
``least_weight`` e, the K weights on a simplex are e + (1 - K e) times what z says, so that none is less than e.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, ExpandedDistribution, biject_to, constraints
from numpyro.primitives import Messenger

from bgmm.core import gaussian, one_pass
from bgmm.core.blocks import Blocks
from bgmm.core.distributions import GaussianMixture
from bgmm.core.gaussian import Parameters
from bgmm.core.scaling import Scaling


class Traced(NamedTuple):
    """What one run of the program at a point says."""

    log_prior: Float[Array, ""]
    log_jacobian: Float[Array, ""]
    mixture: Parameters  # in the program's units
    sites: dict[str, Array]


@runtime_checkable
class ClosedForm(Protocol):
    """A model whose likelihood, given expected statistics and the recording step, has its maximum in closed form."""

    def maximum_likelihood(self, statistics: Float[Array, "k p"], recording_step: Float[Array, " d"]) -> Parameters:
        """The mixture that maximises <statistics, eta>."""


class HoldAt(Messenger):
    """Give each latent site the value at the unconstrained one that ``values`` holds for it; keep priors and Jacobians."""

    def __init__(self, values: dict[str, Array], least_weight: float | Float[Array, ""] = 0.0):
        super().__init__()
        self.values = values
        self.least_weight = least_weight
        self.log_priors: dict[str, Array] = {}
        self.log_jacobians: dict[str, Array] = {}
        self.mixture: GaussianMixture | None = None
        self.sites: dict[str, Array] = {}

    def process_message(self, msg: dict[str, Any]) -> None:
        """Put the value in."""
        if msg["type"] != "sample" or msg["is_observed"] or msg["value"] is not None:
            return
        transform = biject_to(msg["fn"].support)
        z = self.values[msg["name"]]
        value = transform(z)
        self.log_jacobians[msg["name"]] = jnp.sum(transform.log_abs_det_jacobian(z, value))
        if msg["fn"].support is constraints.simplex:
            value = self.least_weight + (1 - value.shape[-1] * self.least_weight) * value
        msg["value"] = value

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        """Keep what the site says of it."""
        if msg["type"] == "deterministic":
            self.sites[msg["name"]] = msg["value"]
        if msg["type"] != "sample":
            return
        mixture = _observed_mixture(msg)
        if mixture is not None:
            self.mixture = mixture
            return
        log_p = msg["fn"].log_prob(msg["value"])
        self.log_priors[msg["name"]] = jnp.sum(log_p if msg["scale"] is None else msg["scale"] * log_p)
        if not msg["is_observed"]:
            self.sites[msg["name"]] = msg["value"]


def _observed_mixture(msg: dict[str, Any]) -> GaussianMixture | None:
    """The mixture that this site observes, out of its plates; None where it is another kind of site."""
    fn: Distribution = msg["fn"]
    while isinstance(fn, ExpandedDistribution):
        fn = fn.base_dist
    return fn if msg["is_observed"] and isinstance(fn, GaussianMixture) else None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Target:
    """The log posterior of a declared model on given data; a pytree, so that compiled engines take it as an argument."""

    arguments: tuple[Array, ...]  # of the program: the rows, and for our models the recording step, in the program's units
    blocks: Blocks  # the standardised rows
    scaling: Scaling  # from the program's units to those of the blocks
    log_volume: Float[Array, ""]  # log density of the rows in the program's units less that in the blocks'
    least_weight: Float[Array, ""]  # zero, except where the mode of a density of weights is sought
    program: Callable = field(metadata={"static": True})
    layout: tuple[tuple[str, tuple[int, ...]], ...] = field(metadata={"static": True})  # latent sites, unconstrained shapes
    n_components: int = field(metadata={"static": True})
    closed_form: ClosedForm | None = field(default=None, metadata={"static": True})  # where maximum likelihood has one
    centred: bool = field(default=False, metadata={"static": True})  # features about each component: slower, exact

    @property
    def n_dim(self) -> int:
        """Number of unconstrained parameters."""
        return sum(int(np.prod(shape)) for _, shape in self.layout)

    @property
    def recording_step(self) -> Float[Array, " d"]:
        """Step to which the values were recorded, in the units of the blocks; our own models' second argument."""
        return self.arguments[1] / self.scaling.scale

    @jax.jit  # so that JAX remembers the trace: engines call this from many places
    def trace(self, z: Float[Array, " z"]) -> Traced:
        """Run the program at z."""
        values, start = {}, 0
        for name, shape in self.layout:
            size = int(np.prod(shape))
            values[name] = z[start : start + size].reshape(shape)
            start += size
        point = HoldAt(values, self.least_weight)
        with point, numpyro.handlers.seed(rng_seed=0):
            self.program(*self.arguments)
        if point.mixture is None:
            raise ValueError(_NO_MIXTURE)
        log_prior, log_jacobian = (sum(p.values(), jnp.zeros(())) for p in (point.log_priors, point.log_jacobians))
        return Traced(log_prior, log_jacobian, point.mixture.parameters, point.sites)

    def mixture(self, z: Float[Array, " z"]) -> Parameters:
        """The observed mixture at z, in the units of the blocks."""
        return self.scaling.into(self.trace(z).mixture)

    def constrain(self, z: Float[Array, " z"]) -> dict[str, Array]:
        """The named sites at z, in the program's units."""
        return self.trace(z).sites

    def log_likelihood(self, mixture: Parameters) -> Float[Array, ""]:
        """Log density of all rows under a mixture in the units of the blocks; the density is per the program's units."""
        centres = gaussian.own_centres(mixture, self.centred)
        return one_pass.log_likelihood(gaussian.natural(mixture, centres), self.blocks, centres) + self.log_volume

    def expected_statistics(self, mixture: Parameters):
        """The E-step: log likelihood, expected statistics, and the centres that they are taken about."""
        centres = gaussian.own_centres(mixture, self.centred)
        value, statistics = one_pass.expected_statistics(gaussian.natural(mixture, centres), self.blocks, centres)
        return value + self.log_volume, statistics, centres

    def log_posterior(self, z: Float[Array, " z"], *, jacobian: bool) -> Float[Array, ""]:
        """Log prior plus log likelihood, with the constants of both, without that of the posterior."""
        traced = self.trace(z)
        return traced.log_prior + jacobian * traced.log_jacobian + self.log_likelihood(self.scaling.into(traced.mixture))


_NO_MIXTURE = (
    "the model must observe the rows it is given with one bgmm mixture distribution: "
    'numpyro.sample("x", bgmm.GaussianMixture(weights, means, scale_tril), obs=rows)'
)


def make_target(
    program: Callable,
    rows: np.ndarray,
    *,
    blocks: Blocks,
    scaling: Scaling,
    recording_step: np.ndarray | None = None,
    closed_form: ClosedForm | None = None,
) -> Target:
    """Trace ``program`` once on ``rows`` (n, d), in its own units, and state it on ``blocks``.

    A program that only observes its rows may be given one of them: the blocks hold the data, and what is compiled for the
    target does not depend on their number.

    Raises ValueError in one sentence when the program is not a mixture whose sites can be sampled continuously.
    """
    arguments = tuple(jnp.asarray(a) for a in ((rows,) if recording_step is None else (rows, recording_step)))
    found: list = []

    def look() -> None:
        with numpyro.handlers.trace() as trace, numpyro.handlers.seed(rng_seed=0):
            program(*arguments)
        found.extend((_layout(trace), _only_mixture(trace, rows).weights.shape[-1]))

    jax.eval_shape(look)
    layout, n_components = found
    if not layout:
        raise ValueError("the model has no latent site to fit; declare the unknown parameters with numpyro.sample")
    return Target(
        arguments=arguments,
        blocks=blocks,
        scaling=Scaling(*(jnp.asarray(a) for a in scaling)),
        log_volume=log_volume_of(blocks, scaling),
        least_weight=jnp.zeros(()),
        program=program,
        layout=layout,
        n_components=n_components,
        closed_form=closed_form,
    )


def log_volume_of(blocks: Blocks, scaling: Scaling) -> Float[Array, ""]:
    """Log density of the rows in units that ``scaling`` standardises, less that in those of the blocks."""
    log_scale = np.log(np.asarray(scaling.scale))
    observed = np.ones((1, len(log_scale))) if blocks.observed is None else np.asarray(blocks.observed, float)
    in_blocks = (observed @ log_scale)[np.asarray(blocks.pattern)]
    return jnp.asarray(-(np.asarray(blocks.weights).sum(1) @ in_blocks))


def _layout(trace: dict[str, dict[str, Any]]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and unconstrained shapes of the latent sites; sites that no engine here can do with are refused by name."""
    layout = []
    for name, site in trace.items():
        if site["type"] == "param":
            raise ValueError(f"site '{name}' is a numpyro.param; declare it as numpyro.sample with a prior")
        if site["type"] == "plate" and site["args"][1] not in (None, site["args"][0]):
            raise ValueError(f"plate '{name}' subsamples; give the model all rows, the engines go through them in blocks")
        if site["type"] != "sample" or site["is_observed"]:
            continue
        if site["fn"].is_discrete:
            raise ValueError(
                f"site '{name}' is discrete; sum the assignments out by observing bgmm.GaussianMixture, "
                "they are drawn afterwards"
            )
        layout.append((name, tuple(biject_to(site["fn"].support).inverse_shape(np.shape(site["value"])))))
    return tuple(layout)


def _only_mixture(trace: dict[str, dict[str, Any]], rows: np.ndarray) -> GaussianMixture:
    """The one mixture that the program observes, of the rows that it was given."""
    sites = [site for site in trace.values() if site["type"] == "sample" and _observed_mixture(site) is not None]
    if len(sites) != 1:
        raise ValueError(f"{_NO_MIXTURE}; this model has {len(sites)} such sites")
    (site,) = sites
    mixture = _observed_mixture(site)
    assert mixture is not None
    name = site["name"]
    if site["scale"] is not None:
        raise ValueError(f"the observed site '{name}' is under a scale handler; give weights= to fit instead")
    if mixture.batch_shape:
        raise ValueError(f"the mixture at site '{name}' has its own parameters for each row; fit needs one for all rows")
    if np.shape(site["value"]) != rows.shape or not np.array_equal(site["value"], rows, equal_nan=True):
        raise ValueError(f"site '{name}' must observe the rows as the model was given them: obs=rows")
    return mixture
