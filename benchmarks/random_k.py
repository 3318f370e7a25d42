"""What the sampler of an unknown number of components reaches, longer than the tests have time for.

    python -m benchmarks.random_k galaxies | chains | speed

``galaxies``: the posterior of K under Richardson and Green's (1997) priors beside the one they published. ``chains``: R-hat of
K+ over chains that begin with 1, 2, 5, 10 and 15 components. ``speed``: effective draws a second at a given number of
components, compilation excluded. Run it on a quiet core; one line of text a case. What the default priors make of data with
known groups is in ``labelled`` and ``groups``.
"""

from __future__ import annotations

import sys
import time

import arviz as az
import numpy as np

import bgmm
from benchmarks.data import simulated
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


if __name__ == "__main__":
    {"galaxies": galaxies, "chains": chains, "speed": speed}[sys.argv[1]]()
