r"""The evidence of a mixture of K components: the density of the data, all parameters integrated out.

.. math:: p(y \mid K) = \int p(y \mid z) p(z) \, dz = K! \int_D p(y, z) \, dz

over unconstrained z, D one labelling of the components (``labels``). By importance sampling from t distributions at the modes
that restarts found (``proposal``); where the weights' tail is too heavy, which their Pareto shape tells (Vehtari, Simpson,
Gelman, Yao and Gabry 2024: k-hat over 0.7), by a bridge of tempered steps from there (``bridge``).

The same draws tell the probability that each component holds a row, whence follows the evidence of partitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Array, Float
from scipy.special import gammaln, logsumexp

from bgmm.core import gaussian, one_pass
from bgmm.core.checks import check_count
from bgmm.core.target import Target
from bgmm.engines.bridge import bridge
from bgmm.engines.labels import inside
from bgmm.engines.modes import find_modes
from bgmm.engines.proposal import log_densities, proposal_at

_TRUSTED = 0.7  # largest k-hat
_BATCHES = 8  # independent estimates, whose spread tells the error
_SIDE_BY_SIDE = 128  # draws evaluated together


class Estimate(NamedTuple):
    """The evidence of one number of components, per the program's units of the rows."""

    log_evidence: Float[np.ndarray, " batch"]  # of each batch of draws by itself; their mean is that of the evidence
    log_filled: Float[np.ndarray, " batch"]  # log of p(y, every component holds a row)
    k_hat: float  # of the importance weights, whether they served or not
    n_temperatures: int  # of the bridge; zero where the weights served
    n_modes: int

    def times(self, log_factor: float) -> Estimate:
        """Per other units."""
        return self._replace(log_evidence=self.log_evidence + log_factor, log_filled=self.log_filled + log_factor)


@dataclass(frozen=True)
class Evidence:
    """Settings of an evidence.

    :param n_draws: of the importance sample.
    :param n_bridge: draws that cross the bridge, where one is needed.
    :param n_starts: restarts among which the modes are sought.
    """

    n_draws: int = 16384
    n_bridge: int = 2048
    n_starts: int = 32

    def __post_init__(self) -> None:
        for name in ("n_draws", "n_bridge"):
            check_count(name, getattr(self, name), least=32 * _BATCHES)
        check_count("n_starts", self.n_starts)

    def run(self, target: Target, alike: tuple[str, ...], *, key: Array) -> Estimate:
        """Estimate the evidence; ``alike`` names the sites with an axis of components first."""
        key_modes, key_numbers, key_rows = jax.random.split(key, 3)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key_numbers)))
        target, modes = find_modes(target, self.n_starts, key=key_modes)
        proposal, domain = proposal_at(target, alike, modes, rng=rng)
        n_each = self.n_draws // _BATCHES
        log_labels = gammaln(target.n_components + 1)

        z, _ = proposal.draw(n_each * _BATCHES, rng=rng)
        log_p, filled = _at(target, z, key_rows)
        log_w = np.where(inside(target, domain, z) & np.isfinite(log_p), log_p - log_densities(proposal, z), -np.inf)
        k_hat = float(array_stats.psislw(-log_w[np.isfinite(log_w)])[1])
        log_w, n_temperatures = log_w.reshape(_BATCHES, n_each), 0
        log_evidence = logsumexp(log_w, axis=1) - np.log(n_each)
        log_filled = logsumexp(np.where(filled.reshape(_BATCHES, n_each), log_w, -np.inf), axis=1) - np.log(n_each)
        if not k_hat <= _TRUSTED:
            log_evidence, z, n_temperatures = bridge(target, proposal, domain, _BATCHES, self.n_bridge // _BATCHES, rng=rng)
            _, filled = _at(target, z.reshape(-1, z.shape[-1]), key_rows)
            with np.errstate(divide="ignore"):
                log_filled = log_evidence + np.log(filled.reshape(_BATCHES, -1).mean(1))
        return Estimate(log_evidence + log_labels, log_filled + log_labels, k_hat, n_temperatures, len(modes.mass))


def _at(target: Target, z: Float[np.ndarray, "s z"], key: Array):
    """Of each draw: the log posterior; whether each component holds a row, the rows' assignments drawn once."""
    return (np.asarray(a) for a in _each(target, jnp.asarray(z), jax.random.split(key, len(z))))


@jax.jit
def _each(target: Target, z: Float[Array, "s z"], keys: Array):
    counted = target.blocks.weights.reshape(-1) > 0

    def of_draw(given):
        z, key = given
        mixture = target.mixture(z)
        centres = gaussian.own_centres(mixture, target.centred)
        rows = one_pass.assignments(gaussian.natural(mixture, centres), target.blocks, centres, key=key)
        held = jnp.zeros(target.n_components, bool).at[rows].max(counted)
        return target.log_posterior(z, jacobian=True), held.all()

    return jax.lax.map(of_draw, (z, keys), batch_size=_SIDE_BY_SIDE)
