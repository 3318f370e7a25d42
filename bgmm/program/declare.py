"""From a NumPyro program and rows to a ``Target``: the program is traced on shapes; what no engine can fit raises an error."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Bool
from numpyro.distributions import constraints

from bgmm.core.components import Components, Mixture
from bgmm.core.factor import Factor
from bgmm.core.gaussians import Gaussians
from bgmm.core.one_off import one_off
from bgmm.core.rows import Rows
from bgmm.core.scaling import Scaling
from bgmm.program.distributions import ComponentMixture
from bgmm.program.exchangeable import exchangeable_sites
from bgmm.program.family import About, DeclaredMixture, is_of_bgmm
from bgmm.program.target import Target
from bgmm.program.trace import Hold, Layout, innermost, layout_of, observed_mixture, one_program, read_trace, unpack
from bgmm.program.weights_prior import k_is_random

_NO_MIXTURE = (
    "the model must observe the rows it is given with one bgmm mixture distribution: "
    'numpyro.sample("x", bgmm.GaussianMixture(weights, means, scale_tril), obs=rows)'
)
_ALIKE = "Gibbs needs components that are alike and independent given their hyperparameters"


def make_target(
    program: Callable,
    some_rows: np.ndarray,
    *,
    rows: Rows,
    scaling: Scaling | None,
    recording_step: np.ndarray | None = None,
) -> Target:
    """Trace ``program`` once, and state it on standardised ``rows``.

    :param some_rows: that the program is traced on, in its own units: all of them for a program that may look at them, one row
        is enough for a program that only observes its rows.
    :param scaling: from the program's units to those of ``rows``; None where the program sees standardised rows.
    :param recording_step: of each feature in the program's units, the second argument of a program that takes it.
    :raises ValueError: in one sentence, when the program is no mixture with continuous sites.
    """
    _check_arguments(program, 1 if recording_step is None else 2)
    arguments = jax.device_put((some_rows,) if recording_step is None else (some_rows, recording_step))
    model = program if isinstance(program, DeclaredMixture) else None
    discrete = ("n_components",) if model is not None and k_is_random(model.weights) else ()
    layout, n_components, structure = read_trace(
        lambda: program(*arguments), lambda sites: _look(sites, some_rows, scaling, discrete)
    )
    log_volume = 0.0 if scaling is None else -rows.log_scale_sum(np.log(np.asarray(scaling.scale)))
    target = Target(
        arguments=arguments,
        rows=rows,
        scaling=None if scaling is None else jax.device_put(scaling),
        log_volume=jax.device_put(np.array(log_volume)),
        least_weight=jax.device_put(np.array(0.0)),
        program=program,
        layout=layout,
        discrete=discrete,
        n_components=n_components,
        structure=structure,
        model=model,
        not_alike="Gibbs fits a models.Mixture, whose components are alike, and this is another program",
    )
    target = target if model is None else _by_component(target, model)
    return replace(target, exchangeable=exchangeable_sites(target))


def _check_arguments(program: Callable, n: int) -> None:
    """Require a program that can be called with the rows, and for our models the recording step."""
    try:
        inspect.signature(program).bind(*range(n))
    except TypeError as error:
        name = getattr(program, "__name__", type(program).__name__)
        raise ValueError(
            f"the model {name} cannot be called with the rows alone ({error}); it must take one argument: def {name}(rows)"
        ) from None
    except ValueError:  # a program in C shows no signature
        pass


def _look(
    sites: dict[str, dict[str, Any]], some_rows: np.ndarray, scaling: Scaling | None, discrete: tuple[str, ...]
) -> tuple[Layout, int, tuple[type[Factor], bool] | None]:
    """The latent sites, the number of components, and the structure of Gaussians in the units of the rows."""
    for name, site in sites.items():
        if site["type"] == "param":
            raise ValueError(f"site '{name}' is a numpyro.param; declare it as numpyro.sample with a prior")
        if site["type"] == "plate" and site["args"][1] not in (None, site["args"][0]):
            raise ValueError(f"plate '{name}' subsamples; give the model all rows, the engines go through them in blocks")
    observed = _only_mixture(sites, some_rows)
    layout = layout_of({name: site for name, site in sites.items() if name not in discrete})
    if not layout:
        raise ValueError("the model has no latent site to fit; declare the unknown parameters with numpyro.sample")
    mixture = observed.mixture if scaling is None else scaling.into(observed.mixture)  # spheres may become ellipsoids
    g = mixture.components
    return layout, observed.weights.shape[-1], (type(g.factor), g.tied) if isinstance(g, Gaussians) else None


def _only_mixture(trace: dict[str, dict[str, Any]], rows: np.ndarray) -> ComponentMixture:
    """The one mixture that the program observes, of the rows that it was given."""
    sites = [site for site in trace.values() if site["type"] == "sample" and observed_mixture(site) is not None]
    if len(sites) != 1:
        raise ValueError(f"{_NO_MIXTURE}; this model has {len(sites)} such sites")
    (site,) = sites
    mixture = observed_mixture(site)
    assert mixture is not None
    name = site["name"]
    if site["scale"] is not None:
        raise ValueError(f"the observed site '{name}' is under a scale handler; give weights= to fit instead")
    if mixture.batch_shape:
        raise ValueError(f"the mixture at site '{name}' has its own parameters for each row; fit needs one for all rows")
    n_features = mixture.mixture.components.n_features
    if n_features != rows.shape[1]:
        raise ValueError(
            f"site '{name}' observes a mixture of {n_features} feature{'s'[: n_features != 1]}, and the rows have "
            f"{rows.shape[1]}; declare means of shape (k, rows.shape[1])"
        )
    if np.shape(site["value"]) != rows.shape or not np.array_equal(site["value"], rows, equal_nan=True):
        raise ValueError(f"site '{name}' must observe the rows as the model was given them: obs=rows")
    return mixture


def _by_component(target: Target, model: DeclaredMixture) -> Target:
    """The target with its view component by component, or with the sentence that says why there is none."""
    one, two = (_shapes(model, k, target.about) for k in (1, 2))
    component: list = []
    shared: list = []
    for name, shape in one.items():
        if shape == two.get(name):
            shared.append((name, shape))
        elif two.get(name) == (2, *shape[1:]) and shape[:1] == (1,):
            component.append((name, shape[1:]))
        else:
            return replace(target, not_alike=f"{_ALIKE}, and those of site '{name}' change their shape otherwise")
    if set(one) != set(two) or not component:
        return replace(target, not_alike=f"{_ALIKE}, and the sites of this model depend on how many there are")
    separate = replace(target, component_sites=tuple(component), shared_sites=tuple(shared), not_alike="")
    names = {name for name, _ in component} | _shown_by_components(model, target.about) | {"weights"}
    separate = replace(separate, hidden=tuple(sorted(names)))
    if not is_of_bgmm(model.components) and not bool(are_alike(separate)):  # ours are, as their laws check
        return replace(separate, not_alike=f"{_ALIKE}, and under this model's prior they are not independent of each other")
    return separate


def _shapes(model: DeclaredMixture, k: int, about: About) -> dict[str, tuple[int, ...]]:
    """Unconstrained shapes of the latent sites of k components."""
    return dict(read_trace(lambda: model.components.declare(k, about), layout_of))


def _shown_by_components(model: DeclaredMixture, about: About) -> set[str]:
    """Sites that have the name of a variable of the components, or are the Cholesky factor of their correlations."""
    declared: list[Components] = []

    def names(sites: dict[str, dict[str, Any]]) -> set[str]:
        shapes = jax.tree.map(lambda a: np.ones(a.shape), declared[0])
        drawn = {name: site["fn"].support for name, site in sites.items() if site["type"] == "sample"}
        factors = {name for name, support in drawn.items() if innermost(support) is constraints.corr_cholesky}
        return set(shapes.variables()) | factors

    return read_trace(lambda: declared.append(model.components.declare(1, about)), names)


@one_off
def are_alike(target: Target) -> Bool[Array, ""]:
    """Whether two components declared together are each as declared alone."""
    assert target.model is not None
    rng = np.random.default_rng(0)
    z = jnp.asarray(0.3 * rng.normal(size=(2, target.n_dim_component)))
    h = jnp.asarray(0.3 * rng.normal(size=target.n_dim_shared))
    alone = jax.vmap(target.component, (0, None))(z, h)
    stacked = jax.vmap(partial(unpack, target.component_sites))(z)
    point = Hold(stacked | unpack(target.shared_sites, h))
    with one_program, point, numpyro.handlers.seed(rng_seed=0):
        components = target.model.components.declare(2, target.about)
    both = target.in_rows_units(Mixture(jnp.zeros(2), components))
    log_p = sum(point.log_priors.values(), -target.log_shared(h)[0])
    grid = jnp.asarray(rng.normal(size=(target.rows.n_features, 5)))
    log_densities = jax.vmap(lambda one: Mixture(jnp.zeros(1), one).natural().log_joint(grid)[0])(alone.components)
    return jnp.isclose(log_p, alone.log_prior.sum()) & jnp.allclose(both.natural().log_joint(grid), log_densities)
