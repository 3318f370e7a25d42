"""Answers about rows carry the index of the DataFrame, also from a file; a label is a row's most probable cluster."""

from __future__ import annotations

import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bgmm
from bgmm import models
from bgmm.data.table import as_table, read_table

N = 40
INDICES = {
    "strings": pd.Index([f"row {i}" for i in range(N)]),
    "objects": pd.Index([f"row {i}" for i in range(N)], dtype=object),
    "integers": pd.Index(np.arange(N)[::-1] * 3 - 7, name="number"),
    "floats": pd.Index(np.arange(N) / 4),
    "dates": pd.date_range("2020-01-31 12:30", periods=N, freq="D"),
}
NUMBERED = {
    "default": pd.RangeIndex(N),
    "several levels": pd.MultiIndex.from_product([range(4), list("abcdefghij")]),
    "repeated": pd.Index([0, *range(N - 1)]),
    "missing": pd.Index([np.nan, *range(N - 1)]),
    "mixed": pd.Index(["a", *range(N - 1)], dtype=object),
    "time zone": pd.date_range("2020-01-31", periods=N, tz="Europe/Paris"),
    "periods": pd.period_range("2020-01", periods=N, freq="M"),
}


MODEL = models.finite(2, components=models.Diagonal())


def frame(index) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.normal(-3, 1, size=(N // 2, 2)), rng.normal(3, 1, size=(N // 2, 2))])
    return pd.DataFrame(x, columns=["a", "b"], index=index)


def fitted(x, **options) -> xr.DataTree:
    return bgmm.fit(MODEL, x, bgmm.EM(n_starts=1), **options)


def answers(tree: xr.DataTree) -> dict[str, xr.DataArray | xr.Dataset]:
    around = bgmm.partition(tree, n_draws=50)
    return {
        "observed_data": tree["observed_data"].to_dataset(),
        "constant_data": tree["constant_data"].to_dataset(),
        "membership": bgmm.membership(tree),
        "labels": bgmm.labels(tree),
        "log_density": bgmm.log_density(tree),
        "uncertainty": bgmm.uncertainty(tree),
        "partition": around,
        "credible_ball": bgmm.credible_ball(tree, around),
        "co_clustering": bgmm.co_clustering(tree),
        "replicates": bgmm.posterior_predictive(tree)["posterior_predictive"].to_dataset(),
    }


def index_of(answer) -> pd.Index:
    return answer["observation"].to_index()


@pytest.mark.parametrize("kind", INDICES)
def test_every_answer_about_rows_has_the_index_also_from_a_file(kind, tmp_path):
    x = frame(INDICES[kind])
    tree = fitted(x, weights=np.ones(N))
    bgmm.save(tree, tmp_path / "fit.nc")
    loaded = bgmm.load(tmp_path / "fit.nc")
    for one in (tree, loaded, bgmm.relabel(loaded)):
        for name, answer in answers(one).items():
            assert list(index_of(answer)) == list(x.index), name
        np.testing.assert_array_equal(one["observed_data"].to_dataset().to_pandas(), x)
    assert list(index_of(bgmm.membership(bgmm.prune(loaded)))) == list(x.index)
    pairs = bgmm.co_clustering(loaded, pairs=[[0, 3], [2, 1]])
    assert list(pairs["first"].to_numpy()) == list(x.index.to_numpy()[[0, 2]])
    assert list(bgmm.co_clustering(loaded, rows=[5, 2])["observation_bis"].to_index()) == list(x.index[[5, 2]])
    joined = x.join(bgmm.labels(loaded).to_pandas())
    np.testing.assert_array_equal(joined["label"], bgmm.labels(tree))


@pytest.mark.parametrize("kind", NUMBERED)
def test_rows_of_any_other_index_are_numbered_as_those_of_an_array(kind):
    x = frame(NUMBERED[kind])
    assert as_table(x).labels is None
    tree, plain = fitted(x), fitted(x.to_numpy())
    for ask in (bgmm.membership, bgmm.labels, bgmm.log_density, bgmm.uncertainty):
        assert ask(tree).identical(ask(plain))
        assert "observation" not in ask(tree, x).coords
    assert list(index_of(bgmm.membership(tree))) == list(range(N))
    assert list(index_of(bgmm.co_clustering(tree))) == list(range(N))


def test_coordinates_of_an_xarray_name_its_features_and_rows_also_in_another_order():
    x = frame(INDICES["strings"])
    array = xr.DataArray(x.to_numpy(), {"row": list(x.index), "column": ["u", "v"]}, dims=("row", "column"))
    tree = fitted(array)
    assert list(tree["posterior"]["feature"].to_numpy()) == ["u", "v"]
    xr.testing.assert_equal(bgmm.membership(tree), bgmm.membership(fitted(x)))
    new = array.isel(row=[7, 3], column=[1, 0])
    found = bgmm.membership(tree, new)
    assert list(index_of(found)) == ["row 7", "row 3"]
    np.testing.assert_allclose(found, bgmm.membership(tree)[[7, 3]], rtol=1e-9)
    assert as_table(array.drop_vars("column")).features == ("x1", "x2")


@pytest.mark.parametrize("label", ["a\0b", "\ud800"])
def test_labels_that_no_file_can_hold_are_refused_before_the_fit_and_of_new_rows(label):
    x = frame(pd.Index([label if i == 6 else f"row {i}" for i in range(N)], dtype=object))
    tree = fitted(x.to_numpy())
    for ask in (fitted, lambda rows: bgmm.membership(tree, rows), as_table):
        with pytest.raises(ValueError, match=r"^row 7 of the table has a name with a character that no file can hold"):
            ask(x)


def test_new_rows_have_their_own_index_and_those_of_an_array_none():
    tree = fitted(frame(INDICES["strings"]))
    new = frame(INDICES["dates"])[["b", "a"]].iloc[3:7]
    for ask in (bgmm.membership, bgmm.labels, bgmm.log_density, bgmm.uncertainty):
        assert list(index_of(ask(tree, new))) == list(new.index)
        assert "observation" not in ask(tree, new[["a", "b"]].to_numpy()).coords
    one = fitted(frame(INDICES["strings"])["a"])
    assert list(index_of(bgmm.membership(one))) == list(INDICES["strings"])


def test_draws_from_elsewhere_have_the_index_of_their_rows():
    x = frame(INDICES["strings"])
    z = np.tile(np.repeat([0, 1], N // 2), (1, 30, 1))
    tree = bgmm.from_draws(assignments=z, x=x)
    for answer in (bgmm.membership(tree), bgmm.labels(tree), bgmm.partition(tree), bgmm.co_clustering(tree)):
        assert list(index_of(answer)) == list(x.index)
    np.testing.assert_array_equal(bgmm.labels(tree), z[0, 0])


def test_parquet_keeps_an_index(tmp_path):
    frame(INDICES["strings"]).to_parquet(tmp_path / "rows.parquet")
    assert list(read_table(tmp_path / "rows.parquet").labels) == list(INDICES["strings"])


def test_the_index_makes_no_difference_to_numbers_arviz_and_pictures():
    x = frame(INDICES["strings"])
    settings = bgmm.NUTS(n_draws=50, n_warmup=100, n_chains=2, n_starts=2)
    tree, plain = (bgmm.relabel(bgmm.fit(MODEL, rows, settings)) for rows in (x, x.reset_index(drop=True)))
    xr.testing.assert_equal(tree["posterior"].to_dataset(), plain["posterior"].to_dataset())
    with warnings.catch_warnings(action="ignore"):  # that so few draws are few
        loo, other = (az.loo(each, pointwise=True) for each in (tree, plain))
    assert loo.elpd == other.elpd
    assert list(index_of(loo.pareto_k)) == list(x.index)
    np.testing.assert_array_equal(bgmm.partition(tree)["assignments"], bgmm.partition(plain)["assignments"])
    assert bgmm.agreement({"one": plain, "other": tree})["value"].filter(like="membership").max() == 0
    for plot in (bgmm.plot_clusters, bgmm.plot_co_clustering, bgmm.plot_membership, bgmm.plot_credible_ball):
        plot(tree)
    az.plot_ppc_dist(bgmm.posterior_predictive(tree))
    plt.close("all")


def test_a_label_is_the_cluster_of_the_largest_membership():
    tree = fitted(frame(NUMBERED["default"]).to_numpy())
    rows = [[-3.0, -3.0], [3.0, 3.0], [0.1, -0.2]]
    found = bgmm.labels(tree, rows)
    assert found.dims == ("observation",)
    assert found.dtype.kind == "i"
    np.testing.assert_array_equal(found, bgmm.membership(tree, rows).to_numpy().argmax(1))
    np.testing.assert_array_equal(bgmm.labels(bgmm.relabel(tree)), bgmm.labels(tree))
    assert found[0] != found[1]
