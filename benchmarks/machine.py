"""The machine: what it is, what it can do at most, and an environment that holds a process to so many threads."""

from __future__ import annotations

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from benchmarks.timing import seconds

LIBRARIES = (
    "bgmm",
    "jax",
    "jaxlib",
    "numpyro",
    "numpy",
    "scipy",
    "scikit-learn",
    "gmmx",
    "pomegranate",
    "torch",
    "pymc",
    "nutpie",
)
_THREAD_VARIABLES = ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR")


def description() -> dict:
    """CPU model, cores, memory, Python and library versions; neither names of hosts nor paths."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {
        "cpu": names[0] if names else platform.machine(),
        "vectors": next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "unknown"),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def busy_seconds() -> float:
    """CPU seconds that all cores have spent on anything since the machine started, time stolen from it included."""
    user, nice, system, _, _, irq, soft_irq, stolen, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def environment(threads: int) -> dict[str, str]:
    """Environment variables of a process with so many threads, and without a compilation cache that outlives it."""
    one_or_more = {f"{name}_NUM_THREADS": str(threads) for name in _THREAD_VARIABLES}
    eigen = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    return kept | one_or_more | {"XLA_FLAGS": eigen, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(threads)}


def limits(bits: int, threads: int) -> dict[str, float]:
    """Best of several: floating point operations a second of a matrix product, and exponentials a second."""
    return {"flops": max(_numpy_product(bits), _jax_product(bits)), "exps": _exponentials(bits, threads)}


def _numpy_product(bits: int, n: int = 1536) -> float:
    a = np.random.default_rng(0).standard_normal((n, n)).astype(f"float{bits}")
    return 2 * n**3 / min(seconds(lambda: a @ a) for _ in range(6))


def _jax_product(bits: int, n: int = 1536) -> float:
    import jax

    with jax.enable_x64(bits == 64):
        a = jax.numpy.asarray(np.random.default_rng(0).standard_normal((n, n)).astype(f"float{bits}"))
        product = jax.jit(lambda a: a @ a)
        return 2 * n**3 / min(seconds(lambda: jax.block_until_ready(product(a))) for _ in range(6))


def _exponentials(bits: int, threads: int, n: int = 1 << 14, loops: int = 400) -> float:
    """Of NumPy and of XLA, on vectors that stay in the cache, every thread on a vector of its own."""
    import jax

    vectors = [np.linspace(-5, 0, n).astype(f"float{bits}") for _ in range(threads)]

    def numpy_loop(x):
        out = np.empty_like(x)
        for _ in range(loops):
            np.exp(x, out=out)

    @jax.jit
    def xla(x):
        return jax.lax.fori_loop(0, loops, lambda _, y: -jax.numpy.exp(y), x)

    def xla_loop(x):
        with jax.enable_x64(bits == 64):
            jax.block_until_ready(xla(x))

    with ThreadPoolExecutor(threads) as pool:
        best = min(seconds(lambda f=f: list(pool.map(f, vectors))) for f in (numpy_loop, xla_loop) for _ in range(4))
    return threads * n * loops / best
