"""Any array in, one of two outcomes out: an answer of numbers, or one sentence that the library raises itself."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import bgmm
from benchmarks.boundary_contenders import US, Asked
from benchmarks.boundary_inputs import BLOBS, FINITE, either
from benchmarks.boundary_judge import judged
from bgmm import models
from bgmm.core.bulk import bulk_of
from bgmm.core.scaling import recording_steps, scaling_of

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as arrays  # noqa: E402

# The same examples in every run, so that a failure is one of the code.
few = hypothesis.settings(
    derandomize=True, database=None, deadline=None, max_examples=16, suppress_health_check=list(hypothesis.HealthCheck)
)
many = hypothesis.settings(few, max_examples=160)
ENGINE = bgmm.EM(n_starts=2, max_steps=50)

ordinary = st.floats(-10, 10)
odd = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, -999.0, 1e12, 1e20, 1e150, -1e308, 5e-324, 1e-150]),
)
bad = st.sampled_from([np.nan, np.inf, -np.inf])


@st.composite
def tables(draw, *, d: int = 2, finite: bool = False) -> np.ndarray:
    """Rows of ordinary numbers, of odd ones, of both, or with values that are missing or infinite."""
    n = draw(st.integers(2, 12))
    elements = draw(st.sampled_from([ordinary, odd, st.one_of(ordinary, odd), st.sampled_from([0.0, 1.0, 2.5])]))
    x = draw(arrays.arrays(np.float64, (n, d), elements=elements))
    if not finite and draw(st.booleans()):
        x[draw(st.integers(0, n - 1)), draw(st.integers(0, d - 1))] = draw(bad)
    return x


def check(x, new=None, model=None) -> None:
    options = {"engine": ENGINE, "model": model or models.finite(2)}
    found = judged(lambda: US.run(Asked(x, 2, new, options)), either(FINITE), US.packages)
    assert found.met, found.says


@pytest.mark.slow
@few
@hypothesis.given(tables())
def test_any_table_is_fitted_or_refused(x):
    check(x)


@pytest.mark.slow
@few
@hypothesis.given(tables(d=1))
def test_any_column_is_fitted_or_refused(x):
    check(x[:, 0])


@pytest.fixture(scope="module")
def tree():
    return bgmm.fit(models.finite(2, components=models.Diagonal()), BLOBS, ENGINE)


@few
@hypothesis.given(x=tables())
def test_any_table_is_predicted_or_refused(x, tree):
    with warnings.catch_warnings(action="ignore"):
        try:
            p, log_density = bgmm.membership(tree, x).to_numpy(), bgmm.log_density(tree, x).to_numpy()
            said = bgmm.uncertainty(tree, x)
        except ValueError:
            assert np.isinf(x).any()
            return
    assert not np.isinf(x).any()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-9)
    assert not np.isnan(log_density).any()
    assert np.isfinite(said["entropy"]).all()
    assert np.isfinite(said["overlap"]).all()


@few
@hypothesis.given(
    st.one_of(
        st.none(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(),
        st.lists(st.one_of(st.floats(-9, 9), st.text(), st.none(), st.booleans(), st.integers(), st.lists(st.floats(-9, 9)))),
        st.dictionaries(st.text(), st.floats()),
        arrays.arrays(
            st.sampled_from([bool, "int8", "uint64", "float16", "complex128", "U3", "S2", "M8[s]", "m8[s]", object]),
            arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        ),
    )
)
def test_anything_is_fitted_or_refused(x):
    check(x, model=models.finite(1))


@many
@hypothesis.given(tables(finite=True), st.data())
def test_units_are_finite_and_rows_between_the_limits_stay_near(x, data):
    weights = data.draw(arrays.arrays(np.float64, len(x), elements=st.floats(0.1, 5)))
    units, limits = scaling_of(x, weights), bulk_of(x, weights)
    assert np.isfinite(units.centre).all()
    assert (units.scale > 0).all()
    assert not np.isnan(limits.low).any()
    assert (limits.low < limits.high).all()
    with np.errstate(over="ignore"):
        steps = recording_steps(x, units)
        assert (steps >= 0).all()
        assert (steps <= 2 * units.scale).all()
    mine = (x >= limits.low) & (x <= limits.high)
    assert mine.mean() >= 0.5
