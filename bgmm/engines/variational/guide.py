"""Any NumPyro guide, fitted by NumPyro's stochastic variational inference, and draws weighted by the density that it has.

The model that SVI sees is the user's program, with its observed mixture replaced by the log likelihood of one pass over all
rows. An automatic guide whose ``init_loc_fn`` is NumPyro's default starts at the mode with the largest Laplace mass (some, such
as ``AutoIAFNormal``, start elsewhere whatever they are told).
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
from numpyro.infer import SVI, Trace_ELBO, init_to_uniform, init_to_value
from numpyro.infer.autoguide import AutoGuide
from numpyro.infer.util import log_density
from numpyro.primitives import Messenger

from bgmm.core.components import Mixture
from bgmm.core.progress import stage
from bgmm.engines.importance.labelling import Domain, domain_around, in_domain, permutations_into, permute
from bgmm.engines.optimise.modes import Modes, find_modes
from bgmm.engines.variational.density import LogPosterior, log_posteriors, most_batches
from bgmm.engines.variational.draws import Weighted, enough, log_n_labellings
from bgmm.program.target import Target
from bgmm.program.trace import observed_mixture, one_program, pack, unpack

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
        with one_program:
            state = svi.init(key_fit, target)
            state, _ = jax.lax.scan(lambda state, _: svi.stable_update(state, target), state, length=n_steps)
            return svi.get_params(state)

    @jax.jit
    def draw(target: Target, params: dict[str, Array], keys: Array):
        def one(key):
            with one_program:
                log_q, trace = log_density(handlers.seed(q, key), (target,), {}, params)
            values = {name: site["value"] for name, site in trace.items() if site["type"] == "sample"}
            z = pack(target.layout, partial(target.program, *target.arguments), values)
            return z, log_q + target.trace(z).log_jacobian

        return jax.lax.map(one, keys, batch_size=_IN_PARALLEL)

    with stage(f"{n_steps} steps of the guide"):
        params = jax.block_until_ready(fit(target))

    def of_batch(i):
        keys = jax.random.split(jax.random.fold_in(key_draws, i), n_draws)
        z, log_q = (np.asarray(a) for a in draw(target, params, keys))
        return z, log_q, np.asarray(log_posteriors(LogPosterior(target), jnp.asarray(z)))

    z, _, log_p = of_batch(0)  # these show where the guide has settled, and are not used again
    _must_be_none("has no spread at", _constant_sites(target, z))
    domain = _domain_of(target, modes, z[np.where(np.isnan(log_p), -np.inf, log_p).argmax()])

    def batch(i):
        z, log_q, log_p = of_batch(1 + i)
        return z, log_p, np.where(in_domain(target, domain, z), log_p - log_q, -np.inf)

    z, log_p, log_ratio = enough(batch, most_batches(target, n_draws))
    inside = in_domain(target, domain, z)
    stats = {"n_evaluations": np.array(n_steps * _N_PARTICLES)}
    elbo = float(np.mean(log_ratio[inside]) + np.log(inside.mean()))  # of q restricted to the domain
    return target, Weighted(z, log_p, log_ratio, elbo, log_n_labellings(target, domain), None, domain, stats)


def _constant_sites(target: Target, z: Float[np.ndarray, "s z"]) -> set[str]:
    """Sites with a coordinate that is the same in all draws: of a guide that is a point, whose density means nothing."""
    ranges = unpack(target.layout, jnp.asarray(np.ptp(z, axis=0)))
    return {name for name, values in ranges.items() if (values == 0).any()}


def _domain_of(target: Target, modes: Modes, z: Float[np.ndarray, " z"]) -> Domain | None:
    """The labelling that the guide has settled in: that of the point z of it, about the first mode."""
    if not target.exchangeable:
        return None
    (order,) = permutations_into(target, domain_around(target, modes.z[0], modes.factor[0]), z[None])
    pivot, J = permute(target, modes.z[0], np.argsort(order))
    return domain_around(target, pivot, J @ modes.factor[0])


def _decayed(first: float, n_steps: int, i: Array) -> Array:
    return first * _LAST_RATE ** (i / n_steps)


def _program(guide: Callable, target: Target, z: Float[np.ndarray, " z"]) -> Callable[[Target], Any]:
    """The guide as a program of the target: an automatic one is made for the model and told where to start.

    :raises ValueError: for a guide whose sites are not those of the model.
    """
    automatic = _made_for_the_model(guide)
    if automatic is not None and automatic.init_loc_fn is init_to_uniform:
        automatic.init_loc_fn = init_to_value(values=target.constrain(jnp.asarray(z)))
    q = (lambda target: guide(target.arguments[0])) if automatic is None else automatic
    with one_program:
        trace = handlers.trace(handlers.seed(q, rng_seed=0)).get_trace(target)
    sampled = {
        name for name, site in trace.items() if site["type"] == "sample" and not site["infer"].get("is_auxiliary", False)
    }
    _must_be_none("lacks", {name for name, _ in target.layout} - sampled)
    _must_be_none("samples what the model does not:", sampled - {name for name, _ in target.layout})
    return q


def _made_for_the_model(guide: Callable) -> AutoGuide | None:
    """What a class of automatic guides, or a function of the model that returns one, makes; None for a program of the rows."""
    try:
        with one_program, handlers.trace(), handlers.seed(rng_seed=0):  # a program of the rows may sample before it fails
            made = guide(_model)
    except (AttributeError, IndexError, TypeError, ValueError):  # it uses the model as an array of rows
        return None
    return made if isinstance(made, AutoGuide) else None


def _must_be_none(verb: str, sites: set[str]) -> None:
    if sites:
        raise ValueError(f"the guide {verb} the site{'s' * (len(sites) > 1)} {', '.join(sorted(sites))}")
