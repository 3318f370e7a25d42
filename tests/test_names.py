"""Every name that a column of a frame can have is fitted, saved and read back unchanged."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import bgmm
from bgmm import models
from bgmm.tree.read import features_of, observed
from bgmm.tree.schema import RESERVED, variable_of

NAMES = [
    *(
        "km/h",
        "/",
        "a//b",
        ".",
        "..",
        "",
        "%",
        "%2F",
        "%2E",
        " ",
        " a ",
        "a\nb",
        "tab\t",
        "$x$ {a}_^",
        "x.y",
        "_",
        "-1",
        "#",
        "a,b",
    ),
    *("means", "weights", "x", "lp", "\u00e9", "e\u0301", "\u7a4d", "\U0001f418", "\ufeffa", "\u202e", "long" * 2000),
    *RESERVED,
]
MIXED = [0, 1.5, 2020, None, ("a", 1), pd.Timestamp("2020-01-01"), True]  # names of columns need not be text


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    columns = [*NAMES, *MIXED]
    return pd.DataFrame(rng.normal(size=(40, len(columns))), columns=pd.Index(columns, dtype=object))


@pytest.fixture(scope="module")
def tree(frame):
    return bgmm.fit(models.finite(1, components=models.Diagonal()), frame, engine=bgmm.EM(n_starts=1))


def test_a_tree_with_any_names_is_saved_and_read_back_unchanged(frame, tree, tmp_path):
    names = [str(name) for name in frame.columns]
    bgmm.save(bgmm.posterior_predictive(tree), tmp_path / "fit.nc")
    read = bgmm.load(tmp_path / "fit.nc")
    for one in (tree, read):
        assert list(features_of(one)) == names
        np.testing.assert_array_equal(observed(one), frame.to_numpy())
        assert list(one["posterior"]["means"]["feature"].to_numpy()) == names
    np.testing.assert_allclose(read["posterior"]["means"][0, 0, 0], frame.mean(), atol=0.2)


def test_columns_of_any_name_are_found_in_another_order(frame, tree):
    turned = frame.iloc[:, ::-1]
    np.testing.assert_array_equal(bgmm.log_density(tree, turned), bgmm.log_density(tree))


def test_the_command_takes_every_name_by_columns():
    from bgmm import cli

    assert cli._names('a, "a,b" ,km/h') == ["a", "a,b", "km/h"]


def test_features_of_draws_from_elsewhere_need_names_that_files_hold():
    with pytest.raises(ValueError, match="rename"):
        bgmm.from_draws(np.ones((1, 1, 1)), np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1, 1)), features=["a\0"])


def test_two_features_never_share_a_variable_and_most_keep_their_name():
    names = ["".join(letters) for n in range(5) for letters in itertools.product("%/.2EF5c", repeat=n)] + [*RESERVED, "%63hain"]
    assert len({variable_of(name) for name in names}) == len(names)
    assert not {"", ".", "..", *RESERVED} & {variable_of(name) for name in names}
    assert not any("/" in variable_of(name) for name in names)
    assert all(variable_of(name) == name for name in ("x", "100%", "a.b", "petal length (cm)", "m\u00b2"))


def test_a_plot_shows_dollar_signs_as_they_are(rng):
    import matplotlib.pyplot as plt

    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["$/m$^$", "$"])
    tree = bgmm.fit(models.finite(1, components=models.Diagonal()), frame, engine=bgmm.EM(n_starts=1))
    axes = bgmm.plot_clusters(tree)
    plt.gcf().canvas.draw()
    assert next(iter(np.ravel(axes))).get_xlabel().replace("\\", "") == "$/m$^$"
    plt.close("all")
