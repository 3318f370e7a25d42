r"""The evidence of a mixture with K components: the density of the data with all parameters integrated out,

.. math:: p(y \mid K) = \int p(y \mid z) p(z) \, dz = K! \int_D p(y, z) \, dz,

over unconstrained parameters z, where D is the domain of one labelling (``importance.labelling``). The integral over D is
estimated by importance sampling from t distributions at the modes (``importance.proposal``). The Pareto shape k-hat measures
how heavy the tail of the importance weights is. Where k-hat exceeds 0.7 (Vehtari, Simpson, Gelman, Yao and Gabry 2024),
tempered sequential Monte Carlo (``tempered_smc``) estimates the integral instead.

The same draws estimate the probability that every component holds a row, which the evidence of partitions needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import gammaln

from bgmm.core.checks import check_count, numpy_generator
from bgmm.core.importance import LARGEST_K_HAT, log_mean, smoothed_weights
from bgmm.core.options import named_options
from bgmm.core.progress import stage
from bgmm.engines.evidence.tempered_smc import tempered_smc
from bgmm.engines.importance.labelling import in_domain
from bgmm.engines.importance.proposal import Normals, cover, log_densities
from bgmm.engines.laplace import Laplace
from bgmm.engines.optimise.modes import find_modes
from bgmm.engines.variational.density import LogPosterior, log_posteriors
from bgmm.engines.variational.occupied import row_counts
from bgmm.engines.vi import VI
from bgmm.program.target import Target

_MIN_MASS = 1e-6  # modes with a smaller Laplace mass are left out
_INFLATION = 1.2  # of the Laplace scales, whose tails are too short where a component holds few rows
_N_BATCHES = 8  # independent estimates, whose spread gives the standard error


class Estimate(NamedTuple):
    """The evidence of one number of components. It is a density in the units in which the program sees the rows."""

    log_evidence: Float[np.ndarray, " batch"]  # of each batch of draws; the evidence is the mean of their exponentials
    log_filled: Float[np.ndarray, " batch"]  # log p(y, every component holds a row), of each batch
    k_hat: float  # Pareto shape of the importance weights, whether or not they were used
    n_temperatures: int  # of tempered SMC; zero where importance sampling was used
    n_modes: int

    def times(self, log_factor: float) -> Estimate:
        """The estimate times exp(``log_factor``), such as the volume factor of other units."""
        return self._replace(log_evidence=self.log_evidence + log_factor, log_filled=self.log_filled + log_factor)


@named_options()
@dataclass(frozen=True)
class Evidence:
    """Settings of ``log_evidence``.

    :param n_draws: number of draws for importance sampling.
    :param n_particles: number of draws for tempered sequential Monte Carlo, which is used where importance sampling is not
        reliable.
    :param n_starts: number of restarts of the search for modes. Where components overlap there are many modes, and those that
        are missed are missing in the evidence: of Old Faithful with 5 components, 128 starts find three times that of 32.
    """

    n_draws: int = 16384
    n_particles: int = 2048
    n_starts: int = 32

    def __post_init__(self) -> None:
        for name in ("n_draws", "n_particles"):
            check_count(name, getattr(self, name), least=32 * _N_BATCHES)
        check_count("n_starts", self.n_starts)

    def run(self, target: Target, *, key: Array) -> Estimate:
        """Estimate the evidence of a target whose components are alike.

        Modes get draws by the square root of their Laplace masses: these are rough, and a mode whose mass is underestimated
        still gets some.
        """
        key_modes, key_numpy, key_rows = jax.random.split(key, 3)
        rng = numpy_generator(key_numpy)
        target, modes = find_modes(target, self.n_starts, key=key_modes)
        kept = modes.mass >= _MIN_MASS
        normals = Normals(modes.z[kept], modes.factor[kept], 0.5 * np.log(modes.mass[kept]))
        proposal, domain, *_ = cover(target, normals, inflation=_INFLATION, rng=rng)
        n_each = self.n_draws // _N_BATCHES
        log_n_labellings = gammaln(target.n_components + 1)  # log K!

        z, _ = proposal.draw(n_each * _N_BATCHES, rng=rng)
        with stage(f"{len(z)} weighted draws"):
            log_p, filled = np.asarray(log_posteriors(LogPosterior(target), jnp.asarray(z))), _are_filled(target, z, key_rows)
        counted = in_domain(target, domain, z) & np.isfinite(log_p)
        log_w = np.where(counted, log_p - log_densities(proposal, z), -np.inf)
        estimate = _by_importance(log_w, filled, len(modes.mass))
        if not estimate.k_hat <= LARGEST_K_HAT:
            n_particles = self.n_particles // _N_BATCHES
            with stage("tempered Monte Carlo"):
                log_evidence, z, n_temperatures = tempered_smc(target, proposal, domain, _N_BATCHES, n_particles, rng=rng)
            filled = _are_filled(target, z.reshape(-1, z.shape[-1]), key_rows)
            with np.errstate(divide="ignore"):
                log_filled = log_evidence + np.log(filled.reshape(_N_BATCHES, -1).mean(1))
            estimate = Estimate(log_evidence, log_filled, estimate.k_hat, n_temperatures, len(modes.mass))
        return estimate.times(log_n_labellings)


def estimate_by(engine: Laplace | VI, target: Target, *, key: Array) -> Estimate:
    """The evidence from the weighted draws of Laplace's approximation or variational inference."""
    key_draws, key_rows = jax.random.split(key)
    target, weighted = engine.weighted(target, key=key_draws)
    n_modes = len(weighted.stats.get("mode_elbo", [0]))
    return _by_importance(weighted.log_ratio, _are_filled(target, weighted.z, key_rows), n_modes).times(
        weighted.log_n_labellings
    )


def _by_importance(log_w: Float[np.ndarray, " s"], filled: Bool[np.ndarray, " s"], n_modes: int) -> Estimate:
    """The estimate of batches of weighted draws, of one labelling."""
    batches = np.array_split(np.arange(len(log_w)), _N_BATCHES)
    log_filled = np.where(filled, log_w, -np.inf)
    log_evidence, log_filled = (np.array([log_mean(values[batch]) for batch in batches]) for values in (log_w, log_filled))
    return Estimate(log_evidence, log_filled, smoothed_weights(log_w).k_hat, 0, n_modes)


def _are_filled(target: Target, z: Float[np.ndarray, "s z"], key: Array) -> Bool[np.ndarray, " s"]:
    """Whether every component holds a row in one draw of the rows' assignments, for each draw of the parameters."""
    return (np.asarray(row_counts(target, jnp.asarray(z), jax.random.split(key, len(z)))) > 0).all(1)
