"""Effective draws of the means a CPU second, imports excluded, compilation, modes and warmup included; a process for each.

Everybody samples the posterior of the same standardised rows under the same priors: Dirichlet(1) weights, Normal(0, 2) means,
LogNormal(-1, 1) scales, LKJ(2) correlations; by hand as a user would write it, so without bgmm's floor of 0.01 under the
scales. Clusters are well apart, so that ordering each draw by the first coordinate of the means settles the labels. The
figure is the least bulk effective size of all means over the CPU seconds of all threads. It means nothing where R-hat is
over 1.05, and is not compared there: chains sit in different modes. NumPyro and PyMC start as they do by default; NumPyro
a second time from k-means, as a careful user would.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Iterator

import numpy as np

from benchmarks import machine
from benchmarks.worker import fresh

US, GIBBS, NUMPYRO, PYMC = "bgmm", "bgmm, Gibbs", "NumPyro by hand", "PyMC with nutpie"
CHAINS, WARMUP, DRAWS, D = 4, 500, 1000, 2
CENTRES = {2: [[0.0, 0.0], [6.0, 2.0]], 3: [[0.0, 0.0], [6.0, 2.0], [12.0, -2.0]]}


def measure(quick: bool) -> Iterator[dict]:
    """One row a number of rows and of clusters."""
    if quick:
        yield compared(500, 2, warmup=200, draws=200, repeats=1, names=(US, NUMPYRO, PYMC))
        return
    for n in (500, 5_000):
        for k in CENTRES:
            yield compared(n, k, warmup=WARMUP, draws=DRAWS, repeats=3)


def compared(n: int, k: int, *, warmup: int, draws: int, repeats: int, names: tuple[str, ...] = ()) -> dict:
    """What each sampler did with each seed, in turns."""
    told: dict[str, list[dict]] = {name: [] for name in names or SAMPLERS}
    for seed in range(repeats):
        for name, runs in told.items():
            arguments = {"sampler": name, "n": n, "k": k, "warmup": warmup, "draws": draws, "seed": seed}
            runs.append(fresh("sampling", "sampled", timeout=1800, **arguments))
    missing = {name: runs[0]["missing"] for name, runs in told.items() if "missing" in runs[0]}
    fields = ("ess", "r_hat", "cpu_seconds", "seconds", "ess_per_cpu_second")
    found = {
        name: {field: [run[field] for run in runs if "missing" not in run] for field in fields}
        for name, runs in told.items()
        if name not in missing
    }
    return {"n": n, "d": D, "k": k, "chains": CHAINS, "warmup": warmup, "draws": draws, "contenders": found, "missing": missing}


def rows(n: int, k: int) -> np.ndarray:
    """Clusters of unit covariance, six or more standard deviations apart, standardised."""
    rng = np.random.default_rng([n, k])
    x = np.asarray(CENTRES[k])[rng.integers(k, size=n)] + rng.standard_normal((n, D))
    return (x - x.mean(0)) / x.std(0)


def sampled(sampler: str, n: int, k: int, warmup: int, draws: int, seed: int) -> dict:
    """Effective size, R-hat and time of one run."""
    import arviz_stats

    x = rows(n, k)
    run = SAMPLERS[sampler](x, k, warmup, draws, seed)
    wall, cpu = time.perf_counter(), machine.own_seconds()
    with warnings.catch_warnings(action="ignore"):
        means = run()
    cpu, wall = machine.own_seconds() - cpu, time.perf_counter() - wall
    order = np.argsort(means[..., 0], axis=-1)
    means = np.take_along_axis(means, order[..., None], axis=2).reshape(*means.shape[:2], -1)
    each = [means[:, :, j] for j in range(means.shape[2])]
    ess = min(float(arviz_stats.ess(one, method="bulk")) for one in each)
    r_hat = max(float(arviz_stats.rhat(one)) for one in each)
    if not np.isfinite(ess):
        return {"missing": "its chains did not move"}
    return {"ess": ess, "r_hat": r_hat, "cpu_seconds": cpu, "seconds": wall, "ess_per_cpu_second": ess / cpu}


def bgmm_nuts(x, k, warmup, draws, seed):
    """bgmm.fit with NUTS: restarts, modes, Laplace frames and chains."""
    import bgmm

    return _bgmm(bgmm.NUTS(n_draws=draws, n_warmup=warmup, n_chains=CHAINS, stop_early=False), x, k, seed)


def bgmm_gibbs(x, k, warmup, draws, seed):
    """bgmm.fit with Gibbs: dispersed starts and chains."""
    import bgmm

    return _bgmm(bgmm.Gibbs(n_draws=draws, n_warmup=warmup, n_chains=CHAINS, stop_early=False), x, k, seed)


def _bgmm(engine, x, k, seed):
    import bgmm
    from bgmm import models

    fit = bgmm.fit  # names are imported when first used

    def run():
        tree = fit(models.finite(n_components=k), x, engine=engine, seed=seed, log_likelihood=False)
        return tree["posterior"]["means"].values

    return run


def numpyro_nuts(x, k, warmup, draws, seed, start=None):
    """NumPyro's NUTS on MixtureSameFamily, chains vectorised, float64."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS, init_to_uniform, init_to_value

    def model(x):
        w = numpyro.sample("w", dist.Dirichlet(jnp.ones(k)))
        means = numpyro.sample("means", dist.Normal(0, 2).expand([k, D]).to_event(2))
        scales = numpyro.sample("scales", dist.LogNormal(-1, 1).expand([k, D]).to_event(2))
        R = numpyro.sample("R", dist.LKJCholesky(D, 2).expand([k]).to_event(1))
        parts = dist.MultivariateNormal(means, scale_tril=scales[..., None] * R)
        with numpyro.plate("n", x.shape[0]):
            numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(w), parts), obs=x)

    def run():
        with jax.enable_x64(True):
            strategy = init_to_uniform if start is None else init_to_value(values={"means": jnp.asarray(start(x, k))})
            mcmc = MCMC(
                NUTS(model, init_strategy=strategy),
                num_warmup=warmup,
                num_samples=draws,
                num_chains=CHAINS,
                chain_method="vectorized",
                progress_bar=False,
            )
            mcmc.run(jax.random.key(seed), jnp.asarray(x))
            return np.asarray(mcmc.get_samples(group_by_chain=True)["means"])

    return run


def numpyro_from_k_means(x, k, warmup, draws, seed):
    """The same, started at scikit-learn's k-means."""
    from sklearn.cluster import KMeans

    return numpyro_nuts(x, k, warmup, draws, seed, start=lambda x, k: KMeans(k, random_state=seed).fit(x).cluster_centers_)


def pymc_nutpie(x, k, warmup, draws, seed):
    """nutpie on a PyMC mixture, compiled by numba, its compilation cache an empty folder."""
    os.environ["PYTENSOR_FLAGS"] = f"base_compiledir={tempfile.mkdtemp()}"
    import nutpie
    import pymc as pm

    def run():
        with pm.Model() as model:
            w = pm.Dirichlet("w", np.ones(k))
            means = pm.Normal("means", 0, 2, shape=(k, D))
            scales = pm.LogNormal.dist(-1, 1, shape=D)
            factors = [pm.LKJCholeskyCov(f"L{j}", n=D, eta=2, sd_dist=scales, compute_corr=False) for j in range(k)]
            factors = [pm.expand_packed_triangular(D, L) if L.ndim == 1 else L for L in factors]
            pm.Mixture("x", w=w, comp_dists=[pm.MvNormal.dist(means[j], chol=factors[j]) for j in range(k)], observed=x)
        compiled = nutpie.compile_pymc_model(model)
        options = {"draws": draws, "tune": warmup, "chains": CHAINS, "cores": 1, "seed": seed, "progress_bar": False}
        return nutpie.sample(compiled, **options).posterior["means"].values

    return run


SAMPLERS = {
    US: bgmm_nuts,
    GIBBS: bgmm_gibbs,
    NUMPYRO: numpyro_nuts,
    f"{NUMPYRO}, k-means start": numpyro_from_k_means,
    PYMC: pymc_nutpie,
}
