"""The tree that fit returns, ArviZ at work on it, and what fit refuses."""

from __future__ import annotations

import json
import warnings

import arviz as az
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.assembly import check_draws_for_loo
from tests.mixtures import Parameters as Mixture
from tests.mixtures import log_density

FAST = bgmm.EM(prior=False)


def test_the_tree_is_in_the_users_units(faithful_tree, faithful):
    posterior = faithful_tree["posterior"]
    assert posterior["means"].dims == ("chain", "draw", "cluster", "feature")
    assert posterior["covariances"].dims == ("chain", "draw", "cluster", "feature", "feature_bis")
    assert list(posterior["feature"].to_numpy()) == ["eruption", "waiting"]
    assert posterior["means"].dtype == np.float64
    mean = (posterior["weights"] * posterior["means"]).sum("cluster").mean(["chain", "draw"])
    np.testing.assert_allclose(mean, faithful.mean(), rtol=0.02)
    scales, covariances, correlations = (posterior[n].to_numpy() for n in ("scales", "covariances", "correlations"))
    np.testing.assert_allclose(covariances[..., 0, 1], scales.prod(-1) * correlations[..., 0], rtol=1e-12)
    np.testing.assert_allclose(np.square(scales), covariances.diagonal(axis1=-2, axis2=-1), rtol=1e-12)
    assert list(posterior["pair"].to_numpy()) == ["eruption:waiting"]
    np.testing.assert_array_equal(faithful_tree["observed_data"]["waiting"], faithful["waiting"])
    np.testing.assert_allclose(faithful_tree["constant_data"]["resolution"], [0.01 * faithful["eruption"].std(ddof=0), 0.4])


def test_the_log_likelihood_is_that_of_the_draws(faithful_tree, faithful):
    draw = faithful_tree["posterior"].isel(chain=2, draw=17)
    mixture = Mixture(
        np.log(draw["weights"].to_numpy()), draw["means"].to_numpy(), np.linalg.cholesky(draw["covariances"].to_numpy())
    )
    stored = faithful_tree["log_likelihood"]["x"].isel(chain=2, draw=17)
    np.testing.assert_allclose(stored, log_density(mixture, faithful.to_numpy()), rtol=1e-9)


@pytest.mark.parametrize("missing", [pytest.param(False, marks=pytest.mark.slow), True])
def test_log_prior_and_log_likelihood_add_up_to_the_log_posterior_less_the_jacobian(missing, faithful):
    x = faithful.to_numpy().copy()
    if missing:
        x[::5, 0] = np.nan
    tree = bgmm.fit(models.finite(2), x, engine="em", seed=0)
    log_volume = -(~np.isnan(x)).sum(0) @ np.log(tree["constant_data"]["scale"].to_numpy())
    log_likelihood = bgmm.log_density(tree, x).sum()
    total = tree["log_prior"]["log_prior"] + log_likelihood - log_volume
    np.testing.assert_allclose(total, tree["sample_stats"]["lp"], rtol=1e-9)
    n_parameters = tree["sample_stats"]["n_parameters"]
    np.testing.assert_allclose(tree["sample_stats"]["bic"], np.log(len(x)) * n_parameters - 2 * log_likelihood, rtol=1e-9)


def test_one_attribute_says_how_the_tree_was_made(faithful_tree):
    about = json.loads(faithful_tree.attrs["bgmm"])
    assert about["engine"] == "NUTS"
    assert about["seed"] == 1
    assert about["settings"]["n_draws"] == 2000
    n_draws = faithful_tree["posterior"].sizes["draw"]
    assert f"stopped after {n_draws} of at most 2000 draws" in about["stopped"]
    assert "n_components=2" in about["model"]
    assert {"bgmm", "jax", "numpyro", "arviz"} <= set(about["versions"])


def test_arviz_works_on_the_tree_as_it_is(faithful_tree):
    assert {"mean", "r_hat"} <= set(az.summary(faithful_tree).columns)
    loo = az.loo(faithful_tree)
    assert loo.good_k > loo.pareto_k.max()
    assert np.isfinite(az.psense_summary(faithful_tree, var_names=["weights"])["prior"]).all()
    az.plot_trace_dist(faithful_tree)
    az.plot_forest(faithful_tree)
    plt.close("all")


def test_a_saved_tree_is_loaded_whole_and_the_file_closed(faithful_tree, tmp_path):
    path = tmp_path / "fit.nc"
    bgmm.save(bgmm.relabel(faithful_tree), path)
    loaded = bgmm.load(path)
    path.unlink()
    xr_equal = bgmm.relabel(faithful_tree).identical(loaded)
    assert xr_equal
    assert loaded.attrs == bgmm.relabel(faithful_tree).attrs
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing.nc", "wrong.nc", "."])
def test_what_cannot_be_loaded_is_named(tmp_path, name):
    (tmp_path / "wrong.nc").write_text("no tree")
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as refusal:
        bgmm.load(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_a_tree_is_saved_whole_or_not_at_all(faithful_tree, tmp_path):
    path = tmp_path / "fit.nc"
    path.write_text("precious")
    broken = faithful_tree.copy()
    broken.attrs = {"impossible": {"a": 1}}
    with pytest.raises((TypeError, ValueError)):
        bgmm.save(broken, path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="nowhere"):
        bgmm.save(faithful_tree, tmp_path / "nowhere" / "fit.nc")


def test_em_gives_one_draw_of_the_same_kind_of_tree(faithful, faithful_tree):
    tree = bgmm.fit(models.finite(2), faithful, engine="em", seed=0)
    assert dict(tree["posterior"].sizes) == {**faithful_tree["posterior"].sizes, "chain": 1, "draw": 1}
    assert set(tree["posterior"].data_vars) == set(faithful_tree["posterior"].data_vars)


def test_weights_of_observations_are_kept(faithful):
    c = np.linspace(0.5, 2, len(faithful))
    tree = bgmm.fit(models.finite(2), faithful, engine=FAST, weights=c)
    np.testing.assert_array_equal(tree["constant_data"]["observation_weights"], c)


def test_lists_series_and_one_dimensional_arrays_are_data_too(faithful):
    waiting = faithful["waiting"]
    trees = [bgmm.fit(models.finite(2), x, engine=FAST) for x in (waiting.to_numpy(), waiting, [[v] for v in waiting])]
    for tree in trees[1:]:
        np.testing.assert_array_equal(tree["posterior"]["means"], trees[0]["posterior"]["means"])


@pytest.mark.filterwarnings("ignore:the chains do not agree")  # these are short
def test_the_log_likelihood_can_be_left_out(faithful, faithful_tree):
    tree = bgmm.fit(models.finite(2), faithful, bgmm.NUTS(n_draws=150, n_warmup=150), log_likelihood=False)
    assert "log_likelihood" in faithful_tree.children
    assert "log_likelihood" not in tree.children


def test_of_fewer_draws_than_loo_needs_there_is_no_log_likelihood(faithful):
    tree = bgmm.fit(models.finite(2), faithful, engine=FAST)
    with pytest.raises(TypeError, match="log likelihood not found"):
        az.loo(tree)
    for engine in (FAST, "em"):
        with pytest.raises(ValueError, match=r"^log_likelihood=True .* at least 21 draws, and this fit gives 1; .*bic[^\n]*$"):
            bgmm.fit(models.finite(2), faithful, engine, log_likelihood=True)
    with pytest.raises(ValueError, match="this fit gives 20"):
        check_draws_for_loo(20)
    with pytest.raises(ValueError, match="this fit gives 10;"):  # before it samples
        bgmm.fit(models.finite(2), faithful, bgmm.NUTS(n_draws=5, n_chains=2), log_likelihood=True)
    check_draws_for_loo(21)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x.mask(np.arange(272)[:, None] == [4, 300], np.inf), r"'eruption' .* infinite in row 5"),
        (lambda x: x.head(1), "single row"),
        (lambda x: x.head(0), "no rows"),
        (lambda x: x.to_numpy()[:, :0], "no columns"),
        (lambda x: x.assign(waiting=np.nan), "'waiting' .* no value"),
        (lambda x: x.head(2), "3 components need at least as many rows, and x has 2"),
        (lambda x: x.to_numpy()[None], "shape"),
        (lambda x: ["a", "b"], "no column of numbers"),
    ],
)
def test_data_that_cannot_be_fitted_are_refused_in_one_sentence(faithful, change, says):
    with pytest.raises(ValueError, match=says) as refusal:
        bgmm.fit(models.finite(3), change(faithful), engine=FAST)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "mcmc"}, "em, gibbs, laplace, nuts, vi .* not 'mcmc'"),
        ({"engine": 3}, "not 3"),
        ({"seed": "one"}, "not 'one'"),
        ({"seed": -1}, "not -1"),
        ({"seed": 10**23}, "from 0 to"),
        ({"seed": jax.random.split(jax.random.key(0), 2)}, "one JAX key"),
        ({"seed": jnp.array(3)}, "one JAX key"),
        ({"weights": ["a"] * 272}, "one number for each of the 272 rows"),
        ({"weights": [1.0, 2.0]}, "272 rows"),
        ({"weights": np.r_[np.ones(271), -1]}, "row 272 is -1"),
        ({"weights": np.zeros(272)}, "all be zero"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_sentence(faithful, options, says):
    with pytest.raises(ValueError, match=says) as refusal:
        bgmm.fit(models.finite(2), faithful, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("model", [None, 3, models.finite, lambda rows: None])
def test_what_is_no_model_is_refused_in_one_sentence(faithful, model):
    with pytest.raises(ValueError, match=r"model|n_components") as refusal:
        bgmm.fit(model, faithful + np.linspace(0, 1e-3, 272)[:, None], engine=FAST)
    assert "\n" not in str(refusal.value)


def test_a_skipped_column_is_told_of(faithful):
    with pytest.warns(UserWarning, match="skipped column 'kind'"):
        tree = bgmm.fit(models.finite(2), faithful.assign(kind="long"), engine=FAST)
    assert list(tree["posterior"]["feature"].to_numpy()) == ["eruption", "waiting"]


@pytest.mark.parametrize("engine", [FAST, pytest.param(bgmm.EM(n_starts=1), marks=pytest.mark.slow)])
def test_weights_count_rows_from_the_data_to_the_tree(rng, engine):
    """Weight 2 equals the row twice and weight 0 its absence, scaling included."""
    x = np.concatenate([rng.normal(0, 1, size=(60, 2)), rng.normal(8, 1, size=(60, 2))])
    c = np.tile([1.0, 2.0, 0.0], 40)
    model = models.finite(2, recording_step=0.0)
    weighted, repeated = (
        bgmm.relabel(bgmm.fit(model, x, engine=engine, weights=c), order="x1"),
        bgmm.relabel(bgmm.fit(model, np.repeat(x, c.astype(int), axis=0), engine=engine), order="x1"),
    )
    for name in ("weights", "means", "scales", "correlations"):
        np.testing.assert_allclose(weighted["posterior"][name], repeated["posterior"][name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weighted["constant_data"]["scale"], repeated["constant_data"]["scale"], rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-120, 1e120])
def test_extreme_units_are_units_too(faithful, unit):
    one, other = (bgmm.fit(models.finite(2), x, engine=FAST)["posterior"] for x in (faithful, faithful * unit))
    np.testing.assert_allclose(other["means"] / unit, one["means"], rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_units_whose_squares_are_no_numbers_are_refused(faithful, unit):
    with pytest.raises(ValueError, match=r"column 'eruption' varies by .* other units"):
        bgmm.fit(models.finite(2), faithful * unit, engine=FAST)


def test_misspelt_options_raise(faithful):
    with pytest.raises(TypeError, match="sed"):
        bgmm.fit(models.finite(2), faithful, sed=1)
    with pytest.raises(TypeError, match="mean_scal"):
        models.finite(2, mean_scal=1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.finite(0), "n_components .* not 0"),
        (lambda: models.finite(2.0), "n_components .* not 2.0"),
        (lambda: models.finite(True), "n_components"),
        (lambda: models.finite(2, concentration=0), "concentration must be above 0"),
        (lambda: models.finite(2, lkj=np.nan), "lkj must be a finite number"),
        (lambda: models.finite(2, recording_step=-1.0), r"recording_step .* must be 0 or more"),
        (lambda: bgmm.NUTS(n_draws=0), "n_draws"),
        (lambda: bgmm.NUTS(target_accept=1.0), "between 0 and 1"),
        (lambda: bgmm.EM(tolerance=-1), "tolerance"),
        (
            lambda: bgmm.fit(models.finite(2, recording_step=(1.0, 2.0, 3.0)), np.ones((9, 2)) * np.arange(9)[:, None]),
            "3 entries",
        ),
    ],
)
def test_settings_are_checked_where_they_are_made(make, says):
    with pytest.raises(ValueError, match=says) as refusal:
        make()
    assert "\n" not in str(refusal.value)


def test_constant_and_collinear_columns_are_fitted_with_a_word(faithful):
    with pytest.warns(UserWarning, match="no variation in 'flat'"):
        tree = bgmm.fit(models.finite(2), faithful[["waiting"]].assign(flat=7.0), engine="em")
    assert np.isfinite(tree["posterior"]["covariances"]).all()
    with pytest.warns(UserWarning, match="'eruption', 'seconds' are linear"):
        bgmm.fit(models.finite(2), faithful[["eruption"]].assign(seconds=lambda t: 60 * t["eruption"]), engine="em")


def test_a_users_program_on_rounded_data_is_told_that_it_has_no_floor(faithful):
    with pytest.warns(UserWarning, match="'waiting' repeat"):
        bgmm.fit(models.finite(1).__call__, faithful[["waiting"]], engine=bgmm.EM(n_starts=1))


def test_models_are_values_that_show_their_hyperparameters():
    assert models.finite(3) == models.Mixture(models.Dirichlet(3), models.Gaussian())
    assert hash(models.finite(3)) == hash(models.finite(3))
    assert "lkj=4" in repr(models.finite(3, lkj=4))
    with warnings.catch_warnings(), pytest.raises(AttributeError):
        models.finite(3).weights = models.Dirichlet(2)
