"""EM: maximum likelihood, or the posterior mode under whatever priors the program declares.

Dempster, Laird and Rubin (1977). The E-step is one pass over the data and leaves the expected statistics S. The M-step
maximises log prior(z) + <S, eta(z)>, which no longer touches the data and asks nothing of the priors; with ``prior=False``
and a family that has one, it is the closed form instead. ``climb`` says how few of these steps are enough.

A prior of few clusters, with a concentration under one, has no mode: its density grows without bound as a weight vanishes.
Weights of at least a hundredth of a row are sought then, and components that end there are said to be emptied; such a prior
rewards each of them with about (1 - concentration) log(100 n) nats, n the rows that it would have had. That is less than a
component gains by a shape of its own for some rows, so the mode of an overfitted mixture still uses most of what it is given:
how many clusters there are is a question for draws, not for a mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bgmm.core.checks import check_choice, check_count, check_positive
from bgmm.core.gaussian import Parameters
from bgmm.core.target import Target
from bgmm.engines.climb import Aim, Climb, climb, distinct, heights
from bgmm.engines.draws import Draws, from_unconstrained
from bgmm.engines.modes import moved
from bgmm.engines.starts import STARTS, first_guesses

_LEAST_ROWS = 0.01  # expected of a component, at least
_EMPTIED = 2.0  # times as many rows, under which a component counts as emptied


@dataclass(frozen=True)
class EM:
    """Settings of EM.

    :param prior: True for the posterior mode (MAP) of the declared sites, False for maximum likelihood.
    :param n_starts: restarts, in one compiled batch; of many rows, only the best after a look at some of them go on.
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

    def __post_init__(self) -> None:
        check_count("n_starts", self.n_starts)
        check_choice("starts", self.starts, STARTS)
        check_count("max_steps", self.max_steps)
        check_positive("tolerance", self.tolerance)

    def run(self, target: Target, *, key: Array, start: Parameters | None = None) -> Draws:
        """One draw: the best of the restarts, or of the one start that is given."""
        n_rows = target.blocks.total_weight
        if self.prior:
            target = replace(target, least_weight=jnp.asarray(_LEAST_ROWS / n_rows))
        aim = Aim(prior=self.prior, max_steps=self.max_steps, tolerance=self.tolerance)
        key_guess, key_climb = jax.random.split(key)
        guesses = first_guesses(target, self.n_starts, self.starts, start, key=key_guess)
        target, climbs = climb(target, aim, guesses, key=key_climb)
        height = heights(climbs)
        modes = distinct(height, ~np.asarray(climbs.collapsed))
        best = int(modes[0][0])
        found = jax.tree.map(lambda a: np.asarray(a)[best], climbs)
        stats = {
            "lp": found.objective[None, None],
            "gradient_norm": found.gradient_norm[None, None],
            "n_passes": found.n_passes[None, None],
            "converged": found.converged[None, None],
            "n_emptied": np.sum(float(n_rows) * np.exp(found.mixture.log_weights) < _EMPTIED * _LEAST_ROWS)[None, None],
            "start_objective": np.asarray(climbs.objective),
            "start_collapsed": np.asarray(climbs.collapsed),
            "mode_log_posterior": np.array([height[mode[0]] for mode in modes]),
            "mode_starts": np.array([len(mode) for mode in modes]),
            "mode_moved": moved(target, jax.tree.map(lambda a: np.asarray(a)[[mode[0] for mode in modes]], climbs.mixture)),
        }
        if found.z.size or not target.n_dim:
            mixture, sites, log_prior = from_unconstrained(target, jnp.asarray(found.z)[None, None])
            stats["log_prior"] = log_prior
        else:
            mixture, sites = jax.tree.map(lambda a: a[None, None], found.mixture), {}
        dims = {f"start_{name}": ["start"] for name in ("objective", "collapsed")}
        dims |= {f"mode_{name}": ["mode_rank"] for name in ("log_posterior", "starts", "moved")}
        return Draws(mixture, sites, stats, dims, self._warnings(found))

    def _warnings(self, found: Climb) -> list[str]:
        said = []
        if not (found.converged or found.collapsed):
            said.append(
                f"EM did not converge in {self.max_steps} steps; raise max_steps, or ask for fewer components"
                if found.n_passes >= self.max_steps
                else f"EM could climb no further after {found.n_passes} steps, a gradient of {found.gradient_norm:.1g} left: "
                "the posterior is too steep there for the digits of its sum over the rows; ask for fewer components"
            )
        if found.collapsed:
            said.append(
                "every start ended with a component at the resolution of the data (a near-constant column, collinear "
                "columns, or too many components); use EM(prior=True), or fewer components"
            )
        return said
