"""Running a NumPyro program with its latent sites held at unconstrained values, or drawn.

NumPyro has one stack of handlers for the whole process, so that two threads that run programs at once would handle each other's
sites. Every run of a program here, and every other use of handlers, holds ``one_program``. Programs run while JAX traces them,
so that compiled programs of several fits still run side by side. No compiled function that takes the lock is called under it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, ExpandedDistribution, biject_to, constraints
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.transforms import IndependentTransform, Transform
from numpyro.primitives import Messenger

from bgmm.program.distributions import ComponentMixture
from bgmm.program.lkj import CorrelationFactor

type Layout = tuple[tuple[str, tuple[int, ...]], ...]  # names and unconstrained shapes of latent sites, in the order of z

one_program = threading.RLock()  # held by the thread that runs a program; an automatic guide runs one within another


def size(layout: Layout) -> int:
    """Length of z."""
    return sum(int(np.prod(shape)) for _, shape in layout)


def innermost(support: Constraint) -> Constraint:
    """The constraint of one value, of a support of several independent ones."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def bijection(support: Constraint) -> Transform:
    """From unconstrained values onto a support: NumPyro's ``biject_to``, but our own onto Cholesky factors of correlations."""
    if support is constraints.corr_cholesky:
        return CorrelationFactor()
    if isinstance(support, constraints.independent):
        return IndependentTransform(bijection(support.base_constraint), support.reinterpreted_batch_ndims)
    return biject_to(support)


def unpack(layout: Layout, z: Float[Array, " z"]) -> dict[str, Array]:
    """The unconstrained value of each site in one vector."""
    values, start = {}, 0
    for name, shape in layout:
        n = int(np.prod(shape))
        values[name], start = z[start : start + n].reshape(shape), start + n
    return values


def pack(layout: Layout, program: Callable[[], object], sites: dict[str, Array]) -> Float[Array, " z"]:
    """The vector z at which the latent sites of the program have these values."""
    found = DrawFree({})
    with one_program, found, numpyro.handlers.seed(rng_seed=0), numpyro.handlers.substitute(data=sites):
        program()
    return jnp.concatenate([found.values[name].reshape(-1) for name, _ in layout])


def layout_of(trace: dict[str, dict[str, Any]]) -> Layout:
    """The latent sites of a traced program; each must be continuous."""
    layout = []
    for name, site in trace.items():
        if site["type"] != "sample" or site["is_observed"]:
            continue
        if site["fn"].is_discrete:
            raise ValueError(
                f"site '{name}' is discrete; sum the assignments out by observing bgmm.GaussianMixture, "
                "they are drawn afterwards"
            )
        layout.append((name, tuple(bijection(site["fn"].support).inverse_shape(np.shape(site["value"])))))
    return tuple(layout)


class Hold(Messenger):
    """Give each latent site the constrained value of an unconstrained one; keep log priors, log Jacobians and site values.

    Under a ``least_weight`` e, K values on a simplex are e + (1 - K e) times their own.
    """

    def __init__(self, values: dict[str, Array], least_weight: float | Float[Array, ""] = 0.0):
        super().__init__()
        self.values = values
        self.least_weight = least_weight
        self.log_priors: dict[str, Array] = {}
        self.log_jacobians: dict[str, Array] = {}
        self.observed: ComponentMixture | None = None
        self.sites: dict[str, Array] = {}

    def process_message(self, msg: dict[str, Any]) -> None:
        """Set the value of a latent site."""
        if msg["type"] != "sample" or msg["is_observed"] or msg["value"] is not None:
            return
        transform = bijection(msg["fn"].support)
        z = self.values[msg["name"]]
        value = transform(z)
        self.log_jacobians[msg["name"]] = jnp.sum(transform.log_abs_det_jacobian(z, value))
        if msg["fn"].support is constraints.simplex:
            value = self.least_weight + (1 - value.shape[-1] * self.least_weight) * value
        msg["value"] = value

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        """Keep the log prior and the value of a site."""
        if msg["type"] == "deterministic":
            self.sites[msg["name"]] = msg["value"]
        if msg["type"] != "sample":
            return
        mixture = observed_mixture(msg)
        if mixture is not None:
            self.observed = mixture
            return
        log_p = msg["fn"].log_prob(msg["value"])
        self.log_priors[msg["name"]] = jnp.sum(log_p if msg["scale"] is None else msg["scale"] * log_p)
        if not msg["is_observed"]:
            self.sites[msg["name"]] = msg["value"]


def observed_mixture(msg: dict[str, Any]) -> ComponentMixture | None:
    """The mixture that a site observes, out of its plates; None where it is another kind of site."""
    fn: Distribution = msg["fn"]
    while isinstance(fn, ExpandedDistribution):
        fn = fn.base_dist
    return fn if msg["is_observed"] and isinstance(fn, ComponentMixture) else None


class DrawFree(Messenger):
    """Keep the unconstrained values of the latent sites; the sites in ``fixed`` stay at their unconstrained values."""

    def __init__(self, fixed: dict[str, Array]):
        super().__init__()
        self.fixed = fixed
        self.values = dict(fixed)

    def process_message(self, msg: dict[str, Any]) -> None:
        """Set the value of a fixed site."""
        if msg["type"] == "sample" and msg["name"] in self.fixed:
            msg["value"] = bijection(msg["fn"].support)(self.fixed[msg["name"]])

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        """Keep the unconstrained value of a site that was drawn."""
        if msg["type"] == "sample" and not msg["is_observed"] and msg["name"] not in self.fixed:
            self.values[msg["name"]] = bijection(msg["fn"].support).inv(msg["value"])


def read_trace[T](function: Callable[[], object], read: Callable[[dict[str, dict[str, Any]]], T]) -> T:
    """``read(sites)`` of a program that is run on shapes alone, called within the trace: outside of it no value lives."""
    found: list[T] = []
    refusals: list[ValueError] = []

    def run() -> None:
        with one_program, numpyro.handlers.trace() as sites, numpyro.handlers.seed(rng_seed=0):
            function()
        try:
            found.append(read(sites))
        except ValueError as refusal:  # raised outside, where JAX adds no note of its own to the sentence
            refusals.append(refusal)

    jax.eval_shape(run)
    if refusals:
        raise refusals[0]
    return found[0]
