"""How many clusters and which, by default, on data sets whose classes are known.

``python -m benchmarks.labelled FOLDER`` reads the CSV files named below from a folder and writes LABELLED.md, set after set;
with ``--only SET ...`` these alone, and the other lines stay. A line holds the clusters of ``fit(random_k(), x)`` by default,
of the same with independent covariances (``components=models.Gaussian()``), of scikit-learn's BayesianGaussianMixture (10
components, 5 starts) and of its GaussianMixture (the best BIC over its four families and 1 to 9 components), these two on
standardised columns. "Index" is the adjusted Rand index of the clusters, in our case those of ``partition``, with the classes,
which no method sees. The figures of mclust 6.0 (BIC over 14 families) are published ones. CPU seconds are those of a fit on all
cores, compilation with a kept cache included.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

import bgmm
from benchmarks.tables import likely, table
from bgmm import models

TABLE = Path(__file__).parent / "LABELLED.md"
# classes, columns that are neither classes nor features, and the adjusted Rand index of mclust's choice
SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float | None]] = {
    "iris": (("Species",), (), 0.568),
    "thyroid": (("Diagnosis",), (), 0.877),
    "crabs": (("sp", "sex"), ("index",), 0.794),
    "banknote": (("Status",), (), 0.842),
    "wine13": (("Class",), (), 0.967),
    "diabetes_mclust": (("class",), (), 0.664),
    "flea_scaled": (("species",), (), 1.0),
    "hemophilia": (("gr",), (), 0.0),
    "wade_ex1": (("cls.true",), (), 0.934),
    "wade_ex2": (("cls.true",), (), 0.854),
    "ais": (("sex",), ("sport",), None),
    "coffee": (("Variety",), ("Country",), None),
    "olive": (("Area",), ("Region",), None),
    "yeast_subset626": (("Site",), (), None),
}


def read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and the class of each."""
    classes, others, _ = SETS[name]
    frame = pd.read_csv(folder / f"{name}.csv")
    labels = pd.factorize(frame[list(classes)].astype(str).agg(" ".join, axis=1))[0]
    return frame.drop(columns=[*classes, *others]).to_numpy(float), labels


def ours(components: object) -> Callable[[np.ndarray], tuple[np.ndarray, list[str]]]:
    """Clusters, and what else the default fit of a family says."""

    def fit(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
        tree = bgmm.fit(models.random_k(components=components), x, seed=0)
        n_occupied = tree["posterior"]["n_occupied"].to_numpy()
        p = np.bincount(n_occupied.ravel()) / n_occupied.size
        spread = tree["posterior"].get("shape_spread")
        agree = not any("do not agree" in sentence for sentence in json.loads(tree.attrs["bgmm"])["verdict"]["sentences"])
        told = [likely(p), "" if spread is None else f"{float(spread.median()):.2f}", "yes" if agree else "no"]
        return bgmm.partition(tree)["assignments"].to_numpy(), told

    return fit


def dirichlet_process(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """scikit-learn's clusters with weights that leave components empty."""
    return BayesianGaussianMixture(n_components=10, n_init=5, max_iter=1000, random_state=0).fit_predict(_standardised(x)), []


def best_bic(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """scikit-learn's clusters at the least BIC."""
    x = _standardised(x)
    kinds = ("full", "tied", "diag", "spherical")
    fits = [GaussianMixture(k, covariance_type=c, n_init=5, random_state=0).fit(x) for c in kinds for k in range(1, 10)]
    return min(fits, key=lambda fit: fit.bic(x)).predict(x), []


def _standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / x.std(0)


CONTENDERS = {
    "default": (ours(None), ["P(K+) from .05", "sharing b", "chains agree"]),
    "Gaussian": (ours(models.Gaussian()), ["P(K+) from .05", "", "chains agree"]),
    "scikit-learn, Dirichlet process": (dirichlet_process, []),
    "scikit-learn, BIC": (best_bic, []),
}


def main() -> None:
    """Fit everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS), metavar="SET")
    arguments = parser.parse_args()
    lines = _written() if arguments.only != list(SETS) else {}
    for name in arguments.only:
        x, labels = read(arguments.folder, name)
        line = [f"{name}, {len(x)} x {x.shape[1]}"]
        for fit, columns in CONTENDERS.values():
            start = time.process_time()
            with warnings.catch_warnings(action="ignore"):
                found, told = fit(x)
            seconds = time.process_time() - start
            told = [value for value, column in zip(told, columns, strict=True) if column]
            index = adjusted_rand_score(labels, found)
            line += [f"{index:.3f}", str(len(np.unique(found))), *told, *([f"{seconds:.0f}"] if columns else [])]
        published = SETS[name][2]
        lines[name] = [*line, "–" if published is None else f"{published:.3f}"]
        print(lines[name], flush=True)
        _write([lines[name] for name in SETS if name in lines])


def _written() -> dict[str, list[str]]:
    """The lines of the sets that are in the table."""
    found = [line.strip("| \n").split(" | ") for line in TABLE.read_text().splitlines() if line.count(" | ") > len(CONTENDERS)]
    return {cells[0].partition(",")[0]: cells for cells in found if cells[0].partition(",")[0] in SETS}


def _write(lines: list[list[str]]) -> None:
    """The tables of the sets so far."""
    head = ["data"]
    for title, (_, columns) in CONTENDERS.items():
        head += [f"{title}: index", "clusters", *filter(None, columns), *(["CPU s"] if columns else [])]
    head.append("mclust: index")
    at = [i for i, title in enumerate(head) if title.endswith(": index")]
    with_mclust = np.array([[float(line[i]) for i in at] for line in lines if line[-1] != "–"])
    means = with_mclust.mean(0) if len(with_mclust) else np.full(len(at), np.nan)
    of = [head[i].removesuffix(": index") for i in at]
    text = [
        "# Clusters and classes",
        "",
        (__doc__ or "").split("\n\n")[1].strip(),
        "",
        *table(head, lines),
        "",
    ]
    text += ["Mean index of the sets that mclust answers:", "", *table(of, [[f"{mean:.3f}" for mean in means]])]
    TABLE.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
