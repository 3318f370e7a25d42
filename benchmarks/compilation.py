"""What is compiled by a first fit, by a fit of other data of about the same size, by that fit done again, and by more data.

Programs are counted through JAX's own events. A process for each engine; no cache on disk.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from benchmarks import data, timing
from benchmarks.worker import fresh

FITS = {
    "first": (0, 10_000),
    "other data, 1 % more rows": (1, 10_100),
    "the same again": (1, 10_100),
    "20 % more rows": (2, 12_000),
}
D, K = 3, 4
_EVENT = "/jax/core/compile/backend_compile_duration"


def measure(quick: bool) -> Iterator[dict]:
    """One row an engine."""
    for engine in ("em",) if quick else ("em", "em_map", "nuts"):
        yield fresh("compilation", "fits", engine=engine, scale=0.1 if quick or engine == "nuts" else 1.0)


def fits(engine: str, scale: float) -> dict:
    """Programs compiled, seconds that took, and seconds in all, of each fit in one process."""
    import jax

    import bgmm
    from bgmm import models

    fit = bgmm.fit  # the name is imported when first used
    compiled: list[float] = []

    def note(event: str, duration: float, **_) -> None:
        if event == _EVENT:
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    settings = {"em": bgmm.EM(prior=False), "em_map": bgmm.EM(), "nuts": bgmm.NUTS(n_draws=500, n_warmup=300)}[engine]
    told = {}
    for name, (seed, n) in FITS.items():
        x = data.simulated(int(n * scale), D, K, seed=seed, spread=4.0)
        compiled.clear()
        with warnings.catch_warnings(action="ignore"):
            seconds = timing.seconds(lambda x=x: fit(models.finite(n_components=K), x, engine=settings, seed=0))
        told[name] = {"n": len(x), "programs": len(compiled), "compile_seconds": sum(compiled), "seconds": seconds}
    _, second, third, _ = told.values()
    return {"engine": engine, "d": D, "k": K, "fits": told, "second_over_compute": second["seconds"] / third["seconds"]}
