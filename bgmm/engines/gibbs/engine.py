"""The Gibbs engine: its settings, and a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Array

from bgmm.core.checks import check_choice, check_count, check_flag
from bgmm.core.components import Mixture
from bgmm.core.in_memory import InMemory
from bgmm.core.options import named_options
from bgmm.core.progress import stage
from bgmm.engines.base import Draws, Enough
from bgmm.engines.chains import ON_INTERRUPT, sampled
from bgmm.engines.gibbs.draws import describe
from bgmm.engines.gibbs.reference import summarise_prior
from bgmm.engines.gibbs.sampler import Chains, first_states
from bgmm.program.target import Target


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
        sweeps, tries, jumps = self.sweeps_per_draw, self.split_merge, self.jumps
        chains = Chains(target, prior, states, sweeps_per_draw=sweeps, split_merge=tries, jumps=jumps, key=key_run)
        draws_of, described = chains.draw(self.n_warmup, self.n_draws), partial(describe, target)
        return sampled(draws_of, self.n_warmup, self.n_draws, described, enough if self.stop_early else None, self.on_interrupt)
