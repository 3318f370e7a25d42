"""An option that a function does not have is answered with what it is called here, or where it belongs, in one sentence."""

from __future__ import annotations

import dataclasses
import inspect
import pickle

import numpy as np
import pytest

import bgmm
from bgmm import models
from bgmm.core import options
from tests.test_lazy import said_by

SETTINGS = [bgmm.EM, bgmm.Evidence, bgmm.Gibbs, bgmm.Laplace, bgmm.NUTS, bgmm.VI]
PRIORS = [
    getattr(models, name) for name in models.__all__ if dataclasses.is_dataclass(getattr(models, name)) and name != "About"
]
MODELS = [models.finite, models.random_k, models.sparse, models.dirichlet_process]
FUNCTIONS = [bgmm.fit, bgmm.log_evidence, bgmm.prior_n_occupied, bgmm.from_draws]
X = np.arange(8.0)


def said(function, *arguments, **keywords) -> str:
    with pytest.raises(TypeError) as error:
        function(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: bgmm.EM(n_init=3), "EM has no option n_init; did you mean n_starts?"),
        (lambda: bgmm.EM(max_iter=3), "EM has no option max_iter; did you mean max_steps?"),
        (lambda: bgmm.EM(n_start=3), "EM has no option n_start; did you mean n_starts?"),
        (lambda: bgmm.EM(init_params="kmeans"), "EM has no option init_params; did you mean starts?"),
        (lambda: bgmm.EM(tol=1e-3), "EM has no option tol; did you mean tolerance?"),
        (lambda: bgmm.EM(verbose=1), "EM has no option verbose; write bgmm.fit(model, x, progress=False)"),
        (lambda: bgmm.EM(random_state=1), "EM has no option random_state; write bgmm.fit(model, x, seed=0)"),
        (lambda: bgmm.NUTS(num_samples=500), "NUTS has no option num_samples; did you mean n_draws?"),
        (lambda: bgmm.NUTS(tune=500), "NUTS has no option tune; did you mean n_warmup?"),
        (lambda: bgmm.NUTS(chains=2), "NUTS has no option chains; did you mean n_chains?"),
        (lambda: bgmm.Gibbs(burn=2), "Gibbs has no option burn; did you mean n_warmup?"),
        (lambda: bgmm.Gibbs(n_iter=2), "Gibbs has no option n_iter; did you mean n_draws?"),
        (lambda: bgmm.Gibbs(thin=2), "Gibbs has no option thin; did you mean sweeps_per_draw?"),
        (lambda: bgmm.NUTS(thin=2), "NUTS has no option thin; write engine=bgmm.Gibbs(sweeps_per_draw=10)"),
        (lambda: bgmm.VI(num_steps=2), "VI has no option num_steps; did you mean guide_steps?"),
        (lambda: bgmm.VI(step_size=0.1), "VI has no option step_size; did you mean learning_rate?"),
        (lambda: bgmm.fit(models.finite(2), X, random_state=3), "fit has no option random_state; did you mean seed?"),
        (lambda: bgmm.fit(models.finite(2), X, sample_weight=X), "fit has no option sample_weight; did you mean weights?"),
        (lambda: bgmm.fit(models.finite(2), X, means_init=X), "fit has no option means_init; did you mean start?"),
        (lambda: bgmm.fit(models.finite(2), X, warm_start=True), "fit has no option warm_start; did you mean start?"),
        (lambda: bgmm.fit(models.finite(2), X, draws=9), "fit has no option draws; write engine=bgmm.NUTS(n_draws=1000)"),
        (lambda: bgmm.fit(models.finite(2), X, n_starts=9), "fit has no option n_starts; write engine=bgmm.EM(n_starts=10)"),
        (lambda: bgmm.fit(models.finite(2), X, n_clusters=9), "n_clusters; write models.finite(n_components=3)"),
        (
            lambda: bgmm.fit(models.finite(2), X, covariance_type="tied"),
            "as in models.finite(3, components=models.Gaussian(tied",
        ),
        (lambda: bgmm.log_evidence(models.finite(2), X, num_samples=9), "write settings=bgmm.Evidence(n_draws=16384)"),
        (lambda: bgmm.plot_clusters(None, ax=None), "no option ax; leave it out, for the function makes a figure of its own"),
        (lambda: bgmm.plot_occupied(None, ax=None), "plot_occupied has no option ax; did you mean axes?"),
        (lambda: models.finite(k=2), "finite has no option k; did you mean n_components?"),
        (lambda: models.finite(2, n_clusters=2), "finite has no option n_clusters; did you mean n_components?"),
        (lambda: models.finite(2, mean_scal=2), "finite has no option mean_scal; did you mean mean_scale?"),
        (
            lambda: models.finite(2, covariance_type="diag"),
            "finite has no option covariance_type; use components=models.Diagonal()",
        ),
        (lambda: models.random_k(covariance_type="spherical"), "use components=models.Spherical()"),
        (lambda: models.finite(2, modelNames="VVV"), "use components=models.Gaussian()"),
        (lambda: models.finite(2, covariance_type="banana"), "use components= with one of models"),
        (lambda: models.random_k(tied=True), "no option tied; write models.random_k(components=models.Gaussian(tied=True))"),
        (lambda: models.random_k(n_components=3), "random_k has no option n_components; write models.finite(n_components=3)"),
        (lambda: models.sparse(weight_concentration_prior=0.1), "did you mean concentration?"),
        (lambda: models.Gaussian(reg_covar=1e-6), "Gaussian has no option reg_covar; did you mean floor?"),
        (lambda: models.Poisson(rat=3), "Poisson has no option rat; did you mean rate?"),
        (lambda: models.Uniform(high=3), "Uniform has no option high; it takes none"),
        (lambda: models.Gamma(alpha=3), "Gamma has no option alpha; did you mean shape?"),
        (lambda: models.F(scale=3), "F has no option scale; its options are first, second"),
    ],
)
def test_the_sentence_names_the_option_here(call, expected):
    with pytest.raises(TypeError) as error:
        call()
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("function", [*SETTINGS, *PRIORS, *MODELS, *FUNCTIONS], ids=lambda function: function.__name__)
def test_every_name_from_elsewhere_and_any_nonsense_is_answered(function):
    taken = set(inspect.signature(function).parameters) | {field.name for field in dataclasses.fields(models.Gaussian)}
    for name in {*options._NAME_HERE, *options._PLACES, *options._STRUCTURES, "frobnicate"} - taken:
        assert said(function, **{name: 1}).startswith(f"{function.__name__} has no option {name}; ")


def test_what_the_sentences_tell_to_write_can_be_written():
    names = {"bgmm": bgmm, "models": models}
    for advice in options._PLACES.values():
        code = advice.removeprefix("write ").removeprefix("engine=")
        if advice.startswith("write engine=") or "models." in advice:
            eval(code, names)
        elif "bgmm.fit" in advice:
            option = code.partition("x, ")[2].partition("=")[0]
            assert option in inspect.signature(bgmm.fit).parameters
    for family in options._FAMILIES.values():
        models.finite(3, components=eval(f"models.{family}", names))
    for ours in {one for meant in options._NAME_HERE.values() for one in meant}:
        assert ours not in options._NAME_HERE or ours in options._PLACES


@pytest.mark.parametrize("value", [*(settings() for settings in SETTINGS), models.Gaussian(), models.RandomK()], ids=repr)
def test_settings_stay_plain_values(value):
    assert pickle.loads(pickle.dumps(value)) == value == dataclasses.replace(value)
    assert hash(value) == hash(type(value)())


def test_a_family_of_ones_own_may_have_options_of_its_own():
    @dataclasses.dataclass(frozen=True)
    class Own(models.Gaussian):
        alpha: float = 1.0

    class Other(models.Gaussian):
        def __init__(self, alpha):
            super().__init__(mean_scale=alpha)

    assert Own(alpha=2.0, lkj=3.0).alpha == 2.0
    assert Other(alpha=2.0).mean_scale == 2.0


WARNING = """
import json, warnings
import numpy as np, bgmm
x = np.column_stack([np.random.default_rng(1).normal(size=30), np.full(30, 7.0)])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for rows in (x, [["a", *row] for row in x]):
        bgmm.fit(bgmm.models.finite(3), rows, bgmm.EM(n_starts=1, max_steps=1, prior=False))
print(json.dumps([warning.filename for warning in caught if "bgmm" in str(warning.filename) or warning.filename == "<string>"]))
"""


def test_warnings_of_a_fit_point_at_the_line_that_asked_for_it():
    found = said_by(WARNING)  # a fresh interpreter, in which no checker of types stands between the frames
    assert found == ["<string>"] * len(found)
    assert len(found) >= 3


@pytest.mark.parametrize("engine", ["EM", bgmm.EM])
def test_an_engine_whose_name_is_written_otherwise_is_named(engine):
    with pytest.raises(ValueError, match=r"engine must be one of em, .*; did you mean 'em'\?$"):
        bgmm.fit(models.finite(2), X, engine=engine)
