"""What the evidence of each number of components says, beside published figures and the sampler that moves between numbers.

``python -m benchmarks.evidence galaxies`` takes the priors of Richardson and Green (1997), declared as a user would, on the
version of the galaxies whose 78th value is 26.69; log evidence -235.254 (K = 2) and -226.677 (K = 3) are published for it.

``python -m benchmarks.evidence sets FOLDER`` compares P(K+ = m) by ``log_evidence`` with that of Gibbs, for 1 to 6 components
of the default family under a uniform prior and concentration 1, on CSV files of a folder, and writes EVIDENCE.md; with
``--only SET ...`` these alone. A data set that is in build/benchmarks/evidence.jsonl is not fitted again. "Error" is one Monte
Carlo standard error: of the evidence over its batches, of Gibbs from the effective draws of the indicator of m. k-hat is that
of the importance weights of m components; with "SMC", tempered sequential Monte Carlo took their place, in as many
temperatures as stand there. "Starts" are those of the search for modes: with 5 components on Old Faithful, 32 find 7 modes, and
a third of the evidence of the 11 that 128 find.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import arviz as az
import numpy as np
import xarray as xr

import bgmm
from benchmarks.declared import RichardsonGreen
from benchmarks.labelled import SETS, read
from benchmarks.store import keep_line, kept_lines
from benchmarks.tables import table
from bgmm import models

FILE = Path(__file__).parent.parent / "build" / "benchmarks" / "evidence.jsonl"
TABLE = Path(__file__).parent / "EVIDENCE.md"
PUBLISHED = {2: -235.254, 3: -226.677}
LARGEST = 6
STARTS = 128
SHOWN = 0.005  # least probability in the table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["galaxies", "sets"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", choices=["faithful", *SETS], default=["faithful", *SETS], metavar="SET")
    arguments = parser.parse_args()
    if arguments.what == "galaxies":
        galaxies()
    elif arguments.folder is None:
        parser.error("sets needs the folder of the CSV files")
    else:
        sets(arguments.folder, arguments.only)


def galaxies() -> None:
    """The evidence under published priors."""
    x = bgmm.galaxies().to_numpy(copy=True)
    x[x == 26.96] = 26.69
    family = RichardsonGreen(float(x.min() + x.max()) / 2, float(np.ptp(x)))
    found = bgmm.log_evidence(models.Mixture(_weights(), family), x, standardise=False)
    for dim in ("n_components", "n_occupied"):
        print(found[[name for name in found if found[name].dims == (dim,)]].to_dataframe().round(4).T.to_string())
    for k, published in PUBLISHED.items():
        print(f"K = {k}: {float(found['log_evidence'].sel(n_components=k)):.3f}, published {published}")


def sets(folder: Path, names: list[str]) -> None:
    """P(K+) both ways, set after set."""
    lines = kept_lines(FILE)
    for name in names:
        if name not in {line["name"] for line in lines}:
            x = bgmm.old_faithful().to_numpy() if name == "faithful" else read(folder, name)[0]
            lines.append({"name": name, "shape": x.shape} | compared(x))
            keep_line(FILE, lines[-1])
        _write(lines)


def compared(x: np.ndarray) -> dict:
    """P(K+ = 1 .. ``LARGEST``) by evidence and by Gibbs, with their errors."""
    model = models.Mixture(_weights(), models.Hierarchical())
    start = time.process_time()
    with warnings.catch_warnings(action="ignore"):
        found = bgmm.log_evidence(model, x, settings=bgmm.Evidence(n_starts=STARTS))
        middle = time.process_time()
        tree = bgmm.fit(model, x, seed=0, log_likelihood=False)
    k_plus = tree["posterior"]["n_occupied"].to_numpy()
    is_m = [(k_plus == m).astype(float) for m in range(1, LARGEST + 1)]
    r_hat = az.rhat(k_plus.astype(float)) if np.ptp(k_plus) else 1.0
    return {
        "starts": STARTS,
        "evidence": _finite(found["posterior_n_occupied"]),
        "evidence_error": _finite(found["posterior_n_occupied_error"]),
        "k_hat": _finite(found["k_hat"]),
        "n_temperatures": _finite(found["n_temperatures"]),
        "gibbs": [float(of_m.mean()) for of_m in is_m],
        "gibbs_error": [float(of_m.std() / np.sqrt(az.ess(of_m))) if np.ptp(of_m) else 0.0 for of_m in is_m],
        "r_hat": float(r_hat),
        "cpu_seconds": [middle - start, time.process_time() - middle],
    }


def _weights() -> models.RandomK:
    return models.RandomK(models.Uniform(), concentration=1.0, dynamic=False, max_components=LARGEST)


def _finite(values: xr.DataArray) -> list[float | None]:
    """Values for JSON, in which what is not finite has no place."""
    return [float(value) if np.isfinite(value) else None for value in values.to_numpy()]


def _write(lines: list[dict]) -> None:
    """The table of the sets so far."""
    head = ["data", "m", "evidence: P(K+ = m)", "error", "k-hat", "Gibbs: P(K+ = m)", "error", "difference in errors"]
    head += ["R-hat of K+", "starts", "CPU s"]
    body = []
    for line in lines:
        about = [f"{line['r_hat']:.3f}", str(line["starts"]), " and ".join(f"{seconds:.0f}" for seconds in line["cpu_seconds"])]
        name = f"{line['name']}, {line['shape'][0]} x {line['shape'][1]}"
        for i in range(LARGEST):
            both = [line[key][i] for key in ("evidence", "evidence_error", "gibbs", "gibbs_error")]
            if max(both[0], both[2]) < SHOWN:
                continue
            error = np.hypot(both[1], both[3])
            z = f"{(both[0] - both[2]) / error:+.1f}" if error else "–"
            k_hat, n_temperatures = line["k_hat"][i], line["n_temperatures"][i]
            method = f"SMC, {n_temperatures:.0f}" if n_temperatures else "–" if k_hat is None else f"{k_hat:.2f}"
            told = [f"{value:.3f}" for value in both]
            body.append([name, str(i + 1), *told[:2], method, *told[2:], z, *about])
            name, about = "", ["", "", ""]
    text = ["# Two ways to the number of clusters", "", (__doc__ or "").split("\n\n")[2].strip(), ""]
    TABLE.write_text("\n".join([*text, *table(head, body)]) + "\n")


if __name__ == "__main__":
    main()
