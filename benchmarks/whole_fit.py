"""A whole fit with 10 restarts, from data in memory to an answer, by defaults: bgmm.fit against GaussianMixture.fit.

Both start from k-means++ or k-means of their own and stop by their own rule, so the log likelihoods they end at stand beside
the times. scikit-learn's default tolerance stops it early; where there is time for it, it runs with a tight one too.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import bgmm
from benchmarks import data, timing
from benchmarks.contenders import US
from benchmarks.data import Mixture
from bgmm import models

RESTARTS = 10
TIGHT = "scikit-learn, tol 1e-7"
_MCLUST = """
suppressMessages(library(mclust)); x <- as.matrix(read.csv("{path}", header = FALSE))
seconds <- system.time(fit <- Mclust(x, G = {k}, modelNames = "VVV", verbose = FALSE))[["elapsed"]]
cat(seconds, fit$loglik)
"""


def problems(quick: bool) -> Iterator[tuple[str, np.ndarray, int, bool]]:
    """Name, rows, K, and whether scikit-learn has the time for a tight tolerance."""
    from sklearn.datasets import load_iris

    yield "iris", load_iris().data, 3, True
    yield "simulated", data.simulated(10_000, 8, 4 if quick else 16), 4 if quick else 16, not quick
    if not quick:
        yield "simulated", data.simulated(100_000, 8, 16), 16, False


def measure(quick: bool) -> Iterator[dict]:
    """One row a problem."""
    for name, x, k, tight in problems(quick):
        yield {"problem": name, "n": len(x), "d": x.shape[1], "k": k} | race(x, k, tight, repeats=2 if quick else 3)


def race(x: np.ndarray, k: int, tight: bool, repeats: int) -> dict:
    """Times, final log likelihoods in the units of the data, and passes over the data."""
    answers: dict[str, dict] = {}
    fit, engine = bgmm.fit, bgmm.EM(prior=False, n_starts=RESTARTS)  # names are imported when first used

    def ours() -> None:
        tree = fit(models.finite(n_components=k), x, engine=engine, log_likelihood=False)
        found = tree["posterior"].isel(chain=0, draw=0)
        stats = tree["sample_stats"]
        mixture = Mixture(*(found[name].values for name in ("weights", "means", "covariances")))
        answers[US] = {"mixture": mixture, "passes": stats["n_passes"].item(), "converged": stats["converged"].item()}

    calls: dict[str, Callable[[], None]] = {US: ours, "scikit-learn": _sklearn(x, k, answers, "scikit-learn")}
    if tight:
        calls[TIGHT] = _sklearn(x, k, answers, TIGHT, tol=1e-7, max_iter=5000)
    with warnings.catch_warnings(action="ignore"):
        cold = timing.seconds(ours)
        values = timing.interleaved({name: (lambda c=call: timing.seconds(c)) for name, call in calls.items()}, repeats)
    reached = {name: data.log_likelihood(x, answer.pop("mixture")) for name, answer in answers.items()}
    for name, value in reached.items():
        answers[name]["log_likelihood"] = value
        answers[name]["ahead_of_scikit_learn"] = value - reached["scikit-learn"]
    row = {"first_fit_seconds": cold, "contenders": timing.summary(values, US), "answers": answers}
    return row | {"missing": {} if _mclust(x, k, row) else {"mclust": "R with mclust is not there"}}


def _sklearn(x: np.ndarray, k: int, answers: dict[str, dict], name: str, **options) -> Callable[[], None]:
    from sklearn.mixture import GaussianMixture

    def run() -> None:
        fitted = GaussianMixture(k, n_init=RESTARTS, random_state=0, **options).fit(x)
        mixture = Mixture(fitted.weights_, fitted.means_, fitted.covariances_)
        answers[name] = {"mixture": mixture, "passes": int(fitted.n_iter_) + 1, "converged": bool(fitted.converged_)}

    return run


def _mclust(x: np.ndarray, k: int, row: dict) -> bool:
    """Add R's mclust, which has one start (hierarchical), and say whether R was there."""
    if shutil.which("Rscript") is None or len(x) > 10_000:  # its hierarchical start needs memory quadratic in N
        return shutil.which("Rscript") is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        np.savetxt(path, x, delimiter=",")
        done = subprocess.run(["Rscript", "-e", _MCLUST.format(path=path, k=k)], capture_output=True, text=True, check=False)
    if done.returncode:
        return False
    elapsed, value = (float(part) for part in done.stdout.split()[-2:])
    times = {"low": elapsed, "median": elapsed, "high": elapsed}
    ratio = elapsed / row["contenders"][US]["seconds"]["median"]
    row["contenders"]["mclust, one start"] = {
        "seconds": times,
        "ratio": {"of_medians": ratio, "low": ratio, "high": ratio},
        "repeats": 1,
    }
    ahead = value - row["answers"]["scikit-learn"]["log_likelihood"]
    row["answers"]["mclust, one start"] = {"log_likelihood": value, "ahead_of_scikit_learn": ahead}
    return True
