"""The Gibbs engine: chains from different numbers of components, an annealed warm-up, and the draws after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from bgmm.core import kernel
from bgmm.core.checks import check_choice, check_count, check_flag, is_number
from bgmm.core.components import Mixture
from bgmm.core.gaussians import Linear
from bgmm.core.in_memory import InMemory
from bgmm.core.one_off import one_off
from bgmm.core.options import named_options
from bgmm.core.progress import advance, is_shown, note, split_r_hat, stage
from bgmm.core.threads import side_by_side
from bgmm.engines.base import Draws, Enough
from bgmm.engines.chains import ON_INTERRUPT, Chunks, sampled
from bgmm.engines.gibbs.draws import describe
from bgmm.engines.gibbs.jumps import none
from bgmm.engines.gibbs.landmarks import find_landmarks
from bgmm.engines.gibbs.reference import PriorSummary, summarise_prior
from bgmm.engines.gibbs.sweep import Record, State, first_tuning, no_record, sweep
from bgmm.engines.optimise.starts import SEEDING_ROWS, around, seeds, some_rows
from bgmm.program.target import Target


@dataclass(frozen=True)
class Constants:
    """Constants of the sampler."""

    starts: tuple[int, ...] = (1, 2, 5, 10, 15)  # components with which chains begin
    coolest: float = 0.05  # inverse temperature at the beginning of warm-up
    annealed: float = 0.5  # share of warm-up in which it rises to one
    sweeps: int = 3  # for each draw; with 5, iris and crabs take 1.2 to 2.2 times as long to the same diagnostics
    sweeps_later: int = 6  # after the last look for landmarks: chains that need so many draws move slowly
    tries: int = 1  # splits and merges in each sweep
    jumps: int = 1  # in each sweep
    jumps_worth: float = 0.01  # share accepted since a look under which they are tried in one sweep of each draw alone
    looks: tuple[float, ...] = (0.75, 1.0)  # shares of warm-up after which landmarks for the jumps are sought
    later: tuple[int, ...] = (250, 375, 560, 840, 1260)  # draws after which they are sought anew, and then no more
    chunk: int = 5  # draws between two updates of the progress bar


CONSTANTS = Constants()


@named_options()
@dataclass(frozen=True)
class Gibbs:
    """Settings of the Gibbs sampler.

    :param n_draws: kept from each chain, at most.
    :param n_chains: independent chains, from different numbers of components, side by side in threads.
    :param n_warmup: draws' worth of sweeps before these, in which the likelihood is raised to its full power and step sizes
        are adapted; not kept.
    :param sweeps_per_draw: sweeps of which the last is kept; by default 3, and 6 after 1260 draws.
    :param split_merge: changes of the partition, each one or two splits or merges, that are tried in each sweep; by default 1.
    :param stop_early: whether sampling ends after 250, 375, 560, ... draws of each chain, where these pass the diagnostics of
        ``summary``: R-hat at most 1.01 and 400 effective draws of what does not depend on labels and of the clusters that
        at least half of the draws have. False takes all ``n_draws``.
    :param jumps: changes of the whole partition that are tried in each sweep: the rows are assigned anew by a mixture that the
        chains visited before, or by one at a mode of some number of clusters (``gibbs.jumps``), so that chains pass at once
        between numbers and modes that splits and merges hardly join. By default one; where fewer than 1 % were accepted, as in
        many dimensions, one in each draw.
    :param on_interrupt: "raise" ends the fit on Ctrl-C (KeyboardInterrupt); "keep" returns what was drawn after warm-up, with
        a warning, and the tree and its summary say so.
    """

    n_draws: int = 4000
    n_chains: int = 4
    n_warmup: int = 300
    sweeps_per_draw: int | None = None
    split_merge: int | None = None
    stop_early: bool = True
    jumps: int | None = None
    on_interrupt: str = "raise"

    def __post_init__(self) -> None:
        for name in ("n_draws", "n_chains", "n_warmup"):
            check_count(name, getattr(self, name))
        for name, least in (("sweeps_per_draw", 1), ("split_merge", 0), ("jumps", 0)):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), least=least)
        check_flag("stop_early", self.stop_early)
        check_choice("on_interrupt", self.on_interrupt, ON_INTERRUPT)

    def refuses(self, target: Target, start: object = None) -> str | None:
        """Components that are not alike or have no sufficient statistics, weights other than 0 and 1, streams, and starts."""
        if start is not None:
            return "Gibbs begins its chains at different numbers of components; leave start out"
        if target.not_alike:
            return target.not_alike
        if target.structure is None:
            name = "this model" if target.model is None else type(target.model.components).__name__
            return f"Gibbs needs components with sufficient statistics, which those of {name} have not"
        if not isinstance(target.rows, InMemory):
            return "Gibbs keeps the assignment of every row, so that rows must be in memory; fit a sample of them"
        if not np.isin(np.asarray(target.rows.weights), (0.0, 1.0)).all():
            return "Gibbs assigns whole rows, and weights= has others than 0 and 1; repeat the rows"
        return None

    def run(self, target: Target, *, key: Array, start: Mixture | None = None, enough: Enough | None = None) -> Draws:
        """At most ``n_chains`` x ``n_draws`` draws of the posterior."""
        assert isinstance(target.rows, InMemory)
        # The rows are not spread: chains run side by side on one device. Statistics about the origin need double precision.
        target = replace(target, rows=target.rows.on_one_device().in_double())
        key_prior, key_start, key_run = jax.random.split(key, 3)
        with stage("first states of the chains"):
            prior = summarise_prior(target, key=key_prior)
            states = first_states(target, prior, self.n_chains, key=key_start)
        chains = Chains(target, prior, self, states, key=key_run)
        draws_of, described = chains.draw(self.n_warmup, self.n_draws), partial(describe, target)
        return sampled(draws_of, self.n_warmup, self.n_draws, described, enough if self.stop_early else None, self.on_interrupt)


@jax.jit
def _advance(target, prior, carried, key, inverse_temperatures, rates, landmarks, sweeps, with_jumps, n_jumps, n_tries):
    """As many draws of one chain as there are temperatures, each the last of some sweeps; the last ones try jumps."""

    def draw(carry, inputs):
        inverse_temperature, rate, key = inputs

        def one(i, carry):
            state, tuning, _ = carry
            key_sweep = jax.random.fold_in(key, i)
            tried = landmarks, jnp.where(i >= sweeps - with_jumps, n_jumps, 0), n_tries
            return sweep(target, prior, state, tuning, inverse_temperature, rate, *tried, key=key_sweep)

        state, tuning = carry
        state, tuning, record = jax.lax.fori_loop(0, sweeps, one, (state, tuning, no_record(state)))
        return (state, tuning), record

    inputs = (inverse_temperatures, rates, jax.random.split(key, rates.size))
    return jax.lax.scan(draw, carried, inputs)


class Chains:
    """Chains of the sampler, which go on where they are."""

    def __init__(self, target: Target, prior: PriorSummary, settings: Gibbs, states: State, *, key: Array):
        self._target, self._prior, self._key = target, prior, key
        self._sweeps = settings.sweeps_per_draw or CONSTANTS.sweeps
        self._sweeps_later = settings.sweeps_per_draw or CONSTANTS.sweeps_later
        self._n_tries = CONSTANTS.tries if settings.split_merge is None else settings.split_merge
        self._n_jumps = CONSTANTS.jumps if settings.jumps is None else settings.jumps
        self._jumps_in_all, self._adapts_jumps = True, settings.jumps is None  # sweeps, or in the last of a draw
        self._landmarks, self._has_landmarks = none(target.rows.n_places, target.n_components), False
        states, tuning = jax.device_get((states, first_tuning(prior)))
        self._carried = [(jax.tree.map(lambda a: a[i], states), tuning) for i in range(len(states.k))]  # noqa: B023

    def draw(self, n_warmup: int, n_draws: int, *, inverse_temperature: float = 1.0) -> Chunks:
        """Records with axes chain and draw, warm-up first, until ``n_warmup + n_draws`` have come.

        :param inverse_temperature: power to which the likelihood is raised after warm-up.
        """
        size, n_chains, n_steps = CONSTANTS.chunk, len(self._carried), n_warmup + n_draws
        n_often = n_warmup + CONSTANTS.later[-1]
        able = n_warmup and self._n_jumps and self._target.n_components > 1
        steps = [*(share * n_warmup for share in CONSTANTS.looks), *(n_warmup + n for n in CONSTANTS.later)]
        looks = {size * int(step / size) for step in steps if able}
        warm = np.arange(n_steps) / max(n_warmup, 1) + (n_warmup == 0)
        annealed = CONSTANTS.coolest ** np.clip(1 - warm / CONSTANTS.annealed, 0.0, 1.0)
        inverse_temperatures = np.where(warm < 1, inverse_temperature * annealed, inverse_temperature)
        rates = np.where(warm < 1, np.maximum(1.0 / (1 + 10 * warm), 0.02), 0.0)
        shown: list[Record] = []
        recent: list[Record] = []  # at the full power of the likelihood
        with stage(f"{n_chains} chains", total=n_steps, unit="draws"), side_by_side() as each:
            for done in range(0, n_steps, size):
                if done in looks and recent:
                    self._look(recent)
                pad = (0, CONSTANTS.chunk - len(rates[done : done + size]))
                of_draws = [np.pad(a[done : done + size], pad, mode="edge") for a in (inverse_temperatures, rates)]
                self._key, key = jax.random.split(self._key)
                n_jumps = self._n_jumps if self._has_landmarks else 0
                sweeps = self._sweeps if done < n_often else self._sweeps_later
                with_jumps = sweeps if self._jumps_in_all else 1
                given = (*of_draws, self._landmarks, sweeps, with_jumps, n_jumps, self._n_tries)

                def advanced(carried, key):
                    # on the host, as the first states are: where arrays lie elsewhere, JAX compiles anew
                    return jax.device_get(_advance(self._target, self._prior, carried, key, *given))  # noqa: B023

                found = each(advanced, self._carried, jax.random.split(key, n_chains))
                self._carried = [carried for carried, _ in found]
                chunk = jax.tree.map(lambda *parts: np.stack(parts), *(records for _, records in found))
                if done < max(looks, default=0) and warm[done] >= CONSTANTS.annealed:
                    recent.append(chunk)
                advance(min(size, n_steps - done))
                if is_shown():
                    shown.append(chunk)
                    note(_so_far(shown, n_warmup))
                yield chunk

    def _look(self, recent: list[Record]) -> None:
        """Landmarks from where the chains were lately, and how often jumps to them are tried."""
        if self._adapts_jumps and self._has_landmarks:
            since = recent[len(recent) // 2 :]  # about those since the last look
            accepted = np.mean([chunk.jumps_accepted for chunk in since]) / self._n_jumps
            self._jumps_in_all = bool(accepted >= CONSTANTS.jumps_worth)
        self._key, key = jax.random.split(self._key)
        flat = jax.tree.map(lambda *a: np.concatenate(np.concatenate(a, axis=1)), *recent)
        self._landmarks = find_landmarks(self._target, self._prior, flat, key=key)
        self._has_landmarks = bool(np.isfinite(self._landmarks.log_probability).any())


def _so_far(chunks: list[Record], n_warmup: int) -> str:
    """What the progress says of the draws so far."""
    k_plus = np.concatenate([chunk.occupied.sum(-1) for chunk in chunks], axis=1)[:, n_warmup:]
    log_likelihood = np.concatenate([chunk.log_likelihood for chunk in chunks], axis=1)[:, n_warmup:]
    if not k_plus.size:
        return "warm-up"
    most = np.bincount(k_plus.ravel()).argmax()
    return f"K+ = {most} in {np.mean(k_plus == most):.0%}, R-hat {split_r_hat(log_likelihood):.2f}"


def first_states(target: Target, prior: PriorSummary, n_chains: int, *, key: Array) -> State:
    """States with different numbers of occupied components, about k-means++ seeds; a leading axis."""
    k = np.minimum(np.resize(CONSTANTS.starts, n_chains), target.n_components)
    key_rows, key_chains = jax.random.split(key)
    x, c = some_rows(target.rows, SEEDING_ROWS, key=key_rows)
    return _first_states(target, prior, x, c, jnp.asarray(k), jax.random.split(key_chains, n_chains))


@one_off
def _first_states(target: Target, prior: PriorSummary, x, c, k: Int[Array, " c"], keys: Array) -> State:
    m = target.n_components
    concentration = target.weights_prior.concentration
    assert isinstance(target.rows, InMemory)
    rows = target.rows
    log_alpha = jnp.log(float(concentration) if is_number(concentration) else jnp.ones(()))

    def of_chain(k: Int[Array, ""], key: Array) -> State:
        key_seed, key_rows = jax.random.split(key)
        means, distance = seeds(x, c, m, key=key_seed)
        exists = jnp.where(jnp.arange(m) < k, 0.0, -jnp.inf)
        spheres = target.like(around(means, distance))
        densities = spheres.components.natural(jnp.zeros(m))
        assert isinstance(densities, Linear)
        statistics = kernel.draw_complete_data(densities, exists, rows, key=key_rows).statistics
        z = jnp.broadcast_to(prior.centre, (m, target.n_dim_component))
        if prior.mean_at is not None:
            z = z.at[:, prior.mean_at : prior.mean_at + means.shape[1]].set(target.in_program_units(means))
        return State(k, jax.nn.log_softmax(exists + jnp.log(statistics[:, 0] + 1)), z, prior.shared, log_alpha)

    return jax.vmap(of_chain)(k, keys)
