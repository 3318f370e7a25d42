"""EM: maximum likelihood, or the posterior mode under whatever priors the program declares.

Dempster, Laird and Rubin (1977). The E-step is one pass over the data and leaves the expected statistics S. The M-step
maximises log prior(z) + <S, eta(z)>, which no longer touches the data and asks nothing of the priors; with ``prior=False``
and a family that has one, it is the closed form instead. ``optimise.search`` says how few of these steps are enough.

A prior of few clusters, with a concentration under one, has no mode: its density grows without bound as a weight vanishes.
Weights of at least a hundredth of a row are sought then, and components that end there are said to be emptied; such a prior
rewards each of them with about (1 - concentration) log(100 n) nats, n the rows that it would have had. That is less than a
component gains by fitting a few rows, so the mode of an overfitted mixture keeps most of its components: use draws, not the
mode, to estimate the number of clusters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Array

from bgmm.core.checks import check_choice, check_count, check_flag, check_positive
from bgmm.core.components import Mixture
from bgmm.core.options import named_options
from bgmm.engines.base import Draws, Enough, from_unconstrained, needs_given_k
from bgmm.engines.optimise.modes import share_moved
from bgmm.engines.optimise.objective import Objective, Optimum
from bgmm.engines.optimise.search import distinct, heights, search
from bgmm.engines.optimise.starts import STARTS, first_guesses
from bgmm.program.target import Target

_LEAST_ROWS = 0.01  # expected of a component, at least
_EMPTIED = 2.0  # times as many rows, under which a component counts as emptied


@named_options()
@dataclass(frozen=True)
class EM:
    """Settings of EM.

    The tree holds AIC, BIC and ICL, with the log likelihood at the mode: under ``prior=True`` that is not the largest, so
    compare them among fits with equal priors, or use ``prior=False``.

    :param prior: True for the posterior mode (MAP) of the declared sites, False for maximum likelihood.
    :param n_starts: restarts, in one compiled batch; with many rows they run on a subsample, and the best continue on all rows.
    :param starts: what they begin from: "k-means++" seeds (Arthur and Vassilvitskii 2007), "random" assignments, or the one
        "hierarchical" clustering (Ward) of up to 2000 rows. ``fit(start=...)`` gives a beginning of your own instead.
    :param max_steps: passes over the data, for each start.
    :param tolerance: nats still to gain at which maximum likelihood stops. The posterior mode is sought to the last digit.
    """

    prior: bool = True
    n_starts: int = 10
    starts: str = "k-means++"
    max_steps: int = 5000
    tolerance: float = 1e-9

    n_draws: ClassVar[int] = 1  # what the tree holds

    def __post_init__(self) -> None:
        check_flag("prior", self.prior)
        check_count("n_starts", self.n_starts)
        check_choice("starts", self.starts, STARTS)
        check_count("max_steps", self.max_steps)
        check_positive("tolerance", self.tolerance)

    def refuses(self, target: Target, start: object = None) -> str | None:
        """A random number of components."""
        return needs_given_k(self, target)

    def run(self, target: Target, *, key: Array, start: Mixture | None = None, enough: Enough | None = None) -> Draws:
        """One draw: the best of the restarts, or of the one start that is given."""
        n_rows = float(target.rows.total_weight)
        if self.prior:
            target = replace(target, least_weight=jax.device_put(np.array(_LEAST_ROWS / n_rows)))
        objective = Objective(prior=self.prior, max_steps=self.max_steps, tolerance=self.tolerance)
        key_guess, key_search = jax.random.split(key)
        guesses = first_guesses(target, self.n_starts, self.starts, start, key=key_guess)
        target, optima = search(target, objective, guesses, key=key_search, moves=start is None)
        height = heights(optima)
        modes = distinct(height, ~np.asarray(optima.collapsed))
        best = int(modes[0][0])
        found = jax.tree.map(lambda a: np.asarray(a)[best], optima)
        mixtures = jax.tree.map(lambda a: np.asarray(a)[[mode[0] for mode in modes]], optima.mixture)
        stats = {
            "lp": found.objective[None, None],
            "gradient_norm": found.gradient_norm[None, None],
            "n_passes": found.n_passes[None, None],
            "converged": found.converged[None, None],
            "n_emptied": np.sum(n_rows * np.exp(found.mixture.log_weights) < _EMPTIED * _LEAST_ROWS)[None, None],
            "start_objective": np.asarray(optima.objective),
            "start_collapsed": np.asarray(optima.collapsed),
            "mode_log_posterior": np.array([height[mode[0]] for mode in modes]),
            "mode_starts": np.array([len(mode) for mode in modes]),
            "mode_moved": share_moved(target, mixtures),
        }
        dims = {f"start_{name}": ["start"] for name in ("objective", "collapsed")}
        dims |= {f"mode_{name}": ["mode_rank"] for name in ("log_posterior", "starts", "moved")}
        if objective.is_closed_form(target):
            mixture = jax.tree.map(lambda a: a[None, None], found.mixture)
            return Draws("mode", mixture, {}, None, stats, dims, self._warnings(found, target.rows.dtype))
        mixture, sites, log_prior = from_unconstrained(target, found.z[None, None])
        return Draws("mode", mixture, sites, log_prior, stats, dims, self._warnings(found, target.rows.dtype))

    def _warnings(self, found: Optimum, dtype: np.dtype) -> list[str]:
        warnings = []
        remedy = 'leave out dtype="float32"' if dtype == np.float32 else "ask for fewer components"
        if not (found.converged or found.collapsed):
            warnings.append(
                f"EM did not converge in {self.max_steps} steps; raise max_steps, or ask for fewer components"
                if found.n_passes >= self.max_steps
                else f"EM stopped after {found.n_passes} steps with a gradient of {found.gradient_norm:.1g} left: the "
                f"posterior is too steep there for the digits of its sum over the rows; {remedy}"
            )
        if found.collapsed:
            warnings.append(
                "every start ended with a component at the resolution of the data (a near-constant column, collinear "
                "columns, or too many components); use EM(prior=True), or fewer components"
            )
        return warnings
