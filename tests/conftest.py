"""Double precision, a compilation cache kept between runs, and the fits that several tests ask questions of."""

from __future__ import annotations

import gc
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)  # many blocks are spread over both
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
mpl.use("agg")

_MANY_MAPS = 45_000  # a program has tens of them

_LONGEST = [  # files, the longest first, so that no worker begins one of them while the other has nothing left to do
    *("engines/test_gibbs", "test_laws", "engines/test_variational", "engines/test_jumps", "test_fit", "engines/test_em"),
    *("engines/test_nuts", "models/test_weights_priors", "test_progress", "test_far_rows", "engines/test_chains"),
    *("estimators/test_sklearn_checks", "estimators/test_workflows", "core/test_kernel", "estimators/test_mixtures"),
    *("engines/test_search", "test_cli", "estimators/test_against_sklearn", "engines/test_evidence", "posterior/test_compare"),
]


def pytest_collection_modifyitems(items):
    place = {f"tests/{name}.py": i for i, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


def pytest_collection_finish():
    """What was imported is no garbage: without it, and less often, the collector takes a tenth of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def iris():
    from sklearn.datasets import load_iris

    data = load_iris(as_frame=True).data
    return data.rename(columns=lambda name: name.removesuffix(" (cm)"))


@pytest.fixture(scope="session")
def faithful():
    import bgmm

    return bgmm.old_faithful()


@pytest.fixture(scope="session")
def faithful_tree(faithful):
    """Old Faithful, two components, all settings at their defaults: by NUTS, see tests/engines/test_chains.py."""
    import bgmm

    return bgmm.fit(bgmm.models.finite(2), faithful, seed=1)


@pytest.fixture(scope="session")
def iris_tree(iris):
    """Iris by NUTS, three components, everything else at its default, the seed too."""
    import bgmm

    return bgmm.fit(bgmm.models.finite(3), iris, engine="nuts")


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    """Lets compiled programs go before the process has all the memory maps that Linux allows it (65 530 by default)."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > _MANY_MAPS:
        jax.clear_caches()


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)
