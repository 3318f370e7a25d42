"""One unconstrained vector of a mixture in parts: the parameters of each component, what all share, and the weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import biject_to, constraints

from bgmm.core.factor import AnyArray
from bgmm.program.target import Target
from bgmm.program.trace import unpack


def parts_of(target: Target, z: Float[AnyArray, "s z"]) -> tuple[Float[Array, "s k q"], Float[Array, "s h"]]:
    """Parameters component by component, and shared ones."""
    n, k = z.shape[0], target.n_components
    sites = jax.vmap(lambda z: unpack(target.layout, z))(jnp.asarray(z))
    each = [sites[name].reshape(n, k, -1) for name, _ in target.component_sites]
    shared = [sites[name].reshape(n, -1) for name, _ in target.shared_sites]
    return jnp.concatenate(each, axis=2), jnp.concatenate([*shared, jnp.zeros((n, 0))], axis=1)


def from_parts(
    target: Target, log_w: Float[AnyArray, " k"], z: Float[AnyArray, "k q"], h: Float[AnyArray, " h"]
) -> Float[Array, " z"]:
    """The vector with these parts, where the weights are one site of that name or there is one component."""
    values = jax.vmap(lambda z: unpack(target.component_sites, z))(jnp.asarray(z)) | unpack(target.shared_sites, jnp.asarray(h))
    if target.n_components > 1:
        values["weights"] = biject_to(constraints.simplex).inv(jax.nn.softmax(jnp.asarray(log_w)))
    return jnp.concatenate([values[name].reshape(-1) for name, _ in target.layout])
