"""NUTS (Hoffman and Gelman 2014) through NumPyro, from the modes that restarts found.

Each chain draws its mode in proportion to its Laplace mass, and moves in the coordinates u of z = mode + H^(-1/2) u, where
the posterior is about standard normal. All chains run in one program, compiled once for any number of draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer.hmc import hmc

from bgmm.core.checks import check_between, check_choice, check_count, check_flag
from bgmm.core.components import Mixture
from bgmm.core.one_off import one_off
from bgmm.core.options import named_options
from bgmm.core.progress import advance as advance_bar
from bgmm.core.progress import is_shown, note, split_r_hat, stage
from bgmm.engines.base import Draws, Enough, from_unconstrained, needs_given_k
from bgmm.engines.chains import ON_INTERRUPT, Chunks, sampled
from bgmm.engines.optimise.modes import Modes, find_modes
from bgmm.program.target import Target

_CHUNK = 50  # draws between two steps of the progress bar


@named_options()
@dataclass(frozen=True)
class NUTS:
    """Settings of NUTS.

    :param n_draws: kept from each chain, at most.
    :param n_chains: independent chains, run side by side.
    :param n_warmup: steps of each chain in which the step size and the mass are adapted; not kept.
    :param target_accept: acceptance probability that the step size is adapted to; raise it when there are divergences.
    :param max_tree_depth: at most 2^depth leapfrog steps a draw.
    :param n_starts: restarts among which the modes are sought.
    :param stop_early: whether sampling ends after 250, 375, 560, ... draws of each chain, where these pass the diagnostics of
        ``summary``: R-hat at most 1.01 and 400 effective draws of what does not depend on labels and of the clusters that
        at least half of the draws have. False takes all ``n_draws``.
    :param on_interrupt: "raise" ends the fit on Ctrl-C (KeyboardInterrupt); "keep" returns what was drawn after warm-up, with
        a warning, and the tree and its summary say so.
    """

    n_draws: int = 2000
    n_chains: int = 4
    n_warmup: int = 500
    target_accept: float = 0.8
    max_tree_depth: int = 10
    n_starts: int = 16
    stop_early: bool = True
    on_interrupt: str = "raise"

    def __post_init__(self) -> None:
        for name in ("n_draws", "n_chains", "n_warmup", "max_tree_depth", "n_starts"):
            check_count(name, getattr(self, name))
        check_between("target_accept", self.target_accept, 0.0, 1.0)
        check_flag("stop_early", self.stop_early)
        check_choice("on_interrupt", self.on_interrupt, ON_INTERRUPT)

    def refuses(self, target: Target, start: object = None) -> str | None:
        """A random number of components."""
        return needs_given_k(self, target)

    def run(self, target: Target, *, key: Array, start: Mixture | None = None, enough: Enough | None = None) -> Draws:
        """At most ``n_chains`` x ``n_draws`` draws of the posterior."""
        key_modes, key_run = jax.random.split(key)
        target, modes = find_modes(target, self.n_starts, key=key_modes, start=start)
        return self.run_from(target, modes, key=key_run, enough=enough)

    def run_from(self, target: Target, modes: Modes, *, key: Array, enough: Enough | None = None) -> Draws:
        """Draws by chains that begin at modes, chosen by their masses."""
        key_chains, key_sample = jax.random.split(key)
        chosen = np.asarray(jax.random.choice(key_chains, len(modes.mass), (self.n_chains,), p=jnp.asarray(modes.mass)))

        def described(part) -> Draws:
            z, stats = part
            mixture, sites, log_prior = from_unconstrained(target, z)
            of_modes = {"log_posterior": modes.log_posterior, "mass": modes.mass, "starts": modes.n_found}
            stats = stats | {"mode": chosen} | {f"mode_{name}": value for name, value in of_modes.items()}
            dims = {"mode": ["chain"]} | {f"mode_{name}": ["mode_rank"] for name in of_modes}
            return Draws("chains", mixture, sites, log_prior, stats, dims, self._warnings(stats))

        chains = sample_from(target, self, modes.z[chosen], modes.factor[chosen], key=key_sample)
        enough = enough if self.stop_early else None
        return sampled(chains, self.n_warmup, self.n_draws, described, enough, self.on_interrupt)

    def _warnings(self, stats: dict[str, np.ndarray]) -> list[str]:
        warnings = []
        if n := int(stats["diverging"].sum()):
            warnings.append(
                f"{n} of {stats['diverging'].size} draws diverged; raise target_accept, or look at what the model allows"
            )
        if n := int((stats["tree_depth"] >= self.max_tree_depth).sum()):
            warnings.append(f"{n} draws reached the maximum tree depth of {self.max_tree_depth}; raise max_tree_depth")
        return warnings


@lru_cache
def _kernel(n_warmup: int, target_accept: float, max_tree_depth: int):
    """Compiled start and advance of vectorised chains, which take the target and each chain's frame as arguments."""

    def potential(target, mode, factor):
        return lambda u: -target.log_posterior(mode + factor @ u, jacobian=True)

    begin, move = hmc(potential_fn_gen=potential, algo="NUTS")

    @one_off
    @partial(jax.vmap, in_axes=(None, 0, 0, 0))
    def start(target, mode, factor, key):
        key_start, key_chain = jax.random.split(key)
        u = jax.random.normal(key_start, mode.shape, mode.dtype)
        return begin(
            u,
            num_warmup=n_warmup,
            target_accept_prob=target_accept,
            max_tree_depth=max_tree_depth,
            model_args=(target, mode, factor),
            rng_key=key_chain,
        )

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None, 0, 0))
    def advance(state, target, mode, factor):
        def step(state, _):
            state = move(state, model_args=(target, mode, factor))
            return state, (mode + factor @ state.z, state)

        state, (z, states) = jax.lax.scan(step, state, length=_CHUNK)
        kept = {
            "lp": -states.potential_energy,
            "energy": states.energy,
            "n_steps": states.num_steps,
            "tree_depth": jnp.ceil(jnp.log2(states.num_steps + 1.0)).astype(int),
            "acceptance_rate": states.accept_prob,
            "step_size": states.adapt_state.step_size,
            "diverging": states.diverging,
        }
        return state, (z, kept)

    return start, advance


def sample_from(
    target: Target, settings: NUTS, z: Float[np.ndarray, "c z"], factor: Float[np.ndarray, "c z z"], *, key: Array
) -> Chunks:
    """One chain from each mode z (c, D) with its own frame ``factor`` (c, D, D).

    Yields draws (c, s, D) and their statistics, warm-up first, until ``n_warmup + n_draws`` have come.
    """
    start, advance = _kernel(settings.n_warmup, settings.target_accept, settings.max_tree_depth)
    frames = (jnp.asarray(z), jnp.asarray(factor))
    n_steps = settings.n_warmup + settings.n_draws
    shown: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    with stage(f"{len(z)} chains", total=n_steps, unit="draws"):
        state = start(target, *frames, jax.random.split(key, len(z)))
        for done in range(0, n_steps, _CHUNK):
            state, chunk = advance(state, target, *frames)
            chunk = jax.device_get(chunk)
            advance_bar(min(_CHUNK, n_steps - done))
            if is_shown():
                shown.append(chunk)
                note(_so_far(shown, settings.n_warmup))
            yield chunk


def _so_far(chunks: list[tuple[np.ndarray, dict[str, np.ndarray]]], n_warmup: int) -> str:
    """What the progress says of the draws so far."""
    kept = [np.concatenate([stats[name] for _, stats in chunks], axis=1)[:, n_warmup:] for name in ("lp", "diverging")]
    if not kept[0].size:
        return "warm-up"
    return f"R-hat {split_r_hat(kept[0]):.2f}, {int(kept[1].sum())} diverging"
