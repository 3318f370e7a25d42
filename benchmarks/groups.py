"""How many groups there are, by default, on data simulated with 1, 3 and 7 of them in 2, 5 and 10 dimensions.

``python -m benchmarks.groups`` simulates 300 rows of each number of groups in each number of dimensions, with covariances that
are the same in all groups (tied), unrelated (free), or halfway between (a common factor times a deviation of their own), fits
``random_k()``, and writes GROUPS.md; ``--seeds`` of each kind. A case that is in build/benchmarks/groups.jsonl is not fitted
again. Weights are Dirichlet(5), means are normal with a standard deviation of 3 in each feature, and scales about 1; data are
drawn anew until their groups can be told: with the parameters known, at most 2 % of the rows are in another group than the most
probable one. Fits take 400 draws of four chains after 300 of warm-up. "Index" is the adjusted Rand index of ``partition`` with
the groups; beside it is scikit-learn's GaussianMixture with the best BIC over its four families and 1 to 9 components.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import arviz as az
import numpy as np
from jaxtyping import Float, Int
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

import bgmm
from benchmarks.labelled import best_bic
from benchmarks.store import keep_line, kept_lines
from benchmarks.tables import likely, table
from bgmm import models

FILE = Path(__file__).parent.parent / "build" / "benchmarks" / "groups.jsonl"
TABLE = Path(__file__).parent / "GROUPS.md"
N_ROWS, SPREAD, WORST = 300, 3.0, 0.02
KINDS = {"tied": 0.0, "halfway": 0.3, "free": 1.0}  # how far a factor deviates from the common one; free has none in common
SETTINGS = bgmm.Gibbs(n_draws=400, stop_early=False)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    seeds = parser.parse_args().seeds
    lines = kept_lines(FILE)
    known = {(line["kind"], line["d"], line["k"], line["seed"]) for line in lines}
    cases = [(kind, d, k, seed) for seed in range(seeds) for d in (2, 5, 10) for kind in KINDS for k in (1, 3, 7)]
    for case in cases:
        if case not in known:
            lines.append(fitted(*case))
            keep_line(FILE, lines[-1])
        _write(lines)


def data_set(kind: str, d: int, k: int, seed: int) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """Rows and the group of each, which can be told."""
    rng = np.random.default_rng([seed, d, k, list(KINDS).index(kind)])
    while True:
        w, means = rng.dirichlet(np.full(k, 5.0)), SPREAD * rng.normal(size=(k, d))
        common = np.eye(d) + 0.5 * rng.normal(size=(d, d)) / np.sqrt(d)
        own = rng.normal(size=(k, d, d)) / np.sqrt(d)
        factors = np.eye(d) + 0.5 * own if kind == "free" else common @ (np.eye(d) + KINDS[kind] * own)
        z = rng.choice(k, N_ROWS, p=w)
        x = means[z] + np.einsum("nij,nj->ni", factors[z], rng.normal(size=(N_ROWS, d)))
        log_p = [np.log(w[j]) + multivariate_normal(means[j], factors[j] @ factors[j].T).logpdf(x) for j in range(k)]
        if np.mean(np.argmax(log_p, axis=0) != z) <= WORST and len(np.unique(z)) == k:
            return x, z


def fitted(kind: str, d: int, k: int, seed: int) -> dict:
    """What the default model finds in one data set."""
    x, truth = data_set(kind, d, k, seed)
    start = time.process_time()
    with warnings.catch_warnings(action="ignore"):
        tree = bgmm.fit(models.random_k(), x, SETTINGS, seed=seed, log_likelihood=False)
        found = bgmm.partition(tree, seed=seed)["assignments"].to_numpy()
        theirs = best_bic(x)[0]
    n_occupied = tree["posterior"]["n_occupied"].to_numpy()
    return {
        "kind": kind,
        "d": d,
        "k": k,
        "seed": seed,
        "p": (np.bincount(n_occupied.ravel()) / n_occupied.size).tolist(),
        "r_hat": float(az.rhat(n_occupied.astype(float))) if np.ptp(n_occupied) else None,
        "spread": float(tree["posterior"]["shape_spread"].median()),
        "index": float(adjusted_rand_score(truth, found)),
        "bic": [len(np.unique(theirs)), float(adjusted_rand_score(truth, theirs))],
        "cpu_seconds": time.process_time() - start,
    }


def _write(lines: list[dict]) -> None:
    """The table of the cases so far."""
    head = ["covariances", "features", "groups", "P(K+) from .05", "R-hat of K+", "sharing b", "index", "CPU s"]
    head += ["scikit-learn, BIC: clusters", "index"]
    body = []
    for line in sorted(lines, key=lambda line: (line["d"], list(KINDS).index(line["kind"]), line["k"], line["seed"])):
        r_hat = "one value" if line["r_hat"] is None else f"{line['r_hat']:.3f}"
        ours = [likely(line["p"]), r_hat, f"{line['spread']:.2f}", f"{line['index']:.2f}", f"{line['cpu_seconds']:.0f}"]
        theirs = [str(line["bic"][0]), f"{line['bic'][1]:.2f}"]
        body.append([line["kind"], str(line["d"]), str(line["k"]), *ours, *theirs])
    right = sum(int(np.argmax(line["p"])) == line["k"] for line in lines)
    of_bic = sum(line["bic"][0] == line["k"] for line in lines)
    text = ["# Groups that can be told", "", (__doc__ or "").split("\n\n")[1].strip(), ""]
    text += [f"The most probable K+ is the number of groups in {right} of {len(lines)} data sets; BIC's in {of_bic}.", ""]
    TABLE.write_text("\n".join([*text, *table(head, body)]) + "\n")


if __name__ == "__main__":
    main()
