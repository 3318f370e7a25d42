"""What is true of every family, every prior over the weights and every engine of the catalogue."""

from __future__ import annotations

from functools import cache, partial

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t

import bgmm
from bgmm import models
from bgmm.core import kernel
from bgmm.core.in_memory import in_memory
from bgmm.core.scaling import Scaling
from bgmm.core.stream import Streamed
from bgmm.core.whitened import displaced
from bgmm.engines.optimise.objective import Objective, em_step
from bgmm.program.declare import are_alike, make_target
from bgmm.tree.schema import DIMS, violations
from tests.catalogue import ENGINES, FAMILIES, GAUSSIANS, WEIGHTS
from tests.marks import also_slow

pytestmark = [  # the runs of the catalogue are short, and some posteriors far from normal; the laws hold all the same
    pytest.mark.filterwarnings("ignore:the chains"),
    pytest.mark.filterwarnings("ignore:this approximation may be wrong"),
]
N, D, K = 60, 3, 3
FITS = [(family, engine) for family in GAUSSIANS for engine in ENGINES]
QUICK = {
    ("diagonal", "map"),
    ("diagonal", "ml"),
} | {("tied diagonal", engine) for engine in ("map", "nuts", "gibbs")}


def rows_of_clusters(n, d, seed=0):
    """Three clusters about 5 sd apart, in standardised units."""
    rng = np.random.default_rng(seed)
    centres = 1.5 * np.array([[-1.0, -0.3, 0.2], [0.2, 0.9, -0.8], [0.9, -0.8, 0.9]])[:, :d]
    return centres[np.arange(n) % 3] + 0.3 * rng.normal(size=(n, d)) * [1, 0.8, 1.2][:d]


X = rows_of_clusters(N, D)
MISSING = np.where(np.random.default_rng(1).random((N, D)) < 0.2, np.nan, X)
FEW = 4  # rows of a block: many blocks, so that they are spread over two devices


def target_of(family, x=X, weights=None, *, prior="uniform", size=FEW, rows=None):
    """The target of standardised rows."""
    model = models.Mixture(WEIGHTS[prior], FAMILIES[family])
    rows = in_memory(x, weights, size=size)[0] if rows is None else rows
    return make_target(model, x[:1], rows=rows, scaling=None, recording_step=np.zeros(x.shape[1]))


def point(target, seed=0):
    return jnp.asarray(0.4 * np.random.default_rng(seed).normal(size=target.n_dim))


@partial(jax.jit, static_argnames="jacobian")
def height(target, z, jacobian=True):
    return jax.value_and_grad(lambda z: target.log_posterior(z, jacobian=jacobian))(z)


@jax.jit
def likelihood(target, mixture):
    return target.log_likelihood(mixture)


@jax.jit
def of_rows(mixture, rows):
    return kernel.log_likelihood_of_rows(mixture.natural(), rows)


def densities(mixture, x):
    """log w_k + log p(x_n | k) by scipy from the arrays of a mixture; NaN coordinates are left out."""
    c, found = mixture.components, np.empty((len(x), len(mixture.log_weights)))
    dense = np.asarray(c.scale_tril if hasattr(c, "scale_tril") else jax.vmap(lambda f: f.dense(x.shape[1]))(c.factors))
    for k, (mu, L) in enumerate(zip(np.asarray(c.means), dense, strict=True)):
        for n, row in enumerate(x):
            o = ~np.isnan(row)
            location, shape = mu[o], (L @ L.T)[np.ix_(o, o)]
            law = multivariate_t(location, shape, float(c.nu[k])) if hasattr(c, "nu") else None
            law = law or (multivariate_normal(location, shape) if o.any() else None)
            found[n, k] = mixture.log_weights[k] + (0.0 if law is None else law.logpdf(row[o]))
    return found


# Densities


@pytest.mark.parametrize("family", FAMILIES)
def test_density_of_each_row_is_scipys(family):
    target = target_of(family, size=None)
    mixture = jax.jit(type(target).mixture)(target, point(target))
    expected = logsumexp(densities(mixture, X), axis=1)
    assert_allclose(of_rows(mixture, target.rows)[:N], expected, rtol=1e-11)
    assert_allclose(likelihood(target, mixture), expected.sum(), rtol=1e-11)


@pytest.mark.parametrize("family", GAUSSIANS)
def test_missing_value_equals_the_marginal(family):
    rows, position = in_memory(MISSING, size=FEW)
    target = target_of(family, MISSING, rows=rows)
    mixture = jax.jit(type(target).mixture)(target, point(target))
    expected = logsumexp(densities(mixture, MISSING), axis=1)
    assert_allclose(of_rows(mixture, rows)[position], expected, rtol=1e-10, atol=1e-10)
    centred = jax.jit(lambda m: kernel.log_likelihood_of_rows(m.natural(centred=True), rows))(mixture)
    assert_allclose(centred[position], expected, rtol=1e-10, atol=1e-10)
    assert_allclose(likelihood(target, mixture), expected.sum(), rtol=1e-11)


# Invariances


@pytest.mark.parametrize("family", GAUSSIANS)
def test_components_declared_together_are_each_as_declared_alone(family):
    target = target_of(family)
    assert target.not_alike == ""
    assert are_alike(target)


@pytest.mark.parametrize("family", FAMILIES)
def test_permuting_components_changes_nothing(family):
    target = target_of(family, size=None)
    mixture = jax.jit(type(target).mixture)(target, point(target))
    order = np.array([2, 0, 1])
    permuted = jax.tree.map(lambda a: a[order] if a.shape[0] == K else a, mixture)  # a shared factor has a first axis of one
    assert_allclose(likelihood(target, permuted), likelihood(target, mixture), rtol=1e-13)


@pytest.mark.parametrize("family", also_slow(FAMILIES, ("gaussian", "tied diagonal", "student-t")))
def test_weight_two_equals_the_row_twice(family):
    c = 1.0 + (np.arange(N) % 3 == 0)
    weighted, repeated = target_of(family, X, c), target_of(family, np.repeat(X, c.astype(int), axis=0))
    z = point(weighted)
    for found, expected in zip(height(weighted, z), height(repeated, z), strict=True):
        assert_allclose(found, expected, rtol=1e-11, atol=1e-10)


class Held:
    """A stream of rows that are in memory."""

    def __init__(self, x):
        self.x, self.n_rows, self.features = x, len(x), tuple(f"x{j}" for j in range(x.shape[1]))

    def read(self, start, stop):
        return self.x[start:stop]


@pytest.mark.parametrize("family", also_slow(FAMILIES, ("spherical", "tied diagonal")))
def test_blocks_devices_and_streaming_change_nothing(family):
    x = np.tile(X, (4, 1))
    spread, one_block = in_memory(x, size=FEW)[0], in_memory(x, size=len(x))[0]
    ways = [spread, one_block, spread.on_one_device(), Streamed(Held(x), Scaling(np.zeros(D), np.ones(D)))]
    assert [getattr(rows, "devices", None) and rows.devices.n for rows in ways] == [2, 1, 1, None]
    targets = [target_of(family, x, rows=rows) for rows in ways]
    z = point(targets[0])
    mixture = jax.jit(type(targets[0]).mixture)(targets[0], z)
    expected, each = height(targets[1], z), of_rows(mixture, one_block)
    for target in targets:
        for found, as_expected in zip(height(target, z), expected, strict=True):
            assert_allclose(found, as_expected, rtol=1e-11, atol=1e-10)
        assert_allclose(of_rows(mixture, target.rows)[: len(x)], each[: len(x)], rtol=1e-12)


# Derivatives


DERIVATIVES = {
    **{family: (family, "uniform", False) for family in FAMILIES},
    **{f"diagonal {prior}": ("diagonal", prior, False) for prior in ("few", "learned", "sticks")},
    **{f"{family} missing": (family, "uniform", True) for family in GAUSSIANS},
}


@pytest.mark.parametrize(
    "case",
    also_slow(
        DERIVATIVES,
        (
            "tied diagonal",
            "diagonal learned",
            "diagonal sticks",
            "gaussian missing",
            "spherical missing",
        ),
    ),
)
def test_derivatives_are_finite_differences_and_the_hessian_is_symmetric(case):
    family, prior, missing = DERIVATIVES[case]
    target = target_of(family, MISSING if missing else X, prior=prior, size=None if not missing else 8)
    z, step = point(target), 1e-5

    @jax.jit
    def derivatives(z):
        f = jax.value_and_grad(lambda z: target.log_posterior(z, jacobian=True))
        either = jnp.concatenate([step * jnp.eye(z.size), -step * jnp.eye(z.size)])
        values, gradients = jax.lax.map(lambda u: f(z + u), either)
        hessian = jax.hessian(lambda z: target.log_posterior(z, jacobian=True))(z)
        return *f(z), hessian, values.reshape(2, -1), gradients.reshape(2, z.size, -1)

    value, gradient, hessian, values, gradients = derivatives(z)
    # rounding eps |f| / step, and truncation step^2 f''' / 6 with third derivatives of the size of the second
    error = 10 * np.finfo(float).eps * abs(value) / step + step**2 * np.abs(hessian).max()
    assert_allclose(gradient, (values[0] - values[1]) / (2 * step), atol=float(error), rtol=0)
    error = 10 * np.finfo(float).eps * np.abs(gradients).max() / step + 10 * step**2 * np.abs(hessian).max()
    assert_allclose(hessian, (gradients[0] - gradients[1]) / (2 * step), atol=float(error), rtol=0)
    assert_allclose(hessian, hessian.T, atol=1e-12 * np.abs(hessian).max(), rtol=0)


# EM


@pytest.mark.parametrize("family", GAUSSIANS)
def test_m_step_of_maximum_likelihood_is_a_maximum_of_the_expected_log_likelihood(family):
    target = target_of(family, size=None)

    @jax.jit
    def drops(target, z):
        e_step = target.e_step(target.mixture(z))
        best = target.maximum_likelihood(e_step)
        n, mixture_at = displaced(best, e_step.statistics[:, 0])
        expected = jax.vmap(lambda u: target.expected(e_step, mixture_at(u)))
        either = expected(jnp.stack([1e-2 * jnp.eye(n), -1e-2 * jnp.eye(n)]).reshape(2 * n, n)).reshape(2, n)
        return e_step.statistics[:, 0], expected(jnp.zeros((1, n))) - either

    # A hundredth of a standard error costs 1e-4 / 2 nats at a maximum (of a weight, the others' share of that); a slope shows.
    # The coordinates count a component as one row where it expects less.
    counts, found = drops(target, point(target))
    rows = np.minimum(counts, 1.0)
    n_factors = np.ones(1) if FAMILIES[family].is_tied else rows
    n_each = (found.shape[1] - K * (1 + D)) // len(n_factors)
    drop = 5e-5 * np.concatenate([np.repeat(rows, 1 + D), np.repeat(n_factors, n_each)])
    drop[: K * (1 + D) : 1 + D] *= 1 - counts / counts.sum()
    assert_allclose(found, np.stack([drop, drop]), rtol=0.02)


@pytest.mark.parametrize("family", also_slow(GAUSSIANS, ("gaussian", "spherical", "tied diagonal")))
def test_no_step_of_em_loses_log_posterior_or_log_likelihood(family):
    target = target_of(family, MISSING, size=8)
    assert target.closed_form is not None

    @jax.jit
    def steps(target, z):
        def one(carry, _):
            z, e_step = em_step(target, Objective(), *carry, 20)
            return (z, e_step), target.log_posterior(z, jacobian=False)

        def maximum_likelihood(e_step, _):
            e_step = target.e_step(target.maximum_likelihood(e_step))
            return e_step, e_step.log_likelihood

        start = target.e_step(target.mixture(z))
        first = target.log_posterior(z, jacobian=False), start.log_likelihood
        found = (jax.lax.scan(one, (z, start), length=15)[1], jax.lax.scan(maximum_likelihood, start, length=15)[1])
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, found)

    for heights in steps(target, point(target)):
        assert np.diff(heights).min() > -1e-10
        assert heights[-1] - heights[0] > 10


# Fits


@cache
def fitted(family, engine, changed=False):
    """Two features with missing values, in units of their own; or the same in other units."""
    x = rows_of_clusters(120, 2) * [20.0, 0.1] + [-300.0, 4.0]
    x[np.random.default_rng(3).random(x.shape) < 0.1] = np.nan
    x[0] = x[1] = [-310.0, 4.0]
    x = x[~np.isnan(x).all(1)]
    x = 1000 * x + 5 if changed else x
    return bgmm.fit(models.finite(3, components=FAMILIES[family]), x, ENGINES[engine], seed=5)


each_fit = pytest.mark.parametrize(
    ("family", "engine"), [pytest.param(*fit, marks=() if fit in QUICK else pytest.mark.slow, id=" ".join(fit)) for fit in FITS]
)


def rows_by_scipy(draw, x):
    """log p(x_n), from the variables that a tree shows."""
    if "covariances" in draw:
        covariances = draw["covariances"].to_numpy()
    else:
        covariances = np.stack([np.diag(s**2) for s in np.broadcast_to(draw["scales"].to_numpy(), draw["means"].shape)])
    covariances = np.broadcast_to(covariances, (*draw["means"].shape, x.shape[1]))
    found = np.empty((len(x), len(covariances)))
    for n, row in enumerate(x):
        o = ~np.isnan(row)
        for k, (w, mu, sigma) in enumerate(zip(draw["weights"].to_numpy(), draw["means"].to_numpy(), covariances, strict=True)):
            found[n, k] = np.log(w) + multivariate_normal(mu[o], sigma[np.ix_(o, o)]).logpdf(row[o])
    return logsumexp(found, axis=1)


@each_fit
def test_tree_holds_to_the_schema_raw_and_relabelled(family, engine):
    tree = fitted(family, engine)
    assert violations(tree) == []
    relabelled = bgmm.relabel(tree)
    assert violations(relabelled) == []
    assert set(relabelled["posterior"].data_vars) == set(tree["posterior"].data_vars)


@each_fit
def test_log_likelihood_of_a_tree_is_scipys_of_its_own_variables(family, engine):
    tree = fitted(family, engine)
    x = np.stack([tree["observed_data"][name] for name in ("x1", "x2")], axis=1)
    draw = tree["posterior"].isel(chain=-1, draw=-1)
    assert np.isnan(x).any()
    of_rows = tree["log_likelihood"]["x"][-1, -1] if "log_likelihood" in tree.children else bgmm.log_density(tree)
    assert_allclose(of_rows, rows_by_scipy(draw, x), rtol=1e-9)


@each_fit
def test_posterior_has_the_same_variables_for_every_engine(family, engine):
    tree, reference = fitted(family, engine), fitted(family, "map")
    found, expected = ({name: v.dims for name, v in t["posterior"].items()} for t in (tree, reference))
    if engine == "ml":  # which knows no priors, and so nothing of what components share
        expected = {name: dims for name, dims in expected.items() if name in DIMS}
    assert found == expected


@pytest.mark.parametrize("family", also_slow(("diagonal", "spherical", "tied gaussian"), ("diagonal",)))
def test_units_change_nothing_but_the_units(family):
    one, other = (bgmm.relabel(fitted(family, "map", changed)) for changed in (False, True))
    lp = one["sample_stats"]["lp"].item()
    assert_allclose(other["sample_stats"]["lp"], lp, rtol=1e-10)  # of the program, whose rows are standardised
    volume = (~np.isnan(np.stack([one["observed_data"][name] for name in ("x1", "x2")], axis=1))).sum(1) * np.log(1000.0)
    assert_allclose(bgmm.log_density(other) + volume, bgmm.log_density(one), atol=1e-5)
    one, other = one["posterior"], other["posterior"]
    assert_allclose(other["weights"], one["weights"], atol=1e-6)  # 1e-12 nats short of the mode are 1e-6 of its width
    assert_allclose(other["means"], 1000 * one["means"] + 5, rtol=1e-6)
    assert_allclose(other["scales"], 1000 * one["scales"], rtol=1e-5)


def assert_same_posterior(*trees):
    """Means and standard deviations of every variable, within the Monte Carlo errors of both."""
    one, other = (bgmm.relabel(tree, order="x1")["posterior"] for tree in trees)
    for name in ("weights", "means", "scales"):
        for method, moment in (("mean", "mean"), ("sd", "std")):
            a, b = (getattr(posterior[name], moment)(["chain", "draw"]) for posterior in (one, other))
            error = np.hypot(*(az.mcse(posterior[name], method=method) for posterior in (one, other)))
            assert np.abs((a - b) / error).max() < 4.5, (method, name)


@pytest.mark.parametrize("family", also_slow(("diagonal", "tied diagonal", "tied gaussian"), ("tied diagonal",)))
def test_nuts_and_gibbs_agree(family):
    assert_same_posterior(*(fitted(family, engine) for engine in ("nuts", "gibbs")))


@pytest.mark.slow
def test_nuts_and_gibbs_agree_where_the_prior_matters():
    """With four rows in a component a Jacobian that is left out moves its scales by a third of their standard deviation."""
    x = np.array([-5.0, 5.0])[np.arange(8) % 2, None] + np.random.default_rng(4).normal(size=(8, 1))
    nuts = bgmm.NUTS(n_draws=1500, n_warmup=300, n_chains=2, n_starts=2, target_accept=0.99, stop_early=False)
    gibbs = bgmm.Gibbs(n_draws=2500, n_warmup=100, n_chains=2, stop_early=False, jumps=0)
    model = models.finite(2, components=models.Diagonal())
    assert_same_posterior(*(bgmm.fit(model, x, engine, seed=6) for engine in (nuts, gibbs)))
