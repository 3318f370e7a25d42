"""The chains of Gibbs: their first states, an annealed warm-up, and looks for landmarks of the jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from bgmm.core import kernel
from bgmm.core.checks import is_number
from bgmm.core.gaussians import Linear
from bgmm.core.in_memory import InMemory
from bgmm.core.one_off import one_off
from bgmm.core.progress import advance, is_shown, note, split_r_hat, stage
from bgmm.core.threads import side_by_side
from bgmm.engines.chains import Chunks, stopping_points
from bgmm.engines.gibbs.jumps import none
from bgmm.engines.gibbs.landmarks import find_landmarks
from bgmm.engines.gibbs.reference import PriorSummary
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
    later: tuple[int, ...] = tuple(stopping_points(1261))  # draws after which they are sought anew, and then no more
    chunk: int = 5  # draws between two updates of the progress bar


CONSTANTS = Constants()


class Tries(NamedTuple):
    """How often the sweeps of a draw try what changes the partition."""

    with_jumps: int  # sweeps, the last ones
    n_jumps: int  # in each of these
    n_tries: int  # splits and merges in every sweep


@jax.jit
def _advance(target, prior, carried, inverse_temperatures, rates, landmarks, sweeps, tries, *, key):
    """As many draws of one chain as there are temperatures, each the last of some sweeps."""

    def draw(carry, inputs):
        inverse_temperature, rate, key = inputs

        def one(i, carry):
            state, tuning, _ = carry
            n_jumps = jnp.where(i >= sweeps - tries.with_jumps, tries.n_jumps, 0)
            chosen = rate, landmarks, n_jumps, tries.n_tries
            return sweep(target, prior, state, tuning, inverse_temperature, *chosen, key=jax.random.fold_in(key, i))

        state, tuning = carry
        state, tuning, record = jax.lax.fori_loop(0, sweeps, one, (state, tuning, no_record(state)))
        return (state, tuning), record

    inputs = (inverse_temperatures, rates, jax.random.split(key, rates.size))
    return jax.lax.scan(draw, carried, inputs)


class Chains:
    """Chains of the sampler, which go on where they are.

    :param sweeps_per_draw: as in ``Gibbs``, ``split_merge`` and ``jumps`` too; None stands for its default.
    """

    def __init__(
        self,
        target: Target,
        prior: PriorSummary,
        states: State,
        *,
        sweeps_per_draw: int | None = None,
        split_merge: int | None = None,
        jumps: int | None = None,
        key: Array,
    ):
        self._target, self._prior, self._key = target, prior, key
        self._sweeps = sweeps_per_draw or CONSTANTS.sweeps
        self._sweeps_later = sweeps_per_draw or CONSTANTS.sweeps_later
        self._n_tries = CONSTANTS.tries if split_merge is None else split_merge
        self._n_jumps = CONSTANTS.jumps if jumps is None else jumps
        self._jumps_in_all, self._adapts_jumps = True, jumps is None  # sweeps, or in the last of a draw
        self._landmarks, self._has_landmarks = none(target.rows.n_places, target.n_components), False
        states, tuning = jax.device_get((states, first_tuning(prior)))
        self._carried = [(jax.tree.map(lambda a: a[i], states), tuning) for i in range(len(states.k))]  # noqa: B023

    def draw(self, n_warmup: int, n_draws: int, *, inverse_temperature: float = 1.0) -> Chunks:
        """Records with axes chain and draw, warm-up first, until ``n_warmup + n_draws`` have come.

        :param inverse_temperature: power to which the likelihood is raised after warm-up.
        """
        size, n_steps = CONSTANTS.chunk, n_warmup + n_draws
        inverse_temperatures, rates = _schedule(n_warmup, n_steps, inverse_temperature)
        looks = self._steps_of_looks(n_warmup)
        shown: list[Record] = []
        recent: list[Record] = []  # at the full power of the likelihood
        with stage(f"{len(self._carried)} chains", total=n_steps, unit="draws"), side_by_side() as each:
            for done in range(0, n_steps, size):
                if done in looks and recent:
                    self._look(recent)
                pad = (0, size - len(rates[done : done + size]))
                of_draws = [np.pad(a[done : done + size], pad, mode="edge") for a in (inverse_temperatures, rates)]
                early = done < n_warmup + CONSTANTS.later[-1]
                chunk = self._chunk(each, of_draws, self._sweeps if early else self._sweeps_later)
                if CONSTANTS.annealed * n_warmup <= done < max(looks, default=0):
                    recent.append(chunk)
                advance(min(size, n_steps - done))
                if is_shown():
                    shown.append(chunk)
                    note(_so_far(shown, n_warmup))
                yield chunk

    def _steps_of_looks(self, n_warmup: int) -> set[int]:
        """The steps before which landmarks are sought."""
        if not (n_warmup and self._n_jumps and self._target.n_components > 1):
            return set()
        steps = [*(share * n_warmup for share in CONSTANTS.looks), *(n_warmup + n for n in CONSTANTS.later)]
        return {CONSTANTS.chunk * int(step / CONSTANTS.chunk) for step in steps}

    def _chunk(self, each: Callable, of_draws: list[np.ndarray], sweeps: int) -> Record:
        """The next draws of all chains, with axes chain and draw; ``of_draws`` holds their inverse temperatures and rates."""
        self._key, key = jax.random.split(self._key)
        tries = Tries(sweeps if self._jumps_in_all else 1, self._n_jumps if self._has_landmarks else 0, self._n_tries)

        def advanced(carried, key):
            # on the host, as the first states are: where arrays lie elsewhere, JAX compiles anew
            of_all = self._landmarks, sweeps, tries
            return jax.device_get(_advance(self._target, self._prior, carried, *of_draws, *of_all, key=key))

        found = each(advanced, self._carried, jax.random.split(key, len(self._carried)))
        self._carried = [carried for carried, _ in found]
        return jax.tree.map(lambda *parts: np.stack(parts), *(records for _, records in found))

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


def _schedule(n_warmup: int, n_steps: int, inverse_temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The power to which the likelihood is raised in each step, and the rate at which step sizes are adapted."""
    warm = np.arange(n_steps) / max(n_warmup, 1) + (n_warmup == 0)
    annealed = CONSTANTS.coolest ** np.clip(1 - warm / CONSTANTS.annealed, 0.0, 1.0)
    inverse_temperatures = np.where(warm < 1, inverse_temperature * annealed, inverse_temperature)
    return inverse_temperatures, np.where(warm < 1, np.maximum(1.0 / (1 + 10 * warm), 0.02), 0.0)


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
