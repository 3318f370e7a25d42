"""All boundary cases of arrays, by section; each module says name, input, and what is expected."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.boundary_data import degenerate, far_rows, units
from benchmarks.boundary_inputs import Case
from benchmarks.boundary_kinds import kinds_of_arrays, missing_and_infinite
from benchmarks.boundary_options import by_gibbs, prediction, weights_and_options

SECTIONS: dict[str, Callable[[], list[Case]]] = {
    "Units": units,
    "Kinds of arrays": kinds_of_arrays,
    "Missing and infinite values": missing_and_infinite,
    "Degenerate data": degenerate,
    "Far rows and fill values": far_rows,
    "Weights and options": weights_and_options,
    "Prediction": prediction,
    "By Gibbs": by_gibbs,
}
