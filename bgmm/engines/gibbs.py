"""Gibbs sampling of a mixture whose number of components is unknown (or given): the telescoping sampler on declared priors.

Fruehwirth-Schnatter, Malsiner-Walli and Gruen (2021), with whatever priors the family declares. A sweep is: assignments (and
missing values) given the mixture, in one pass; split-merge moves of the partition; the occupied components by HMC given
their sufficient statistics, and their hyperparameters; K, the concentration and the weights given the partition; and the
components that hold no row, from their prior. Everything is tuned in warm-up only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm.auto import tqdm

from bgmm.core import gaussian, one_pass
from bgmm.core.checks import check_count
from bgmm.core.devices import map_on_each
from bgmm.core.slots import Slots
from bgmm.engines import telescope
from bgmm.engines.draws import Draws
from bgmm.engines.frame import Frame, make_frame
from bgmm.engines.hmc import N_SIZES, adapted, move_components, move_shared, size_class
from bgmm.engines.records import Record, State, describe
from bgmm.engines.split_merge import Partition, jump
from bgmm.engines.starts import around, seeds, some_rows


class Steps(NamedTuple):
    """What warm-up tunes: logarithms of the step sizes of HMC, and the moments of the hyperparameters, which whiten them."""

    own: Float[Array, " sizes"]
    shared: Float[Array, ""]
    mean: Float[Array, " h"]
    covariance: Float[Array, "h h"]


def first_steps(frame: Frame) -> Steps:
    """Steps at the beginning of warm-up: the hyperparameters have their prior's spread."""
    return Steps(jnp.full(N_SIZES, -0.5, float), jnp.array(-0.5, float), frame.shared, jnp.diag(jnp.square(frame.shared_sd)))


_STARTS = (1, 2, 5, 10, 15)  # components with which chains begin
_COOLEST = 0.05  # power of the likelihood at the beginning of warm-up
_ANNEALED = 0.5  # share of warm-up in which it rises to one
_SWEEPS = {False: 5, True: 10}  # a draw, of a given number of components and of an unknown one
_TRIES = {False: 1, True: 3}  # splits and merges in each
_CHUNK = 50  # draws between two looks of the progress bar
_SEEDING = 4096  # rows among which seeds are chosen


@dataclass(frozen=True)
class Gibbs:
    """Settings of the Gibbs sampler.

    :param n_draws: kept from each chain.
    :param n_chains: independent chains, from different numbers of components, shared out among the devices.
    :param n_warmup: draws' worth of sweeps before these, in which the likelihood is raised to its full power and step sizes
        are adapted; not kept.
    :param sweeps_per_draw: sweeps of which the last is kept; by default 10 where the number of components is unknown, else 5.
    :param split_merge: changes of the partition, each one or two splits or merges, that are tried in each sweep; by default 3
        where the number of components is unknown, else 1.
    """

    n_draws: int = 1000
    n_chains: int = 4
    n_warmup: int = 500
    sweeps_per_draw: int | None = None
    split_merge: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_draws", "n_chains", "n_warmup"):
            check_count(name, getattr(self, name))
        for name, least in (("sweeps_per_draw", 1), ("split_merge", 0)):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), least=least)

    def run(self, target: Slots, *, key: Array) -> Draws:
        """``n_chains`` x ``n_draws`` draws of the posterior."""
        key_frame, key_start, key_run = jax.random.split(key, 3)
        frame = make_frame(target, key=key_frame)
        states = first_states(target, frame, self.n_chains, key=key_start)
        records = sample_from(target, frame, self, states, key=key_run)
        return describe(target, records)


def sweep(
    slots: Slots, frame: Frame, state: State, steps: Steps, power: Float[Array, ""], rate: Float[Array, ""], tries: int, *, key
) -> tuple[State, Steps, Record]:
    """One sweep under the likelihood to some power; step sizes are adapted at a rate, none when it is zero."""
    keys = dict(zip(("rows", "moves", "h", "z", "k", "alpha", "w", "prior"), jax.random.split(key, 8), strict=True))
    weights, alpha, m = slots.model.weights, jnp.exp(state.log_alpha), slots.n_components

    def eta_of(z):
        component = slots.component(z, state.h)
        return slots.natural(component.mean, component.scale_tril)

    eta = (power * jax.vmap(eta_of)(state.z)).at[:, 0].add(state.log_w)
    complete = one_pass.drawn(eta, slots.blocks, key=keys["rows"])
    at, log_w = _occupied_first(Partition(complete.z, complete.statistics, state.z), state.log_w)
    record = Record(
        state=State(state.k, log_w, at.z, state.h, state.log_alpha),
        occupied=at.statistics[:, 0] > 0,
        log_likelihood=complete.log_likelihood + slots.log_volume,
        acceptance=jnp.zeros(()),
        moved=jnp.zeros(()),
    )
    if tries:

        def attempt(at, key):
            return jump(slots, frame, complete.x, at, state.h, alpha, power, key=key)

        at, accepted = jax.lax.scan(attempt, at, jax.random.split(keys["moves"], tries))
        at, _ = _occupied_first(at, log_w)
        record = record._replace(moved=accepted.sum().astype(float))

    counts, z, h = at.statistics[:, 0], at.z, state.h
    held = (counts > 0).astype(float)
    shared, mean_h, covariance = steps.shared, steps.mean, steps.covariance
    if slots.n_shared:
        factor = jnp.linalg.cholesky(covariance)
        h, accepted = move_shared(slots, z, h, at.statistics, power, factor, jnp.exp(shared), key=keys["h"])
        shared = adapted(shared, accepted, jnp.ones(()), rate)
        away = h - mean_h  # Andrieu and Thoms (2008), algorithm 4
        mean_h = mean_h + rate * away
        covariance = (1 - rate) * covariance + rate * (jnp.outer(away, away) + 1e-6 * jnp.diag(jnp.square(frame.shared_sd)))
    z, accepted = move_components(slots, frame, z, h, at.statistics, jnp.exp(steps.own), power, key=keys["z"])
    of_size = (size_class(counts)[:, None] == jnp.arange(N_SIZES)[None]) * held[:, None]
    number = of_size.sum(0)
    mean = accepted @ of_size / jnp.maximum(number, 1.0)
    own = adapted(steps.own, mean, jnp.minimum(number, 1.0), rate)

    k = telescope.draw_k(weights, counts, alpha, key=keys["k"])
    log_alpha = telescope.draw_alpha(weights, counts, k, state.log_alpha, key=keys["alpha"])
    log_w = telescope.draw_log_weights(weights, counts, k, jnp.exp(log_alpha), key=keys["w"])
    unseen = jax.vmap(lambda key: slots.draw(h, key=key)[0])(jax.random.split(keys["prior"], m))
    state = State(k, log_w, jnp.where(held[:, None] > 0, z, unseen), h, log_alpha)
    return (
        state,
        Steps(own, shared, mean_h, covariance),
        record._replace(acceptance=(accepted @ held) / jnp.maximum(held.sum(), 1.0)),
    )


def _occupied_first(at: Partition, log_w: Float[Array, " m"]) -> tuple[Partition, Float[Array, " m"]]:
    """The slots that hold rows before those that hold none, otherwise in their order."""
    order = jnp.argsort(at.statistics[:, 0] == 0, stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size))
    return Partition(rank[at.rows], at.statistics[order], at.z[order]), log_w[order]


@partial(jax.jit, static_argnames=("sweeps", "tries"))
def _advance(slots, frame, states, steps, powers, rates, keys, *, sweeps: int, tries: int):
    """As many draws of all chains as there are ``powers``, each the last of some sweeps."""

    def of_chain(chain):
        state, steps, key = chain

        def draw(carry, given):
            power, rate, key = given

            def one(i, carry):
                state, steps, _ = carry
                return sweep(slots, frame, state, steps, power, rate, tries, key=jax.random.fold_in(key, i))

            state, steps = carry
            shapes = jax.eval_shape(lambda: one(0, (state, steps, None)))[2]
            nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
            state, steps, record = jax.lax.fori_loop(0, sweeps, one, (state, steps, nothing))
            return (state, steps), record

        return jax.lax.scan(draw, (state, steps), (powers, rates, jax.random.split(key, powers.size)))

    return map_on_each(of_chain, (states, steps, keys))


def sample_from(slots: Slots, frame: Frame, settings: Gibbs, states: State, *, key: Array, power: float = 1.0) -> Record:
    """Chains from their states (a leading axis), the likelihood raised to ``power``: records with axes chain and draw."""
    n_chains, n_steps = len(states.k), settings.n_warmup + settings.n_draws
    warm = np.arange(n_steps) / settings.n_warmup
    annealed = _COOLEST ** np.clip(1 - warm / _ANNEALED, 0.0, 1.0)
    powers = np.where(warm < 1, power * annealed, power)
    rates = np.where(warm < 1, np.maximum(1.0 / (1 + 10 * warm), 0.02), 0.0)
    steps = jax.tree.map(lambda a: jnp.stack([a] * n_chains), first_steps(frame))
    unknown = slots.random_k or slots.model.weights.law == "process"
    sweeps = settings.sweeps_per_draw or _SWEEPS[unknown]
    tries = _TRIES[unknown] if settings.split_merge is None else settings.split_merge
    tries = tries if slots.n_components > 1 else 0
    chunks = []
    with tqdm(total=n_steps, desc="Gibbs", unit="draw", disable=None, leave=False) as progress:
        for done in range(0, n_steps, _CHUNK):
            some = slice(done, done + _CHUNK)
            pad = (0, max(0, done + _CHUNK - n_steps))
            of_draw = (jnp.asarray(np.pad(a[some], pad, mode="edge")) for a in (powers, rates))
            keys = jax.random.split(jax.random.fold_in(key, done), n_chains)
            # back from the devices, on which they would be spread and the first are not: or all would be compiled twice
            states, steps = jax.device_get((states, steps))
            (states, steps), chunk = _advance(slots, frame, states, steps, *of_draw, keys, sweeps=sweeps, tries=tries)
            if done + _CHUNK > settings.n_warmup:
                chunks.append((done, jax.device_get(chunk)))
            progress.update(min(_CHUNK, n_steps - done))
    first = settings.n_warmup - chunks[0][0]
    parts = [chunk for _, chunk in chunks]
    return jax.tree.map(lambda *a: np.concatenate(a, axis=1)[:, first : first + settings.n_draws], *parts)


def first_states(slots: Slots, frame: Frame, n_chains: int, *, key: Array) -> State:
    """States with different numbers of occupied components, about k-means++ seeds; a leading axis."""
    k = np.minimum(np.resize(_STARTS, n_chains), slots.n_components)
    key_rows, key_chains = jax.random.split(key)
    x, c = some_rows(slots.blocks, _SEEDING, key=key_rows)
    return _first_states(slots, frame, x, c, jnp.asarray(k), jax.random.split(key_chains, n_chains))


@jax.jit
def _first_states(slots: Slots, frame: Frame, x, c, k: Int[Array, " c"], keys: Array) -> State:
    m = slots.n_components
    concentration = slots.model.weights.concentration
    log_alpha = jnp.log(float(concentration) if isinstance(concentration, float | int) else jnp.ones(()))

    def of_chain(k, key):
        key_seed, key_rows = jax.random.split(key)
        means, distance = seeds(x, c, m, key=key_seed)
        spheres = around(means, distance)
        there = jnp.where(jnp.arange(m) < k, 0.0, -jnp.inf)
        eta = gaussian.natural(spheres._replace(log_weights=jnp.zeros(m))).at[:, 0].add(there)
        statistics = one_pass.drawn(eta, slots.blocks, key=key_rows).statistics
        z = jnp.broadcast_to(frame.centre, (m, slots.n_own))
        if slots.mean_at is not None:
            at = slice(slots.mean_at, slots.mean_at + means.shape[1])
            z = z.at[:, at].set(means * slots.scaling.scale + slots.scaling.centre)
        return State(k, jax.nn.log_softmax(there + jnp.log(statistics[:, 0] + 1)), z, frame.shared, log_alpha)

    return jax.vmap(of_chain)(k, keys)
