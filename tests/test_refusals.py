"""Input that is likely a mistake, or that nothing can be computed from: one sentence that names it and the way out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import scipy.sparse

import bgmm
from bgmm import models

RNG = np.random.default_rng(8)
X = np.concatenate([RNG.normal(size=(30, 2)), 8 + RNG.normal(size=(30, 2))])


def refusal(*arguments, **options) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        bgmm.fit(*arguments, **options)
    return str(error.value)


@pytest.mark.parametrize("values", [np.int64, np.uint64, object], ids=["int64", "uint64", "object"])
def test_whole_numbers_that_float64_rounds_are_named_by_row_and_column(values):
    x = np.array([[2**53, 5], [2**53 + 2, 6], [2**53 + 4, 9], [2**53 + 7, 8]]).astype(values)
    expected = r"^column 'stamp' of the table has whole numbers above 2\^53, .* \(row 4 has 9007199254740999\)"
    with pytest.warns(UserWarning, match=expected):
        bgmm.fit(models.finite(1), pd.DataFrame(x, columns=["stamp", "b"]), "em")
    with pytest.warns(UserWarning, match=expected.replace("stamp", "x1")):
        bgmm.fit(models.finite(1), x, "em")
    bgmm.fit(models.finite(1), x[:3], "em")  # exact in float64, and warnings are errors


@pytest.mark.parametrize(
    ("weight", "says"), [(1e-300, "hardly a row"), (5e-324, "hardly a row"), (1e300, "too many to add up")]
)
def test_weights_that_do_not_count_rows_are_refused(weight, says):
    said = refusal(models.finite(2), X, "em", weights=np.full(60, weight))
    assert says in said
    assert said.endswith("scale them to sum to the number of rows: weights / weights.mean()")


def test_weights_that_sum_to_one_are_named_and_scaled_ones_are_not():
    with pytest.warns(UserWarning, match=r"^weights count rows, and these sum to 1, so that the priors decide"):
        bgmm.fit(models.finite(2), X, "em", weights=np.full(60, 1 / 60))
    bgmm.fit(models.finite(2), X, "em", weights=np.full(60, 1 / 60) * 60)


def test_a_program_that_does_not_take_the_rows_is_refused():
    def nothing():
        raise AssertionError

    def more(rows, labels):
        raise AssertionError

    assert "the model nothing cannot be called with the rows alone" in refusal(nothing, X)
    assert refusal(more, X).endswith("it must take one argument: def more(rows)")
    assert refusal(int, X) == "model must be one of bgmm.models or a NumPyro program, not int"


@pytest.mark.parametrize("width", [1, 3])
def test_a_program_that_observes_another_width_is_refused(width):
    def program(rows):
        means = numpyro.sample("means", dist.Normal(0, 2).expand([2, width]).to_event(2))
        mixture = bgmm.GaussianMixture(jnp.ones(2) / 2, means, scale_tril=jnp.stack([jnp.eye(width)] * 2))
        numpyro.sample("x", mixture, obs=rows)

    features = f"{width} feature" + "s" * (width > 1)
    assert f"site 'x' observes a mixture of {features}, and the rows have 2; declare means" in refusal(program, X)


def test_sparse_and_structured_arrays_are_told_how_to_be_given():
    sparse, structured = scipy.sparse.csr_matrix(X), np.rec.fromarrays(X.T, names="a,b")
    assert refusal(models.finite(1), sparse) == "the table is a sparse csr_matrix, and a fit needs all values; give x.toarray()"
    assert refusal(models.finite(1), structured).endswith("an array with named fields (a, b); give pandas.DataFrame(x)")
