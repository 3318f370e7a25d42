"""Any NumPyro guide, fitted by NumPyro's stochastic variational inference, and draws weighted by the density that it has.

The model that SVI sees is the user's program, with its observed mixture replaced by the log likelihood of one pass over all
rows. An automatic guide starts at the mode with the largest Laplace mass (some, such as ``AutoIAFNormal``, start elsewhere
whatever they are told).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro import handlers, optim
from numpyro.infer import SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import AutoGuide
from numpyro.infer.util import log_density
from numpyro.primitives import Messenger

from bgmm.core.components import Mixture
from bgmm.engines.importance.labelling import Domain, domain_around, in_domain, permutations_into, permute, permutes
from bgmm.engines.optimise.modes import Modes, find_modes
from bgmm.engines.variational.density import LogPosterior, log_posteriors
from bgmm.engines.variational.draws import Weighted, log_n_labellings
from bgmm.program.target import Target
from bgmm.program.trace import observed_mixture, pack

_N_PARTICLES = 8  # draws of the guide in each step
_LAST_RATE = 0.01  # of the first learning rate
_IN_PARALLEL = 16


class _OnePass(Messenger):
    """Replaces the observed mixture by its log likelihood of the target's rows."""

    def __init__(self, target: Target):
        super().__init__()
        self.target = target

    def process_message(self, msg: dict[str, Any]) -> None:
        """Replace the distribution of the observed site."""
        if msg["type"] == "sample" and (mixture := observed_mixture(msg)) is not None:
            value = self.target.log_likelihood(self.target.in_rows_units(mixture.mixture))
            msg["fn"], msg["value"] = dist.Unit(value), jnp.zeros(0)


def _model(target: Target) -> None:
    with _OnePass(target):
        target.program(*target.arguments)


def guide_draws(
    target: Target,
    guide: Callable,
    n_draws: int,
    n_starts: int,
    n_steps: int,
    learning_rate: float,
    *,
    key: Array,
    start: Mixture | None = None,
) -> tuple[Target, Weighted]:
    """Draws of the fitted guide with their importance weights; the target too, now centred if the modes need it."""
    key_modes, key_fit, key_draws = jax.random.split(key, 3)
    target, modes = find_modes(target, n_starts, key=key_modes, start=start)
    q = _program(guide, target, modes.z[0])
    rate = partial(_decayed, learning_rate, n_steps)
    svi = SVI(_model, q, optim.ClippedAdam(rate), Trace_ELBO(num_particles=_N_PARTICLES))

    @jax.jit
    def fit(target: Target) -> dict[str, Array]:
        state = svi.init(key_fit, target)
        state, _ = jax.lax.scan(lambda state, _: svi.stable_update(state, target), state, length=n_steps)
        return svi.get_params(state)

    @jax.jit
    def draw(target: Target, params: dict[str, Array], keys: Array):
        def one(key):
            log_q, trace = log_density(handlers.seed(q, key), (target,), {}, params)
            values = {name: site["value"] for name, site in trace.items() if site["type"] == "sample"}
            z = pack(target.layout, partial(target.program, *target.arguments), values)
            return z, log_q + target.trace(z).log_jacobian

        return jax.lax.map(one, keys, batch_size=_IN_PARALLEL)

    params = fit(target)
    z, log_q = (np.asarray(a) for a in draw(target, params, jax.random.split(key_draws, n_draws)))
    log_p = np.asarray(log_posteriors(LogPosterior(target), jnp.asarray(z)))
    domain = _domain_of(target, modes, z[log_p.argmax()])
    log_ratio = np.where(in_domain(target, domain, z), log_p - log_q, -np.inf)
    stats = {"n_evaluations": np.array(n_steps * _N_PARTICLES)}
    elbo = float(np.mean(log_p - log_q))
    return target, Weighted(z, log_p, log_ratio, elbo, log_n_labellings(target, domain), stats)


def _domain_of(target: Target, modes: Modes, z: Float[np.ndarray, " z"]) -> Domain | None:
    """The labelling that the guide has settled in: that of the point z of it, about the first mode."""
    if not permutes(target):
        return None
    (order,) = permutations_into(target, domain_around(target, modes.z[0], modes.factor[0]), z[None])
    pivot, J = permute(target, modes.z[0], np.argsort(order))
    return domain_around(target, pivot, J @ modes.factor[0])


def _decayed(first: float, n_steps: int, i: Array) -> Array:
    return first * _LAST_RATE ** (i / n_steps)


def _program(guide: Callable, target: Target, z: Float[np.ndarray, " z"]) -> Callable[[Target], Any]:
    """The guide as a program of the target: an automatic one is made for the model and told where to start."""
    if isinstance(guide, type) and issubclass(guide, AutoGuide):
        return guide(_model, init_loc_fn=init_to_value(values=target.constrain(jnp.asarray(z))))
    return lambda target: guide(target.arguments[0])
