"""Input that is likely a mistake, or that nothing can be computed from: one sentence that names it and the way out."""

from __future__ import annotations

from decimal import Decimal

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import scipy.sparse

import bgmm
from bgmm import models
from bgmm.data.stream import Stream
from bgmm.data.table import as_table, read_table

RNG = np.random.default_rng(8)
ONE, QUICK = models.finite(1, components=models.Diagonal()), bgmm.EM(n_starts=1)  # compiled quickly
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
        bgmm.fit(ONE, pd.DataFrame(x, columns=["stamp", "b"]), QUICK)
    with pytest.warns(UserWarning, match=expected.replace("stamp", "x1")):
        bgmm.fit(ONE, x, QUICK)
    bgmm.fit(ONE, x[:3], QUICK)  # exact in float64, and warnings are errors


BIG = 2**53 + 1


def stream_of(path, x):
    np.save(path, x)
    return bgmm.stream(path)


def parquet_of(path, values, read):
    pd.DataFrame({"b": [1.5, 2, 4, 3], "stamp": values}).to_parquet(path)
    return read(path)


def csv_of(path, text):
    path.write_text(text)
    return read_table(path)


@pytest.mark.parametrize(
    "made",
    [
        lambda folder: csv_of(folder / "x.csv", f"b,stamp\n1.5,3\n2,{BIG}\n4,5\n3,{BIG + 1}\n"),
        lambda folder: csv_of(folder / "x.csv", f"b;stamp\n1,5;+3\n2;-{'0' * 5000}{BIG}\n4;5\n3;{BIG + 1}\n"),
        lambda folder: stream_of(folder / "x.npy", np.array([[1, 3], [2, BIG], [4, 5], [3, BIG + 1]])),
        lambda folder: stream_of(folder / "x.npy", np.array([[1, 3], [2, BIG], [4, 5], [3, BIG + 1]], np.uint64)),
        lambda folder: parquet_of(folder / "x.parquet", [3, BIG, 5, BIG + 1], bgmm.stream),
        lambda folder: parquet_of(folder / "x.parquet", pd.array([3, BIG, None, BIG + 1], "Int64"), read_table),
        lambda folder: as_table(pd.DataFrame({"b": [1.5, 2, 4, 3], "stamp": pd.array([3, BIG, None, BIG + 1], "Int64")})),
        lambda folder: as_table([[1.5, 3], [2, BIG], [4, 5], [3, BIG + 1]]),
        lambda folder: as_table(np.ma.array([[1, 3], [2, BIG], [BIG, 5], [3, BIG + 1]], mask=[[0, 0], [0, 0], [1, 0], [0, 0]])),
        lambda folder: as_table(pd.DataFrame({"b": [1.5, 2, 4], "stamp": [Decimal(3), Decimal(BIG), Decimal("0.5")]})),
    ],
    ids=["csv", "decimal commas", "npy", "uint64", "parquet stream", "parquet", "Int64", "lists", "masked", "Decimal"],
)
def test_whole_numbers_that_float64_rounds_are_named_whatever_holds_them(made, tmp_path):
    data = made(tmp_path)
    notes = data.lost_digits() if isinstance(data, Stream) else data.notes
    (note,) = (note for note in notes if "2^53" in note)
    assert note.startswith(f"column '{data.features[1]}' of ")
    assert "(row 2 has " in note
    assert f"{BIG})" in note


def test_a_fit_of_a_stream_names_the_first_row_that_float64_rounds_and_no_exact_ones(tmp_path):
    x = np.stack([np.arange(70_000) % 97, 2**53 + 2 * (np.arange(70_000) % 89)], 1)
    assert stream_of(tmp_path / "exact.npy", x).lost_digits() == []
    x[66_000, 1] += 1
    with pytest.warns(UserWarning, match=r"^column 'x2' of '.*rows.npy' has whole numbers above 2\^53, .* \(row 66001 has"):
        bgmm.fit(ONE, stream_of(tmp_path / "rows.npy", x), QUICK)


def test_weights_and_means_beyond_float64_are_refused():
    assert "one number for each of the 60 rows" in refusal(models.finite(2), X, "em", weights=[10**400] * 60)
    assert refusal(models.finite(2), X, "em", start=[[0, 0], [10**400, 1]]).startswith("start must be finite means")


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
