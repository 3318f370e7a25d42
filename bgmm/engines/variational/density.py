"""The log posterior of many points near modes: exact, or from some of many rows.

Thousands of draws would each cost a pass over all rows. Where these are many, the difference of the log posterior p of all rows
from its second-order expansion T about a mode is estimated on a subsample, whose weights are raised to the total:

    log p(z) ~= T(z) + [log p_sub(z) - T_sub(z)],    T(z) = log p(z0) + 1/2 d' H d,    d = z - z0.

The terms of first and second order, which are large, are those of all rows; only the remainder, which is of third order, is
estimated (the control variates of Bardenet, Doucet and Holmes 2017). ``error_of`` says how far it is from some exact values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bgmm.core.factor import AnyArray
from bgmm.core.in_memory import InMemory, subsample
from bgmm.engines.importance.proposal import from_factors
from bgmm.engines.optimise.modes import Modes
from bgmm.program.target import Target

_IN_PARALLEL = 16  # points whose log posterior is computed in one pass: fastest at 300 to 20 000 rows
_EXACT = 1e9  # densities of a row under a component that are computed exactly: about four seconds
_SOME = 4e8  # and of a subsample
_LEAST_ROWS = 8192


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LogPosterior:
    """log p(z) with the Jacobian near one of several modes; without an expansion it is exact everywhere."""

    target: Target
    z0: Float[AnyArray, "m z"] | None = None
    correction: tuple[Float[AnyArray, " m"], Float[AnyArray, "m z"], Float[AnyArray, "m z z"]] | None = None

    def __call__(self, z: Float[Array, " z"], mode: Int[Array, ""]) -> Float[Array, ""]:
        """log p(z), expanded about the mode with this number."""
        value = self.target.log_posterior(z, jacobian=True)
        if self.z0 is None or self.correction is None:
            return value
        (constant, slope, curvature), d = (jnp.asarray(a)[mode] for a in self.correction), z - jnp.asarray(self.z0)[mode]
        return value + constant + slope @ d + 0.5 * d @ curvature @ d

    def each(self, z: Float[Array, "s z"], mode: Int[Array, " s"]) -> Float[Array, " s"]:
        """log p of each point."""
        return jax.lax.map(lambda inputs: self(*inputs), (z, mode), batch_size=_IN_PARALLEL)


@jax.jit
def log_posteriors(
    log_posterior: LogPosterior, z: Float[Array, "s z"], mode: Int[Array, " s"] | None = None
) -> Float[Array, " s"]:
    """log p of each point, compiled; an exact one needs no modes."""
    return log_posterior.each(z, jnp.zeros(z.shape[0], int) if mode is None else mode)


def rows_for(target: Target, n_draws: int) -> int | None:
    """How many rows are enough at first for so many draws; None where all of them are affordable."""
    densities = target.rows.n_places * target.n_components * n_draws
    if isinstance(target.rows, InMemory) and densities <= _EXACT:
        return None
    return int(max(_LEAST_ROWS, _SOME / (target.n_components * n_draws)))


def most_batches(target: Target, n_draws: int) -> int:
    """How many times so many draws are affordable, up to eight."""
    return int(np.clip(_EXACT / (target.rows.n_places * target.n_components * n_draws), 1, 8))


def near_modes(target: Target, modes: Modes, n_rows: int | None, *, rng: np.random.Generator) -> LogPosterior:
    """The log posterior: exact for None, else expanded about each mode and corrected on ``n_rows`` rows."""
    if n_rows is None:
        return LogPosterior(target)
    few = replace(target, rows=subsample(target.rows, n_rows, rng=rng))
    parts = [_expansion(few, jnp.asarray(z)) for z in modes.z]
    value, slope, hessian = (np.stack([np.asarray(a) for a in arrays]) for arrays in zip(*parts, strict=True))
    whitening = from_factors(np.zeros(len(modes.z)), modes.z, modes.factor).whitening[: len(modes.z)]
    whole = -np.swapaxes(whitening, 1, 2) @ whitening  # the Hessian of log p
    return LogPosterior(few, modes.z, (modes.log_posterior - value, -slope, whole - hessian))


@jax.jit
def _expansion(target: Target, z: Float[Array, " z"]):
    """log p, its gradient and its Hessian at z."""
    function = partial(target.log_posterior, jacobian=True)
    return *jax.value_and_grad(function)(z), jax.hessian(function)(z)


def error_of(log_posterior: LogPosterior, target: Target, z: Float[Array, "s z"], mode: Int[Array, " s"]) -> float:
    """Standard deviation of the expanded log posterior about the exact one at these points."""
    return float(jnp.std(log_posteriors(log_posterior, z, mode) - log_posteriors(LogPosterior(target), z, mode)))
