"""What the sampler of an unknown number of components reaches, longer than the tests have time for.

    python -m benchmarks.random_k galaxies | chains FOLDER | speed

``galaxies``: the posterior of K under Richardson and Green's (1997) priors beside the one they published. ``chains``: R-hat of
K+ over chains that begin with 1, 2, 5, 10 and 15 components, on data sets of which some are CSV files in a folder; it writes
CHAINS.md. ``speed``: effective draws a second at a given number of components, compilation excluded. Run it on a quiet core.
What the default priors make of data with known groups is in ``labelled`` and ``groups``.
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import arviz as az
import numpy as np

import bgmm
from benchmarks.declared import RichardsonGreen
from benchmarks.groups import data_set
from benchmarks.labelled import read
from benchmarks.store import keep_line, kept_lines
from benchmarks.tables import likely, table
from bgmm import models

CHAINS_FILE = Path(__file__).parent.parent / "build" / "benchmarks" / "chains.jsonl"
CHAINS_TABLE = Path(__file__).parent / "CHAINS.md"
CHAINS_TOLD = (
    "``python -m benchmarks.random_k chains FOLDER`` fits ``random_k()`` by five chains, which begin with 1, 2, 5, 10 and 15",
    "components, and takes 1000 draws of each after 300 of warm-up; a data set that is in build/benchmarks/chains.jsonl is not",
    "fitted again. Groups are the halfway ones of GROUPS.md. R-hat and effective draws are those of K+, the number of occupied",
    "components, and CPU seconds those of the draws, without compilation and warm-up.",
)
N_DRAWS = 1000

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


def chains(folder: Path) -> None:
    """R-hat of K+ from dispersed starts, and the effective draws a second after compilation."""
    cases = {"Old Faithful": bgmm.old_faithful().to_numpy()}
    cases |= {name: read(folder, name)[0] for name in ("iris", "crabs", "thyroid", "wine13")}
    cases |= {f"7 groups in {d} dimensions": data_set("halfway", d, 7, 0)[0] for d in (2, 5, 10)}
    lines = kept_lines(CHAINS_FILE)
    for name, x in cases.items():
        if name not in {line["name"] for line in lines}:
            lines.append({"name": name, "shape": x.shape} | _dispersed(x))
            keep_line(CHAINS_FILE, lines[-1])
            print(lines[-1], flush=True)
    head = ["data", "P(K+) from .05", "P(K+), each chain", "R-hat of K+", "effective draws", "a CPU second", "draws"]
    body = []
    for line in sorted(lines, key=lambda line: list(cases).index(line["name"])):
        p = np.array(line["p"])  # of each chain
        of_chains = "; ".join(likely(one) for one in p)
        r_hat = "one value" if line["r_hat"] is None else f"{line['r_hat']:.3f}"
        effective = ["–", "–"] if line["ess"] is None else [f"{line['ess']:.0f}", f"{line['ess'] / line['cpu_seconds']:.1f}"]
        name = f"{line['name']}, {line['shape'][0]} x {line['shape'][1]}"
        body.append([name, likely(p.mean(0)), of_chains, r_hat, *effective, f"5 x {N_DRAWS}"])
    text = ["# Chains from 1, 2, 5, 10 and 15 components", "", *CHAINS_TOLD, "", *table(head, body)]
    CHAINS_TABLE.write_text("\n".join(text) + "\n")


def _dispersed(x: np.ndarray) -> dict:
    """Five chains of the default model, begun with the numbers of components that ``gibbs.sampler`` states."""
    settings = bgmm.Gibbs(n_draws=N_DRAWS, n_chains=5, stop_early=False)
    found = []
    for engine in (replace(settings, n_draws=5, sweeps_per_draw=1), settings):  # the first compiles
        start = time.process_time()
        with warnings.catch_warnings(action="ignore"):
            tree = bgmm.fit(models.random_k(), x, engine=engine, seed=1, log_likelihood=False)
        found.append(time.process_time() - start)
    k_plus = tree["posterior"]["n_occupied"].to_numpy()
    varies = bool(np.ptp(k_plus))
    return {
        "p": [(np.bincount(one, minlength=k_plus.max() + 1) / one.size).tolist() for one in k_plus],
        "r_hat": float(az.rhat(k_plus.astype(float))) if varies else None,
        "ess": float(az.ess(k_plus.astype(float))) if varies else None,
        "cpu_seconds": found[-1] * N_DRAWS / (N_DRAWS + settings.n_warmup),
    }


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
    {"galaxies": galaxies, "chains": chains, "speed": speed}[sys.argv[1]](*map(Path, sys.argv[2:]))
