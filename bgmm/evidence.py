"""The evidence of each number of components K, and the posterior of K and of K+ (the number of occupied ones) from it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import gammaln, logsumexp

from bgmm.core.caller import warn
from bgmm.core.checks import check_flag, is_number, random_key
from bgmm.core.options import named_options
from bgmm.core.precision import in_float64
from bgmm.core.progress import shown, stage
from bgmm.engines.evidence.estimate import Estimate, Evidence, estimate_by
from bgmm.engines.laplace import Laplace
from bgmm.engines.vi import VI
from bgmm.fitting import declared_target
from bgmm.inputs import read_data
from bgmm.models import Dirichlet, Mixture
from bgmm.prior import n_components_probabilities, prior_n_occupied
from bgmm.program.family import check_called
from bgmm.program.weights_prior import WeightsPrior

_NEGLIGIBLE = 1e-3  # after two K in a row whose probability of being K+ is smaller, no larger K is tried
_LARGE_ERROR = 0.25  # standard error of a log evidence above which there is a warning


@named_options(
    places={
        "n_draws": "write settings=bgmm.Evidence(n_draws=16384)",
        "n_starts": "write settings=bgmm.Evidence(n_starts=32)",
        "n_particles": "write settings=bgmm.Evidence(n_particles=2048)",
        "engine": "write settings=bgmm.VI()",
        "weights": "leave it out, for every row counts once here",
    }
)
@in_float64
def log_evidence(
    model: Mixture,
    x,
    *,
    settings: Evidence | Laplace | VI | None = None,
    seed: int | jax.Array = 0,
    standardise: bool | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    r"""Log evidence log p(x | K) of each number of components K; the posterior of K and of K+, the number of occupied ones.

    Let Z_m be the evidence of m components, estimated by importance sampling or tempered sequential Monte Carlo (``Evidence``),
    and f_m the posterior probability that each of the m components holds a row. If the concentration alpha is the same for
    every K, then

    .. math::
        g_m &= Z_m f_m \Big/ \Big[ m! \, \frac{\Gamma(\alpha m)}{\Gamma(\alpha m + N)} \Big] \\
        p(x \mid K) &= \sum_{m \le K} \frac{K!}{(K - m)!} \frac{\Gamma(\alpha K)}{\Gamma(\alpha K + N)} \, g_m \\
        p(K, K_+ = m \mid x) &\propto p(K) \, \frac{K!}{(K - m)!} \frac{\Gamma(\alpha K)}{\Gamma(\alpha K + N)} \, g_m,

    because the evidence of a partition of the rows into m clusters is the same under every K, up to this factor (Nobile 2004;
    Miller and Harrison 2018). Z_m and f_m are estimated for m = 1, 2, ... until two consecutive m have a probability below
    0.001 of being K+. The evidence of all larger K follows without further integrals.

    The method needs no sampler that moves between numbers of components, so it is an independent check of
    ``fit(models.random_k(...))``. It suits many rows: the posterior of each K is then nearly normal around its modes, while
    samplers are slow to split or merge clusters. The Gibbs sampler accepts more priors (dynamic weights, a prior on the
    concentration), returns draws of the mixture, and is more accurate where many components overlap.

    :param model: ``models.finite``, or ``models.random_k`` with ``dynamic=False``; the concentration must be a number.
    :param x: data (n, d), as in ``fit``.
    :param settings: numbers of draws and restarts (``Evidence``); or ``Laplace`` or ``VI``, for Z_m and f_m from their weighted
        draws, without tempered SMC where k-hat is large.
    :param seed: an integer or a JAX key.
    :param standardise: whether the model sees standardised rows, as in ``fit``. The evidence is a density in the units of x in
        both cases.
    :param progress: whether a line on stderr says how far it is, as in ``fit``.
    :returns: a dataset. Over ``n_components``: ``log_evidence``, ``prior_n_components`` and ``posterior_n_components``; and for
        each m tried (NaN for others) ``log_evidence_alone``, the direct estimate log Z_m; ``filled``, f_m; ``k_hat``, the
        Pareto shape of the importance weights; ``n_temperatures`` of tempered SMC, 0 where importance sampling was used;
        ``n_modes``. Over ``n_occupied``: ``prior_n_occupied`` and ``posterior_n_occupied``. Variables whose name ends in
        ``_error`` are Monte Carlo standard errors; they do not include the error from a mode that no restart found.
    :raises ValueError: for dynamic weights, a concentration with a prior, or a NumPyro program of your own.
    """
    if progress is not None:
        check_flag("progress", progress)
    alpha = _concentration(model)
    key = random_key(seed)
    data = read_data(model, x, None)
    rows, _ = data.rows("float64")
    settings = Evidence() if settings is None else settings
    if not isinstance(settings, Evidence | Laplace | VI):
        raise ValueError(f"settings must be a value such as bgmm.Evidence(n_draws=4000) or bgmm.VI(), not {settings!r}")
    log_prior = np.asarray(model.weights.log_prior_k(), float)
    log_prior = log_prior - logsumexp(log_prior)
    n, largest = data.n_counted, int(1 + np.flatnonzero(np.isfinite(log_prior)).max())
    if not model.weights.size_is_bound and largest > n:
        raise ValueError(f"{largest} components need at least as many rows, and x has {n}")
    log_factors = log_partition_factors(n, len(log_prior), alpha)

    log_volume = -rows.log_scale_sum(np.log(np.asarray(data.units.scale)))
    estimates: list[Estimate] = []
    leads = ""  # what is said of the estimates so far
    with shown(progress):
        while len(estimates) < min(largest, n):
            m = len(estimates) + 1
            fixed_k = replace(model, weights=Dirichlet(m, alpha))
            key_m = jax.random.fold_in(key, m)
            with stage(f"evidence of K = {m}{leads}"):
                target = declared_target(fixed_k, data, rows, standardise)
                if target.not_alike:
                    raise ValueError(target.not_alike.replace("Gibbs", "log_evidence"))
                if isinstance(settings, Evidence):
                    estimate = settings.run(target, key=key_m)
                else:
                    estimate = estimate_by(settings, target, key=key_m)
            log_factor = log_volume - float(target.log_volume)  # to the units of x
            estimates.append(estimate.times(log_factor))
            combined = combine(log_prior, log_factors, estimates)
            leads = f" (K+ = {combined.n_occupied.argmax() + 1} leads)"
            if m > 2 and (combined.n_occupied[m - 2 : m] < _NEGLIGIBLE).all():
                break
    for m, estimate in enumerate(estimates, start=1):
        error = _mean(estimate.log_evidence)[1]
        if error > _LARGE_ERROR and combined.n_occupied[m - 1] > _NEGLIGIBLE:
            warn(
                f"the log evidence of {m} components has a standard error of {error:.1f}; raise n_draws or n_starts of "
                "settings=bgmm.Evidence(...), or use the Gibbs sampler"
            )
    return _dataset(prior_n_occupied(model, n).to_numpy(), log_prior, combined, estimates)


class Combined(NamedTuple):
    """Estimates for K = 1, 2, ... and for K+ = 1, 2, ..., with their standard errors."""

    log_evidence: Float[np.ndarray, " k"]
    n_components: Float[np.ndarray, " k"]  # posterior probabilities
    n_occupied: Float[np.ndarray, " k"]
    errors: tuple[Float[np.ndarray, " k"], ...]  # of the three arrays above


def log_partition_factors(n: int, largest: int, alpha: float) -> Float[np.ndarray, "k m"]:
    """log [K! / (K - m)! Gamma(alpha K) / Gamma(alpha K + N)], minus infinity for m > K."""
    k = np.arange(1, largest + 1)[:, None]
    empty = k - k.T
    log_k = gammaln(k + 1) + gammaln(alpha * k) - gammaln(alpha * k + n)
    return np.where(empty >= 0, log_k - gammaln(np.maximum(empty, 0) + 1), -np.inf)


def combine(log_prior: Float[np.ndarray, " k"], log_factors: Float[np.ndarray, "k k"], estimates: list[Estimate]) -> Combined:
    """The evidence of every K and the posterior of K and K+, from independent estimates; errors by the delta method."""
    tried, padding = len(estimates), (0, len(log_factors) - len(estimates))
    log_filled, error = np.array([_mean(estimate.log_filled) for estimate in estimates]).T
    log_terms = log_factors[:, :tried] + (log_filled - np.diagonal(log_factors)[:tried])  # log p(x, K+ = m | K)
    log_evidence = logsumexp(log_terms, axis=1)
    joint = np.exp(log_prior[:, None] + log_terms - logsumexp(log_prior + log_evidence))  # p(K, K+ = m | x)
    p_k, p_occupied = joint.sum(1), joint.sum(0)
    jacobians = (  # of the three results with respect to log g_m
        np.exp(log_terms - log_evidence[:, None]),
        joint - p_k[:, None] * p_occupied[None],
        np.pad(np.diag(p_occupied) - np.outer(p_occupied, p_occupied), (padding, (0, 0))),
    )
    errors = tuple(np.sqrt(np.square(jacobian * error[None]).sum(1)) for jacobian in jacobians)
    return Combined(log_evidence, p_k, np.pad(p_occupied, padding), errors)


def _mean(log_values: Float[np.ndarray, " batch"]) -> tuple[float, float]:
    """Log of the mean of the values of independent batches, and its standard error."""
    largest = log_values.max()
    if not np.isfinite(largest):
        return -np.inf, 0.0
    values = np.exp(log_values - largest)
    return largest + np.log(values.mean()), values.std(ddof=1) / values.mean() / np.sqrt(len(values))


def _dataset(
    prior_occupied: Float[np.ndarray, " k"], log_prior: Float[np.ndarray, " k"], combined: Combined, estimates: list[Estimate]
) -> xr.Dataset:
    """The result of ``log_evidence``."""
    k = np.arange(1, len(log_prior) + 1)
    direct = np.array([_mean(e.log_evidence) for e in estimates])
    filled = np.array([_mean(e.log_filled)[0] for e in estimates])
    per_tried = {
        "log_evidence_alone": direct[:, 0],
        "log_evidence_alone_error": direct[:, 1],
        "filled": np.exp(filled - direct[:, 0]),
        "k_hat": np.array([e.k_hat for e in estimates]),
        "n_temperatures": np.array([e.n_temperatures for e in estimates], float),
        "n_modes": np.array([e.n_modes for e in estimates], float),
    }
    per_n_components = {
        "log_evidence": combined.log_evidence,
        "log_evidence_error": combined.errors[0],
        "prior_n_components": np.exp(log_prior),
        "posterior_n_components": combined.n_components,
        "posterior_n_components_error": combined.errors[1],
    } | {name: np.pad(a, (0, len(k) - len(a)), constant_values=np.nan) for name, a in per_tried.items()}
    per_n_occupied = {
        "prior_n_occupied": prior_occupied,
        "posterior_n_occupied": combined.n_occupied,
        "posterior_n_occupied_error": combined.errors[2],
    }
    return xr.Dataset(
        {name: ("n_components", a) for name, a in per_n_components.items()}
        | {name: ("n_occupied", a) for name, a in per_n_occupied.items()},
        coords={"n_components": k, "n_occupied": k},
    )


def _concentration(model: Mixture) -> float:
    """The concentration of a model for which the identity of ``log_evidence`` holds; an error for other models."""
    check_called(model)
    if not isinstance(model, Mixture):
        raise ValueError(
            f"log_evidence needs one of bgmm.models, whose components have the same prior, not {type(model).__name__}"
        )
    alpha = model.weights.concentration
    if not _same_for_every_k(model.weights, alpha if is_number(alpha) else 1.0):
        raise ValueError(
            "log_evidence needs Dirichlet weights whose concentration is the same for every K (random_k's dynamic=False); "
            "fit this model with gibbs"
        )
    if not is_number(alpha):
        raise ValueError("log_evidence needs a number as concentration, not a prior; give concentration=1.0, or fit with gibbs")
    return float(alpha)


def _same_for_every_k(weights: WeightsPrior, alpha: float) -> bool:
    """Whether the weights of K components are Dirichlet(alpha, ..., alpha) for every K, judged by a few partitions."""
    k = jnp.asarray(1 + np.flatnonzero(n_components_probabilities(weights)))
    counts = jnp.zeros((4, max(weights.size, 3))).at[:, :3].set(jnp.array([[4, 0, 0], [3, 1, 0], [2, 2, 0], [2, 1, 1.0]]))

    def log_p(prior: WeightsPrior):
        of_k = jax.vmap(prior.log_partition, in_axes=(None, None, 0))
        return jax.vmap(of_k, in_axes=(0, None, None))(counts, jnp.asarray(alpha), k)

    return bool(jnp.allclose(log_p(weights), log_p(Dirichlet(weights.size, alpha))))
