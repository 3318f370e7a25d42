"""What every engine returns."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bgmm.core.gaussian import AnyArray, Parameters
from bgmm.core.target import Target


class Draws(NamedTuple):
    """Draws of the mixture in the units of the blocks, of the program's own sites, and what the engine has to say."""

    mixture: Parameters  # leading axes: chain, draw
    sites: dict[str, np.ndarray]  # leading axes: chain, draw
    stats: dict[str, np.ndarray]  # (chain, draw), or as ``dims`` says
    dims: dict[str, list[str]]  # of the statistics that are not one number a draw
    warnings: list[str]  # one sentence each


@jax.jit
def _describe(target: Target, z: Float[Array, "s z"]):
    def one(z):
        traced = target.trace(z)
        return target.scaling.into(traced.mixture), traced.sites, traced.log_prior

    return jax.lax.map(one, z, batch_size=256)


def from_unconstrained(target: Target, z: Float[AnyArray, "c s z"]) -> tuple[Parameters, dict[str, np.ndarray], np.ndarray]:
    """Mixtures, sites and log prior densities (of the sites) of unconstrained draws."""
    described = _describe(target, jnp.asarray(z).reshape(-1, z.shape[-1]))
    return jax.tree.map(lambda a: np.asarray(a).reshape(*z.shape[:2], *a.shape[1:]), described)
