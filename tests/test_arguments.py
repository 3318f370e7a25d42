"""Arguments in the wrong place: one sentence that shows the right call."""

from __future__ import annotations

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bgmm
from bgmm import models
from tests.mixtures import random_mixture, sample
from tests.posterior_trees import jittered, tree_of
from tests.test_lazy import said_by

QUESTIONS = [
    name
    for name in bgmm.__all__
    if inspect.isfunction(getattr(bgmm, name)) and next(iter(inspect.signature(getattr(bgmm, name)).parameters), "") == "tree"
]
X = pd.DataFrame({"f0": [2.9, 1.0, 4.0], "f1": [63.0, 50.0, 80.0]})


@pytest.fixture
def tree(rng):
    mixture = random_mixture(rng, 2, 2)
    return tree_of(jittered(rng, mixture, 1, 4), sample(rng, mixture, 40)[0])


def refusal(function, *arguments, **keywords) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        function(*arguments, **keywords)
    return str(error.value)


def test_the_questions_are_all_here():
    assert {"membership", "sample", "save", "plot_clusters", "plot_credible_ball", "co_clustering", "prune"} <= set(QUESTIONS)
    assert len(QUESTIONS) >= 18


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_says_that_the_tree_comes_first(name):
    question = getattr(bgmm, name)
    for given in (X, X.to_numpy(), [[2.9, 63.0]], None, models.finite(2), "fit.nc"):
        said = refusal(question, given)
        assert said.startswith(f"{name} needs the tree that bgmm.fit returned first")
        assert f": bgmm.{name}(tree" in said
        assert f", not {type(given).__name__}" in said
        assert ("bgmm.load('fit.nc')" in said) == (given == "fit.nc" if isinstance(given, str) else False)
    assert refusal(question, tree=3) == refusal(question, 3)
    with pytest.raises(TypeError, match="tree"):
        question()
    with pytest.raises(TypeError, match=f"{name} has no option frobnicate; "):
        question(X, frobnicate=3)


def test_the_sentence_shows_the_call(tree):
    expected = "membership needs the tree that bgmm.fit returned first, then the rows: bgmm.membership(tree, x), not DataFrame"
    assert refusal(bgmm.membership, X, tree) == expected
    assert "then the number of rows: bgmm.sample(tree, n), not int" in refusal(bgmm.sample, 5, tree)
    assert "then the path: bgmm.save(tree, path), not str" in refusal(bgmm.save, "fit.nc", tree)
    assert "first: bgmm.n_occupied(tree), not Dataset" in refusal(bgmm.n_occupied, tree["posterior"].to_dataset())
    assert "at least two fits by name" in refusal(bgmm.agreement, tree)
    assert "at least two fits by name" in refusal(bgmm.plot_agreement, tree)


@pytest.mark.parametrize(
    ("model", "call"),
    [
        (models.finite, "call it: models.finite(n_components=3)"),
        (models.random_k, "call it: models.random_k()"),
        (models.sparse, "call it: models.sparse()"),
        (models.Mixture, "call it: models.Mixture(weights=...)"),
        (models.Gaussian, "call it: models.Gaussian()"),
    ],
)
def test_a_model_that_was_not_called_is_said_to_need_a_call(model, call):
    for ask in (bgmm.fit, bgmm.log_evidence):
        assert refusal(ask, model, X).endswith(call)
    assert refusal(bgmm.prior_n_occupied, model, 30).endswith(call)


def test_the_model_comes_before_the_data():
    assert "bgmm.fit(model, x), and here DataFrame is first" in refusal(bgmm.fit, X, models.finite(2))


@pytest.mark.parametrize(
    "row", [[2.9, 63.0], (2.9, 63.0), np.array([2.9, 63.0]), X.iloc[0]], ids=lambda row: type(row).__name__
)
def test_one_row_given_flat_is_asked_for_as_a_list_of_rows(tree, row):
    for ask in (bgmm.membership, bgmm.log_density, bgmm.uncertainty):
        assert refusal(ask, tree, row).endswith("put it in a list: [[2.9, 63]]")
    assert bgmm.membership(tree, [row] if not isinstance(row, pd.Series) else X.iloc[[0]]).shape == (1, 2)


def test_one_row_given_flat_is_asked_for_as_a_list_where_features_have_no_names(rng):
    mixture = random_mixture(rng, 2, 2)
    tree = tree_of(jittered(rng, mixture, 1, 4), sample(rng, mixture, 40)[0])
    unnamed = bgmm.fit(models.finite(1), X.to_numpy(), bgmm.EM(prior=False, n_starts=1))
    for one in (tree, unnamed):
        assert refusal(bgmm.membership, one, [2.9, 63.0]).endswith("put it in a list: [[2.9, 63]]")


def test_of_one_feature_a_flat_list_is_rows_as_in_fit(rng):
    mixture = random_mixture(rng, 2, 1)
    tree = tree_of(jittered(rng, mixture, 1, 4), sample(rng, mixture, 40)[0])
    assert bgmm.log_density(tree, [1.0, 2.0, 3.0]).shape == (3,)


def test_a_name_where_a_list_of_names_is_wanted(tree, tmp_path):
    for plot in (bgmm.plot_clusters, bgmm.plot_credible_ball):
        assert refusal(plot, tree, features="f1") == "features must be a list of names, such as ['f0'], not 'f1'"
    plt.close("all")
    np.save(tmp_path / "rows.npy", X.to_numpy())
    assert refusal(bgmm.stream, tmp_path / "rows.npy", "x1") == "columns must be a list of names, such as ['x1'], not 'x1'"


def test_a_number_where_a_list_is_wanted_outside_of_the_tests_own_checker(tree, tmp_path):
    bgmm.save(tree, tmp_path / "fit.nc")
    program = """
import json, sys, bgmm
tree = bgmm.load(sys.argv[1])
said = []
for options in ({"masses": 0.9}, {"features": 3}, {"features": 0.5}):
    try:
        bgmm.plot_clusters(tree, **options)
    except ValueError as error:
        said.append(str(error))
print(json.dumps(said))
"""
    masses, *features = said_by(program, str(tmp_path / "fit.nc"))
    assert masses == "masses must be a list of probabilities, such as [0.5, 0.9], not 0.9"
    assert features == [f"features must be a list of names, such as ['f0'], not {value}" for value in (3, 0.5)]
