"""Unknown options: a TypeError whose one sentence says what the option is called here, or where it belongs.

Users come from other libraries (scikit-learn, NumPyro, PyMC, Stan, mclust), whose names for the same things stand in ``_HERE``.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

# Names elsewhere, after the names here that they may stand for, the first of which the function has being meant.
_HERE: Mapping[tuple[str, ...], str] = {
    ("n_starts",): "n_init n_restarts num_restarts restarts nstart n_initial",
    ("n_draws", "n"): "num_samples n_samples draws samples num_draws iter_sampling num_posterior_samples size n_particles",
    ("n_chains",): "num_chains chains nchains",
    ("n_warmup",): "num_warmup warmup tune n_tune burn burnin burn_in n_burn n_burnin iter_warmup",
    (
        "max_steps",
        "guide_steps",
        "n_draws",
    ): "max_iter n_iter iter num_iter n_iterations max_iters maxiter num_steps n_steps steps itmax",
    ("tolerance",): "tol eps ftol gtol rtol threshold_tol",
    ("sweeps_per_draw",): "thin thinning thin_by",
    ("learning_rate",): "step_size lr stepsize",
    ("target_accept",): "target_accept_prob adapt_delta delta",
    ("max_tree_depth",): "max_treedepth",
    ("seed",): "random_state random_seed rng rng_key key prng_key",
    ("n_components", "max_components"): "n_clusters num_clusters num_components n_mixtures clusters k K G nclust n_classes",
    ("max_components",): "max_k k_max max_clusters",
    ("weights",): "sample_weight sample_weights observation_weights obs_weights",
    ("starts",): "init_params init initialization init_strategy",
    ("start",): "means_init weights_init precisions_init initial_means init_means initvals inits z_init warm_start",
    (
        "concentration",
        "shape",
    ): "alpha weight_concentration_prior concentration_prior dirichlet_prior gamma",
    ("rate",): "beta lam lambda_",
    ("probability",): "p prob probs",
    ("first",): "d1 df1 dfn dfnum",
    ("second",): "d2 df2 dfd dfden",
    ("standardise",): "standardize normalise normalize whiten scaling",
    ("floor",): "reg_covar regularization min_covar var_floor min_scale",
    ("mean_scale",): "mean_sd mean_std prior_scale mean_prior_scale",
    ("lkj",): "eta lkj_concentration",
    ("x",): "X data rows y obs observations df",
    ("model",): "mixture",
    ("engine", "settings"): "method algorithm kernel sampler backend inference infer optimizer nuts_sampler",
    ("tree",): "idata trace fitted posterior",
    ("means",): "mu loc",
    ("covariances",): "sigma cov covs covariance covariance_matrix",
    ("assignments",): "z labels",
    ("loss",): "criterion",
    ("axes",): "ax",
    ("features",): "columns feature_names var_names",
    ("progress",): "verbose verbose_interval progress_bar progressbar disp display quiet refresh",
}
_NAME_HERE = {name: ours for ours, names in _HERE.items() for name in names.split()}

# Where an option belongs that the function does not have, by its name here or elsewhere.
_PLACE: Mapping[str, str] = {
    "n_starts": "write engine=bgmm.EM(n_starts=10)",
    "n_draws": "write engine=bgmm.NUTS(n_draws=1000)",
    "n_chains": "write engine=bgmm.NUTS(n_chains=4)",
    "n_warmup": "write engine=bgmm.NUTS(n_warmup=500)",
    "max_steps": "write engine=bgmm.EM(max_steps=5000)",
    "guide_steps": "write engine=bgmm.VI(guide_steps=3000)",
    "sweeps_per_draw": "write engine=bgmm.Gibbs(sweeps_per_draw=10)",
    "tolerance": "write engine=bgmm.EM(tolerance=1e-9)",
    "learning_rate": "write engine=bgmm.VI(learning_rate=0.02)",
    "target_accept": "write engine=bgmm.NUTS(target_accept=0.9)",
    "max_tree_depth": "write engine=bgmm.NUTS(max_tree_depth=10)",
    "starts": 'write engine=bgmm.EM(starts="random")',
    "prior": "write engine=bgmm.EM(prior=False)",
    "seed": "write bgmm.fit(model, x, seed=0)",
    "weights": "write bgmm.fit(model, x, weights=...)",
    "start": "write bgmm.fit(model, x, start=...), with means, labels or the tree of another fit",
    "standardise": "write bgmm.fit(model, x, standardise=False)",
    "log_likelihood": "write bgmm.fit(model, x, log_likelihood=True)",
    "dtype": 'write bgmm.fit(model, x, dtype="float32")',
    "engine": 'write bgmm.fit(model, x, engine="nuts")',
    "n_components": "write models.finite(n_components=3)",
    "max_components": "write models.random_k(max_components=20)",
    "concentration": "write models.finite(3, concentration=1.0)",
    "floor": "write models.finite(3, floor=0.01)",
    "mean_scale": "write models.finite(3, mean_scale=2.0)",
    "lkj": "write models.finite(3, lkj=2.0)",
    "tied": "write models.finite(3, tied=True)",
    "recording_step": "write models.finite(3, recording_step=0.1)",
    "components": "write models.finite(3, components=models.Diagonal())",
    "axes": "leave it out, for the function makes a figure of its own and returns its axes",
    "n_jobs": "leave it out, for chains and restarts already run side by side",
    "progress": "write bgmm.fit(model, x, progress=False)",
}
_SAME_PLACE = {
    "n_jobs": "cores num_cores chain_method parallel_chains n_cores threads num_threads device devices",
}
_PLACES = {**_PLACE} | {name: _PLACE[ours] for ours, names in _SAME_PLACE.items() for name in names.split()}

# Names of covariance structures elsewhere, and the family that each is here.
_FAMILIES = {"full": "Gaussian()", "tied": "Gaussian(tied=True)", "diag": "Diagonal()", "spherical": "Spherical()"}
_FAMILIES |= {"VVV": "Gaussian()", "EEE": "Gaussian(tied=True)", "VVI": "Diagonal()", "EEI": "Diagonal(tied=True)"}
_FAMILIES |= {"VII": "Spherical()", "EII": "Spherical(tied=True)"}
_STRUCTURES = ("covariance_type", "cov_type", "covariance_structure", "modelNames")


def named_options[T: Callable[..., Any]](
    *, also: Callable[..., Any] | None = None, places: Mapping[str, str] | None = None
) -> Callable[[T], T]:
    """A decorator of a function or a dataclass that answers an unknown keyword with the name that was meant.

    :param also: takes the keywords that the function passes on.
    :param places: where options belong that this function does not have, in the place of ours.
    """

    def decorated(function: T) -> T:
        names = [*_keywords(function), *(() if also is None else _keywords(also))]

        def check(keywords: Mapping[str, Any]) -> None:
            for name, value in keywords.items():
                if name not in names:
                    raise TypeError(_sentence(function.__name__, name, value, names, {**_PLACES, **(places or {})}))

        if isinstance(function, type):
            made = function.__init__  # type: ignore[misc]

            @functools.wraps(made)
            def __init__(self, *args, **kwargs):  # noqa: N807
                if type(self) is function:  # a subclass may have options of its own
                    check(kwargs)
                made(self, *args, **kwargs)

            function.__init__ = __init__  # type: ignore[misc]
            return function

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            check(kwargs)
            return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    return decorated


def advice(name: str, names: list[str]) -> str | None:
    """What a command line with the options ``names`` says of one that it lacks: which is meant, or what to write in Python.

    None where the name means nothing here.
    """
    for one in (name, *_NAME_HERE.get(name, ())):
        if one in names:
            return f"did you mean --{one.replace('_', '-')}?"
        if one in _PLACES:
            return f"in Python, {_PLACES[one]}"
    return None


def _keywords(function: Callable[..., Any]) -> list[str]:
    """Names of what a function or a class takes by keyword."""
    taken = inspect.signature(function).parameters.values()
    return [one.name for one in taken if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]


def _sentence(function: str, name: str, value: Any, names: list[str], places: Mapping[str, str]) -> str:
    """What is said of an unknown option: the name here, where it belongs, the nearest name, or all names."""
    unknown = f"{function} has no option {name}"
    ours = _NAME_HERE.get(name, ())
    if meant := [one for one in ours if one in names]:
        return f"{unknown}; did you mean {meant[0]}?"
    if name in _STRUCTURES:
        if not (isinstance(value, str) and value in _FAMILIES):
            return f"{unknown}; use components= with one of models, such as models.Diagonal() or models.Gaussian(tied=True)"
        components = f"components=models.{_FAMILIES[value]}"
        return f"{unknown}; use {components}" + ("" if "components" in names else f", as in models.finite(3, {components})")
    for one in (name, *ours):
        if one in places:
            return f"{unknown}; {places[one]}"
    if near := difflib.get_close_matches(name, names, n=1):
        return f"{unknown}; did you mean {near[0]}?"
    return f"{unknown}; " + (f"its options are {', '.join(names)}" if names else "it takes none")
