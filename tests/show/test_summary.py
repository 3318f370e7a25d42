"""The summary says whether the chains agree, in words, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

import bgmm
from bgmm import assembly, models
from bgmm.posterior.diagnose import verdicts
from bgmm.prior import declared_prior
from tests.mixtures import Parameters, random_mixture, sample
from tests.posterior_trees import jittered, tree_of


def verdict(draws: Parameters, x: np.ndarray) -> str:
    return verdicts(tree_of(draws, x, also=("scales",)))[0]


def test_chains_that_agree_and_chains_that_do_not_are_told_apart(rng):
    mixture = random_mixture(rng, 2, 2, spread=4.0)
    x = sample(rng, mixture, 60)[0]
    whole = jittered(rng, mixture, 4, 500)
    assert verdict(whole, x).startswith("The chains agree: R-hat is at most 1.0")
    moved = whole.means.copy()
    moved[0, :, 1, 0] += 0.1
    torn = verdict(whole._replace(means=moved), x)
    assert torn.startswith("The chains do not agree: R-hat of means[1, f0] is 1.")
    short = Parameters(*(a[:, :50] for a in whole))
    assert "run longer" in verdict(short, x)
    alone = Parameters(*(a[:1] for a in whole))
    assert "at least two chains" in verdict(alone, x)


def test_summary_of_nuts_tells_of_modes_occupied_components_and_resolution(faithful_tree):
    text = bgmm.summary(faithful_tree)
    n_draws = faithful_tree["posterior"].sizes["draw"]
    for part in (
        f"272 rows, 2 features; NUTS, 4 x {n_draws} draws",
        "occupied components: 2 with probability 1.00",
        "found by 16 restarts",
        "means[0, eruption]",
        "resolution of the data: eruption 0.0114, waiting 0.4",
        "The chains agree",
        f"Sampling stopped after {n_draws} of at most 2000 draws",
    ):
        assert part in text


def test_summary_of_em_has_estimates_and_no_intervals(faithful):
    tree = bgmm.fit(models.finite(2), faithful, engine=bgmm.EM(prior=False))
    text = bgmm.summary(tree)
    assert "272 rows, 2 features; EM, one draw" in text
    assert "model: Mixture(weights=Dirichlet(n_components=2), components=Gaussian())\n" in text
    assert f"BIC {float(tree['sample_stats']['bic'].squeeze()):.1f}, AIC" in text
    assert "with 11 parameters" in text
    assert "estimate" in text
    assert "r_hat" not in text
    assert text.endswith("EM converged.")


def test_a_model_in_short_has_what_is_not_at_its_default_arrays_among_it():
    @dataclass(frozen=True, eq=False)
    class Own:
        centres: np.ndarray
        scale: float = 2.0

    assert assembly._in_short(Own(np.array([1.0, 2.0]))) == "Own(centres=array([1., 2.]))"
    assert assembly._in_short(models.finite(3, floor=0.02)) == (
        "Mixture(weights=Dirichlet(n_components=3), components=Gaussian(floor=0.02))"
    )


@pytest.mark.parametrize(("spread", "word"), [(0.1, "nearly alike"), (0.6, "related"), (3.0, "unrelated")])
def test_the_spread_of_shapes_is_said_in_words_with_its_interval_and_the_prior_beside_it(rng, spread, word):
    mixture = random_mixture(rng, 2, 2, spread=4.0)
    tree = tree_of(jittered(rng, mixture, 2, 200), sample(rng, mixture, 60)[0])
    assert "shapes" not in bgmm.summary(tree)
    draws = spread * np.exp(0.2 * rng.normal(size=(2, 200)))
    tree["posterior"] = tree["posterior"].to_dataset().assign(shape_spread=(("chain", "draw"), draws))
    assert "shapes" not in bgmm.summary(tree)  # a site of that name in a program that is not ours
    prior = declared_prior(models.finite(2, components=models.Hierarchical()), 60)
    constants = tree["constant_data"].to_dataset() if "constant_data" in tree.children else xr.Dataset()
    tree["constant_data"] = xr.DataTree(constants.assign(prior_shape_spread=prior["prior_shape_spread"]))
    low, high = np.quantile(draws, [0.025, 0.975])
    text = bgmm.summary(tree)
    assert f"the clusters' shapes are {word}: spread {np.median(draws):.2f}, 95 % between {low:.2f} and {high:.2f}" in text
    assert "(prior 0.40, 0.10 to 1.58)" in text  # quantiles of LogNormal(log 0.4, 0.7)
    tree["sample_stats"] = xr.DataTree(xr.Dataset({"n_occupied": (("chain", "draw"), np.ones((2, 200), int))}))
    assert "shapes" not in bgmm.summary(tree)  # one cluster shares nothing


def test_a_mode_says_no_words_about_shapes(rng):
    mixture = random_mixture(rng, 2, 2, spread=4.0)
    tree = tree_of(jittered(rng, mixture, 1, 1), sample(rng, mixture, 60)[0])
    tree["posterior"] = tree["posterior"].to_dataset().assign(shape_spread=(("chain", "draw"), [[0.6]]))
    prior = declared_prior(models.finite(2, components=models.Hierarchical()), 60)
    tree["constant_data"] = xr.DataTree(xr.Dataset({"prior_shape_spread": prior["prior_shape_spread"]}))
    text = bgmm.summary(tree)
    assert "spread of the clusters' shapes: 0.60 at the mode (prior 0.40, 0.10 to 1.58)" in text
    assert "the clusters' shapes are" not in text


def test_one_component_has_a_summary_too(faithful):
    settings = bgmm.NUTS(n_draws=50, n_warmup=100)
    text = bgmm.summary(bgmm.fit(models.finite(1), faithful[["waiting"]].head(60), engine=settings))
    assert "means[0, waiting]" in text
    assert "nan" not in text


def test_chains_of_which_nothing_varies_are_not_said_to_agree():
    one, other = np.repeat([0, 1], 12), np.tile([0, 1], 12)
    text = bgmm.summary(bgmm.from_draws(assignments=np.stack([np.tile(one, (100, 1)), np.tile(other, (100, 1))])))
    assert "The chains agree" not in text
    assert "No variable varies between draws" in text


def test_the_front_door_gives_the_summary_as_text_that_prints_line_by_line(faithful_tree, capsys):
    text = bgmm.summary(faithful_tree)
    assert isinstance(text, str)
    print(text)
    assert capsys.readouterr().out == f"{text}\n" == f"{text!r}\n"
    assert "those that hold at least one row, counted in each draw" in text
    assert "weights, means and scales (standard deviations) of the clusters, and how far they vary between draws:" in text


def test_answers_say_what_they_are(faithful_tree):
    tree = bgmm.relabel(faithful_tree)
    said = [f(tree).attrs["description"] for f in (bgmm.n_occupied, bgmm.n_components, bgmm.membership, bgmm.labels)]
    said.append(bgmm.partition(tree, n_draws=50, n_starts=1).attrs["description"])
    assert len(set(said)) == len(said)


def test_a_partition_has_fewer_clusters_than_most_draws_where_the_third_holds_other_rows_in_each(rng):
    """As README says of which number to report."""
    z = np.repeat([0, 1], 30) * np.ones((2, 150, 1), int)
    for chain, draw in np.argwhere(rng.random((2, 150)) < 0.67):
        z[chain, draw, rng.choice(60, 2, replace=False)] = 2
    tree = bgmm.from_draws(assignments=z)
    number = bgmm.n_occupied(tree)
    assert float(number.sel(n_occupied=3)) > 0.6
    assert bgmm.partition(tree).sizes["cluster"] == 2
