"""The verdict on chains: fit warns in one sentence, the tree remembers it, the summary repeats it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import bgmm
from bgmm import models
from bgmm.posterior.diagnose import chains_verdict, verdicts
from bgmm.tree.read import about, with_groups
from tests.mixtures import random_mixture, sample
from tests.posterior_trees import jittered, tree_of

SHORT = bgmm.NUTS(n_draws=100, n_warmup=50, n_chains=2)  # 200 draws: under 400 effective ones


@pytest.fixture
def chains(rng):
    """Four chains of 500 independent draws about one mixture, and a log posterior."""
    mixture = random_mixture(rng, 2, 2, spread=4.0)
    tree = tree_of(jittered(rng, mixture, 4, 500), sample(rng, mixture, 60)[0], also=("scales",))
    stats = xr.Dataset({"lp": (("chain", "draw"), rng.normal(size=(4, 500))), "mode": ("chain", [0, 0, 2, 0])})
    return with_groups(tree, {"sample_stats": stats})


def test_fit_warns_once_of_too_few_effective_draws_and_the_tree_remembers(faithful, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree = bgmm.fit(models.finite(2), faithful, SHORT, seed=0)
    said = [str(w.message) for w in caught]
    assert len(said) == 1
    assert "run longer" in said[0]
    assert about(tree)["warnings"] == said
    assert not about(tree)["verdict"]["passed"]
    bgmm.save(tree, tmp_path / "short.nc")
    assert said[0][1:] in bgmm.summary(bgmm.load(tmp_path / "short.nc"))


def test_fit_remembers_that_long_chains_agree(faithful_tree):
    assert about(faithful_tree)["verdict"]["passed"]
    assert about(faithful_tree)["warnings"] == []


def test_the_remembered_verdict_is_read_back_unless_draws_were_left_out(faithful_tree):
    assert verdicts(faithful_tree) == about(faithful_tree)["verdict"]["sentences"]
    part = verdicts(faithful_tree.isel(draw=slice(0, 60)))
    assert part[0].startswith("4 chains of 60 draws are too short")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (bgmm.NUTS(n_draws=5, n_warmup=50, n_chains=2), "2 chains of 5 draws are too short"),
        (bgmm.NUTS(n_draws=200, n_warmup=50, n_chains=1), "the chain is alone"),
    ],
)
def test_runs_that_cannot_be_judged_are_said_to_be_so(faithful, settings, says):
    with pytest.warns(UserWarning, match=says):
        bgmm.fit(models.finite(2), faithful, settings, seed=0)


def test_em_and_approximations_have_no_verdict_on_chains(faithful):
    tree = bgmm.fit(models.finite(2), faithful, "em", seed=0)
    assert "verdict" not in about(tree)


def test_a_log_posterior_that_differs_between_chains_fails_and_names_their_modes(chains):
    assert chains_verdict(chains).failure is None
    stats = chains["sample_stats"].to_dataset()
    stats["lp"] = stats["lp"] + xr.DataArray([0, 0, 3.0, 0], dims="chain")
    torn = chains_verdict(with_groups(chains, {"sample_stats": stats}))
    assert "R-hat of lp, which does not depend on labels, is 1." in torn.failure
    assert "started in modes 0 and 2" in torn.failure
    same = with_groups(chains, {"sample_stats": stats.assign(mode=("chain", [0, 0, 0, 0]))})
    assert "in different modes or too short" in chains_verdict(same).failure


def test_chains_that_never_move_are_counted_and_their_r_hat_is_no_number_to_read(chains):
    k = np.repeat([[2], [3], [3], [3]], 500, axis=1)
    stats = chains["sample_stats"].to_dataset().assign(n_occupied=(("chain", "draw"), k))
    torn = chains_verdict(with_groups(chains, {"sample_stats": stats}))
    assert "R-hat of n_occupied, which does not depend on labels, is over 100, and 4 of the 4 chains" in torn.failure


def test_few_effective_draws_of_the_log_posterior_fail(chains, rng):
    stats = chains["sample_stats"].to_dataset()
    slow = np.repeat(rng.normal(size=(4, 50)), 10, axis=1) + 1e-3 * rng.normal(size=(4, 500))
    failure = chains_verdict(with_groups(chains, {"sample_stats": stats.assign(lp=(("chain", "draw"), slow))})).failure
    assert failure is not None


def test_divergences_are_told_beside_the_verdict(chains):
    stats = chains["sample_stats"].to_dataset()
    diverging = xr.DataArray(np.zeros((4, 500), bool), dims=("chain", "draw"))
    diverging[1, 3] = True
    verdict = chains_verdict(with_groups(chains, {"sample_stats": stats.assign(diverging=diverging)}))
    assert verdict.sentences[1].startswith("1 draw diverged")
    assert verdict.failure is None
    assert not verdict.passed
    assert chains_verdict(chains).passed
