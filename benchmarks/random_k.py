"""What the sampler of an unknown number of components reaches, longer than the tests have time for.

    python -m benchmarks.random_k galaxies | chains | speed | priors

``galaxies``: the posterior of K under Richardson and Green's (1997) priors beside the one they published. ``chains``: R-hat of
K+ over chains that begin with 1, 2, 5, 10 and 15 components. ``speed``: effective draws a second at a given number of
components, compilation excluded. ``priors``: what the default priors make of data with known groups, beside scikit-learn's
BayesianGaussianMixture. Run it on a quiet core; one line of text a case.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import arviz as az
import numpy as np

import bgmm
from benchmarks.data import simulated, simulated_with_groups
from benchmarks.declared import RichardsonGreen
from bgmm import models

PUBLISHED = {3: 0.061, 4: 0.128, 5: 0.182, 6: 0.199, 7: 0.160, 8: 0.109, 9: 0.071}


def galaxies() -> None:
    """P(K | y) of the galaxies."""
    x = bgmm.galaxies()
    low, high = float(x.to_numpy().min()), float(x.to_numpy().max())
    weights = models.RandomK(models.Uniform(), concentration=1.0, dynamic=False, max_components=30)
    model = models.Mixture(weights, RichardsonGreen((low + high) / 2, high - low))
    started = time.perf_counter()
    settings = bgmm.Gibbs(n_draws=4000, stop_early=False)
    tree = bgmm.fit(model, x, engine=settings, standardise=False, seed=0, log_likelihood=False)
    k = tree["posterior"]["n_components"].to_numpy().astype(float)
    seconds = time.perf_counter() - started
    print(f"galaxies: {seconds:.0f} s, R-hat of K {float(az.rhat(k)):.3f}, {float(az.ess(k)):.0f} effective draws of K")
    for value, published in PUBLISHED.items():
        print(f"  P(K = {value}) {np.mean(k == value):.3f}, published {published:.3f}")


def chains() -> None:
    """R-hat of K+ from dispersed starts."""
    from sklearn.datasets import load_iris

    cases = {"faithful": bgmm.old_faithful().to_numpy(), "iris": load_iris().data}
    cases |= {f"simulated, D = {d}": simulated(300, d, 3, spread=2.0) for d in (2, 5, 10)}
    for name, x in cases.items():
        started = time.perf_counter()
        settings = bgmm.Gibbs(n_draws=1000, n_chains=5, stop_early=False)
        tree = bgmm.fit(models.random_k(), x, engine=settings, seed=1, log_likelihood=False)
        k_plus = tree["posterior"]["n_occupied"].to_numpy()
        likely = ", ".join(f"{k}: {np.mean(k_plus == k):.2f}" for k in np.unique(k_plus) if np.mean(k_plus == k) > 0.005)
        varies = k_plus.min() < k_plus.max()
        r_hat = f"{float(az.rhat(k_plus.astype(float))):.3f}" if varies else "undefined, K+ being the same in every draw"
        print(f"{name}: {time.perf_counter() - started:.0f} s, R-hat of K+ {r_hat}; P(K+) {likely}", flush=True)


def speed() -> None:
    """Effective draws a second of the least determined mean, from what more draws cost; moves are splits and merges."""
    from sklearn.datasets import load_iris

    for name, x, k in (("faithful", bgmm.old_faithful(), 2), ("iris", load_iris().data, 3)):
        for told, options in {
            "every sweep a draw, no moves": {"sweeps_per_draw": 1, "split_merge": 0, "jumps": 0},
            "defaults": {},
        }.items():
            found = []
            for n_draws in (1000, 1000, 11_000):  # the first compiles
                settings = bgmm.Gibbs(n_draws=n_draws, stop_early=False, **options)
                wall, cpu = time.perf_counter(), time.process_time()
                tree = bgmm.fit(models.finite(k), x, engine=settings, seed=0, log_likelihood=False)
                found.append((time.perf_counter() - wall, time.process_time() - cpu))
            wall, cpu = np.subtract(found[2], found[1])
            effective = float(az.ess(bgmm.relabel(tree)["posterior"]["means"]).min()) * 10 / 11
            print(
                f"{name}, K = {k}, {told}: {effective:.0f} effective of 40 000 draws, "
                f"{effective / wall:.0f} a second, {effective / cpu:.0f} a CPU second",
                flush=True,
            )


def priors() -> None:
    """Posterior of K+ and adjusted Rand index of the partition under the default priors; scikit-learn's two numbers beside."""
    from sklearn.metrics import adjusted_rand_score
    from sklearn.mixture import BayesianGaussianMixture

    for name, x, truth in _with_groups():
        started = time.perf_counter()
        settings = bgmm.Gibbs(n_draws=400, n_warmup=300, stop_early=False)
        tree = bgmm.fit(models.random_k(), x, engine=settings, seed=0, log_likelihood=False)
        k_plus = tree["posterior"]["n_occupied"].to_numpy().astype(float)
        c = bgmm.partition(tree, seed=0)["assignments"].to_numpy()
        seconds = time.perf_counter() - started
        theirs = BayesianGaussianMixture(n_components=20, n_init=5, max_iter=2000, random_state=0).fit_predict(x)
        likely = ", ".join(f"{k:.0f}: {np.mean(k_plus == k):.2f}" for k in np.unique(k_plus) if np.mean(k_plus == k) > 0.005)
        r_hat = f"{float(az.rhat(k_plus)):.3f}" if k_plus.min() < k_plus.max() else "undefined"
        scores = (
            [f"{adjusted_rand_score(truth, labels):.2f}" for labels in (c, theirs)] if truth is not None else ["unknown"] * 2
        )
        print(
            f"{name}: P(K+) {likely} (R-hat {r_hat}); partition {c.max() + 1} clusters, ARI {scores[0]}; "
            f"scikit-learn {len(set(theirs))} clusters, ARI {scores[1]}; {seconds:.0f} s",
            flush=True,
        )


def _with_groups() -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Names, rows and groups."""
    from sklearn.datasets import load_iris

    yield "faithful", bgmm.old_faithful().to_numpy(), None
    yield "iris", load_iris().data, load_iris().target
    rng = np.random.default_rng(5)
    truth = np.repeat(np.arange(4), 50)  # two kinds and two sexes, whose measurements all follow the size
    size = rng.normal(3.4, 0.22, 200)
    loadings = 1 + 0.08 * rng.standard_normal((4, 5))
    yield "like crabs", np.exp(size[:, None] + np.log(loadings[truth]) + 0.025 * rng.standard_normal((200, 5))), truth
    for d in (2, 5, 10):
        for k in (1, 3, 7):
            yield f"D = {d}, {k} groups", *simulated_with_groups(300, d, k, seed=1, spread=3.0)


if __name__ == "__main__":
    {"galaxies": galaxies, "chains": chains, "speed": speed, "priors": priors}[sys.argv[1]]()
