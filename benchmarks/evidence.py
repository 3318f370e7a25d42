"""What the evidence of each number of components says, beside published figures and the sampler that moves between numbers.

``python -m benchmarks.evidence galaxies`` takes the priors of Richardson and Green (1997), declared as a user would, on the
version of the galaxies whose 78th value is 26.69; log evidence -235.254 (K = 2) and -226.677 (K = 3) are published for it.
``python -m benchmarks.evidence faithful`` and ``iris`` compare P(K+) with that of Gibbs. Two more arguments are the largest K
(6) and the seed (0).
"""

from __future__ import annotations

import sys
import time

import numpy as np
import xarray as xr

import bgmm
from benchmarks.declared import RichardsonGreen
from bgmm import models

PUBLISHED = {2: -235.254, 3: -226.677}


def main() -> None:
    """Print one table."""
    name = sys.argv[1]
    largest, seed = (int(given) for given in [*sys.argv[2:], *("6", "0")[len(sys.argv) - 2 :]])
    weights = models.RandomK(models.Uniform(), concentration=1.0, dynamic=False, max_components=largest)
    if name == "galaxies":
        x = bgmm.galaxies().to_numpy(copy=True)
        x[x == 26.96] = 26.69
        family = RichardsonGreen(float(x.min() + x.max()) / 2, float(np.ptp(x)))
        model, standardise = models.Mixture(weights, family), False
    else:
        model, standardise = models.Mixture(weights), True
        x = bgmm.old_faithful() if name == "faithful" else _iris()
    start, cpu = time.perf_counter(), time.process_time()
    found = bgmm.log_evidence(model, x, seed=seed, standardise=standardise)
    print(f"{name}: {time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} s of CPU, compilation included")
    print(_table(found, "n_components").to_string())
    print(_table(found, "n_occupied").to_string(), flush=True)
    if name == "galaxies":
        for k, published in PUBLISHED.items():
            print(f"K = {k}: {float(found['log_evidence'].sel(n_components=k)):.3f}, published {published}")
        return
    start, cpu = time.perf_counter(), time.process_time()
    tree = bgmm.fit(model, x, seed=seed, log_likelihood=False)
    print(f"Gibbs: {time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} s of CPU")
    each = tree["sample_stats"]["n_occupied"].to_numpy()
    print("P(K+) by Gibbs, and of each chain:")
    for k in range(1, largest + 1):
        print(k, f"{(each == k).mean():.3f}", np.round((each == k).mean(1), 3))


def _table(found: xr.Dataset, dim: str):
    return found[[name for name in found if found[name].dims == (dim,)]].to_dataframe().round(4).T


def _iris():
    from sklearn.datasets import load_iris

    return load_iris().data


if __name__ == "__main__":
    main()
