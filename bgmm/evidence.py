"""How many, without a sampler that moves between numbers of components: evidence, and the posterior of K and K+ from it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import gammaln, logsumexp
from tqdm.auto import tqdm

from bgmm.core.checks import random_key
from bgmm.core.precision import in_float64
from bgmm.core.target import log_volume_of
from bgmm.engines.evidence import Estimate, Evidence
from bgmm.fitting import slots_of, target_of
from bgmm.inputs import given
from bgmm.models import Dirichlet, Mixture
from bgmm.prior import prior_n_occupied

_NEGLIGIBLE = 1e-3  # probability of K+ under which two numbers in a row are the last to be tried
_UNSURE = 0.25  # standard error of a log evidence from which a sentence says so


@in_float64
def log_evidence(
    model: Mixture,
    x,
    *,
    settings: Evidence | None = None,
    seed: int | jax.Array = 0,
    standardise: bool | None = None,
) -> xr.Dataset:
    r"""The log evidence log p(x | K) of each number of components, and the posterior of K and K+ that follows.

    With Z_m the evidence of m components, by importance sampling or a bridge of tempered steps (``Evidence``), and f_m the
    probability that each of these holds a row, given the data, a concentration alpha that is the same for every K gives

    .. math::
        g_m &= Z_m f_m \Big/ \Big[ m! \, \frac{\Gamma(\alpha m)}{\Gamma(\alpha m + N)} \Big] \\
        p(x \mid K) &= \sum_{m \le K} \frac{K!}{(K - m)!} \frac{\Gamma(\alpha K)}{\Gamma(\alpha K + N)} \, g_m \\
        p(K, K_+ = m \mid x) &\propto p(K) \, \frac{K!}{(K - m)!} \frac{\Gamma(\alpha K)}{\Gamma(\alpha K + N)} \, g_m,

    because partitions of the rows into m occupied components have, up to that factor, the same evidence under every K
    (Nobile 2004; Miller and Harrison 2018). Numbers are tried from 1 upwards until two in a row have a probability under
    0.001 of being K+; all larger K follow without another integral.

    No chain has to move between numbers of components. Use it as the check of ``fit(models.random_k(...))``, and where rows
    are many: each posterior is then nearly normal, which suits the proposals, and chains are slow to split or merge. The Gibbs
    sampler serves all weights, dynamic ones and those with a prior over the concentration too, gives draws of the mixture
    itself, and is the better of the two where many components overlap.

    :param model: ``models.finite``, or ``models.random_k`` with ``dynamic=False``; the concentration a number.
    :param x: data (n, d), as in ``fit``.
    :param settings: numbers of draws and restarts.
    :param seed: an integer or a JAX key.
    :param standardise: whether the model sees standardised rows, as in ``fit``. The density is per units of x either way.
    :returns: over ``n_components``: ``log_evidence``; ``prior_n_components`` and ``posterior_n_components``; and of each number
        tried (NaN where it was not) ``log_evidence_alone``, Z_m without help of the others, ``filled``, f_m, ``k_hat`` of the
        importance weights, ``n_temperatures`` of the bridge, 0 where the weights served, and ``n_modes``. Over
        ``n_occupied``: ``prior_n_occupied`` and ``posterior_n_occupied``. Names in ``_error`` are standard errors of the Monte
        Carlo; a mode that no restart found is missing from them too.
    :raises ValueError: for a model whose concentration is dynamic or has a prior, or which is a program of one's own.
    """
    alpha = _concentration(model)
    key = random_key(seed)
    table, _, units, steps = given(model, x, None)
    standardise = True if standardise is None else standardise
    settings = Evidence() if settings is None else settings
    if not isinstance(settings, Evidence):
        raise ValueError(f"settings must be a value such as bgmm.Evidence(n_draws=4000), not {settings!r}")
    alike = tuple(name for name, _ in slots_of(model, table, units, steps, None, standardise, "float64")[0].own)
    log_prior = np.asarray(model.weights.log_prior_k(), float)
    log_prior = log_prior - logsumexp(log_prior)
    n, largest = len(table.values), int(1 + np.flatnonzero(np.isfinite(log_prior)).max())
    if isinstance(model.weights, Dirichlet) and largest > n:
        raise ValueError(f"{largest} components need at least as many rows, and x has {n}")
    ways = log_ways(n, len(log_prior), alpha)

    estimates: list[Estimate] = []
    with tqdm(total=min(largest, n), desc="evidence", unit="K", disable=None, leave=False) as progress:
        while len(estimates) < min(largest, n):
            m = len(estimates) + 1
            alone = replace(model, weights=Dirichlet(m, alpha))
            target, _ = target_of(alone, table, units, steps, None, standardise, "float64")
            estimate = settings.run(target, alike, key=jax.random.fold_in(key, m))
            in_units = float(log_volume_of(target.blocks, units) - target.log_volume)
            estimates.append(estimate.times(in_units))
            progress.update()
            found = combined(log_prior, ways, estimates)
            if m > 2 and (found.n_occupied[m - 2 : m] < _NEGLIGIBLE).all():
                break
    for m, estimate in enumerate(estimates, start=1):
        error = _mean(estimate.log_evidence)[1]
        if error > _UNSURE and found.n_occupied[m - 1] > _NEGLIGIBLE:
            warnings.warn(
                f"the log evidence of {m} components has a standard error of {error:.1f}; raise n_draws or n_starts of "
                "settings=bgmm.Evidence(...), or ask the Gibbs sampler",
                stacklevel=3,
            )
    return _answer(prior_n_occupied(model, n).to_numpy(), log_prior, found, estimates)


class Combined(NamedTuple):
    """Of K = 1, 2, ... (and K+ alike): estimates, and their derivatives with respect to the log evidence g_m of partitions."""

    log_evidence: Float[np.ndarray, " k"]
    n_components: Float[np.ndarray, " k"]  # posterior probabilities
    n_occupied: Float[np.ndarray, " k"]
    errors: tuple[Float[np.ndarray, " k"], ...]  # standard errors of the three


def log_ways(n: int, largest: int, alpha: float) -> Float[np.ndarray, "k m"]:
    """Log of K! / (K - m)! Gamma(alpha K) / Gamma(alpha K + N), minus infinity for m over K."""
    k = np.arange(1, largest + 1)[:, None]
    empty = k - k.T
    of_k = gammaln(k + 1) + gammaln(alpha * k) - gammaln(alpha * k + n)
    return np.where(empty >= 0, of_k - gammaln(np.maximum(empty, 0) + 1), -np.inf)


def combined(log_prior: Float[np.ndarray, " k"], ways: Float[np.ndarray, "k k"], estimates: list[Estimate]) -> Combined:
    """The evidence of every K and the posterior of K and K+; errors to first order, the estimates being independent."""
    tried, more = len(estimates), (0, len(ways) - len(estimates))
    log_filled, error = np.array([_mean(estimate.log_filled) for estimate in estimates]).T
    parts = ways[:, :tried] + (log_filled - np.diagonal(ways)[:tried])
    log_evidence = logsumexp(parts, axis=1)
    joint = np.exp(log_prior[:, None] + parts - logsumexp(log_prior + log_evidence))  # of K and K+
    p_k, p_occupied = joint.sum(1), joint.sum(0)
    slopes = (
        np.exp(parts - log_evidence[:, None]),
        joint - p_k[:, None] * p_occupied[None],
        np.pad(np.diag(p_occupied) - np.outer(p_occupied, p_occupied), (more, (0, 0))),
    )
    errors = tuple(np.sqrt(np.square(slope * error[None]).sum(1)) for slope in slopes)
    return Combined(log_evidence, p_k, np.pad(p_occupied, more), errors)


def _mean(log_each: Float[np.ndarray, " batch"]) -> tuple[float, float]:
    """Log of the mean over independent batches, and its standard error."""
    top = log_each.max()
    if not np.isfinite(top):
        return -np.inf, 0.0
    each = np.exp(log_each - top)
    return top + np.log(each.mean()), each.std(ddof=1) / each.mean() / np.sqrt(len(each))


def _answer(
    prior_occupied: Float[np.ndarray, " k"], log_prior: Float[np.ndarray, " k"], found: Combined, estimates: list[Estimate]
) -> xr.Dataset:
    k = np.arange(1, len(log_prior) + 1)
    alone = np.array([_mean(e.log_evidence) for e in estimates])
    filled = np.array([_mean(e.log_filled)[0] for e in estimates])
    of_tried = {
        "log_evidence_alone": alone[:, 0],
        "log_evidence_alone_error": alone[:, 1],
        "filled": np.exp(filled - alone[:, 0]),
        "k_hat": np.array([e.k_hat for e in estimates]),
        "n_temperatures": np.array([e.n_temperatures for e in estimates], float),
        "n_modes": np.array([e.n_modes for e in estimates], float),
    }
    of_components = {
        "log_evidence": found.log_evidence,
        "log_evidence_error": found.errors[0],
        "prior_n_components": np.exp(log_prior),
        "posterior_n_components": found.n_components,
        "posterior_n_components_error": found.errors[1],
    } | {name: np.pad(a, (0, len(k) - len(a)), constant_values=np.nan) for name, a in of_tried.items()}
    of_occupied = {
        "prior_n_occupied": prior_occupied,
        "posterior_n_occupied": found.n_occupied,
        "posterior_n_occupied_error": found.errors[2],
    }
    return xr.Dataset(
        {name: ("n_components", a) for name, a in of_components.items()}
        | {name: ("n_occupied", a) for name, a in of_occupied.items()},
        coords={"n_components": k, "n_occupied": k},
    )


def _concentration(model: Mixture) -> float:
    """The concentration, of a model to which the identity applies."""
    if not isinstance(model, Mixture):
        raise ValueError(
            f"log_evidence needs one of bgmm.models, whose components it knows to be alike, not {type(model).__name__}"
        )
    if model.weights.law != "static":
        raise ValueError(
            "log_evidence needs Dirichlet weights whose concentration is the same for every K (random_k's dynamic=False); "
            "fit this model with gibbs"
        )
    if not isinstance(model.weights.concentration, int | float):
        raise ValueError("log_evidence needs a number as concentration, not a prior; give concentration=1.0, or fit with gibbs")
    return float(model.weights.concentration)
