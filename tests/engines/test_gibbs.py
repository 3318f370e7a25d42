"""The sampler of an unknown number of components: its joint distribution (Geweke 2004), its parts, and its trees."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import Predictive
from scipy import stats

import bgmm
from bgmm import models
from bgmm.core import kernel
from bgmm.core.dense import Dense
from bgmm.core.in_memory import in_memory
from bgmm.engines.chains import after_warmup
from bgmm.engines.gibbs import annealing, jumps, moves, partitions
from bgmm.engines.gibbs import sweep as sweeps
from bgmm.engines.gibbs.draws import describe
from bgmm.engines.gibbs.reference import Conditions, conditions_at, one, summarise_prior
from bgmm.engines.gibbs.sampler import Chains, first_states
from bgmm.engines.gibbs.sweep import State, first_tuning
from bgmm.program.declare import make_target
from bgmm.program.target import Target
from bgmm.program.weights import PaddedDirichlet
from bgmm.tree.schema import violations
from tests.marks import also_slow
from tests.mixtures import Parameters

N = 8  # rows of the joint-distribution test


@dataclass(frozen=True)
class SharedRate:
    """Normals whose precisions share a hyperparameter, as a user would declare them."""

    def declare(self, k, about):
        beta = numpyro.sample("beta", dist.Gamma(3.0, 2.0))
        means = numpyro.sample("means", dist.Normal(0.0, 1.5).expand([k, 1]).to_event(2))
        precisions = numpyro.sample("precisions", dist.Gamma(3.0, beta).expand([k, 1]).to_event(2))
        return bgmm.Gaussians.dense(means, 1 / jnp.sqrt(precisions)[:, :, None])


@dataclass(frozen=True)
class Tied:
    """Normals that share one standard deviation, on which the density of the rows depends."""

    def declare(self, k, about):
        means = numpyro.sample("means", dist.Normal(0.0, 1.5).expand([k, 1]).to_event(2))
        scale = numpyro.sample("scale", dist.LogNormal(-1.0, 1.0))
        return bgmm.Gaussians.dense(means, scale.reshape(1, 1, 1), tied=True)


@dataclass(frozen=True)
class NonCentred:
    """Normals whose means are m + t e_k with e_k standard normal: the density of the rows depends on what is shared."""

    def declare(self, k, about):
        centre = numpyro.sample("centre", dist.Normal(0.0, 1.0))
        spread = numpyro.sample("spread", dist.LogNormal(0.0, 0.5))
        offsets = numpyro.sample("offsets", dist.Normal(0.0, 1.0).expand([k, 1]).to_event(2))
        scales = numpyro.sample("scales", dist.LogNormal(-0.5, 0.5).expand([k, 1]).to_event(2))
        return bgmm.Gaussians.diagonal(centre + spread * offsets, scales)


def target_of(model: models.Mixture, x: np.ndarray, size: int | None = None) -> Target:
    return make_target(model, x[:1], rows=in_memory(x, size=size)[0], scaling=None, recording_step=np.zeros(x.shape[1]))


def small(family) -> Target:
    d = 2 if isinstance(family, models.Hierarchical) else 1
    weights = models.RandomK(models.Uniform(), concentration=models.Gamma(4.0, 3.0), max_components=4)
    return target_of(models.Mixture(weights, family), np.zeros((N, d)), size=N)  # no padding: other rows take their place


def from_prior(target: Target, key) -> State:
    weights = target.model.weights
    key_h, key_z, key_k, key_alpha, key_w = jax.random.split(key, 5)
    _, h = target.draw_component(None, key=key_h)
    z = jax.vmap(lambda key: target.draw_component(h, key=key)[0])(jax.random.split(key_z, weights.size))
    k = 1 + jax.random.categorical(key_k, weights.log_prior_k())
    alpha = weights.concentration.distribution().sample(key_alpha)
    w = PaddedDirichlet(alpha / k, k, weights.size).sample(key_w)
    return State(k, jnp.log(w), z, h, jnp.log(alpha))


def moments_of(target: Target, state: State) -> tuple[jax.Array, jax.Array]:
    """Means (m, d) and Cholesky factors (m, d, d) of all components."""
    found = jax.vmap(lambda z: target.component(z, state.h).components)(state.z)
    return found.means[:, 0], found.factor.dense(target.rows.n_features)[:, 0]


def data_of(target: Target, state: State, key) -> jax.Array:
    key_z, key_x = jax.random.split(key)
    mean, L = moments_of(target, state)
    z = jax.random.categorical(key_z, state.log_w, shape=(N,))
    return mean[z] + jnp.einsum("nij,nj->ni", L[z], jax.random.normal(key_x, (N, mean.shape[1])))


def functionals(target: Target, state: State, x) -> jax.Array:
    """Quantities that no naming of the components changes: 12 of one feature and one shared parameter, 26 of two and four."""
    mu, L = moments_of(target, state)
    below = L[:, *jnp.tril_indices(mu.shape[1], -1)] / jnp.sqrt(jnp.square(L[:, -1:]).sum(-1))
    w, log_L = jnp.exp(state.log_w), jnp.log(jnp.diagonal(L, axis1=1, axis2=2))
    spread = jnp.log(x.std(0))
    return jnp.concatenate(
        [jnp.stack([state.k, state.k == 1, state.log_alpha, w @ w]), state.h, state.h * spread[0], w @ mu, w @ mu**2, w @ log_L,
         w @ log_L**2, w @ below, w @ below**2, x.mean(0) * (w @ mu), spread]
    )  # fmt: skip


def arbitrary_landmarks(target) -> jumps.Landmarks:
    """Some for each number of clusters: whatever they are, jumps leave the posterior as it is."""
    empty, rng = jumps.none(target.rows.n_places, target.n_components), np.random.default_rng(5)
    size, _, n_places, n = empty.log_r.shape
    log_r = np.zeros(empty.log_r.shape)
    for m in range(1, size + 1):
        r = np.pad(rng.dirichlet(np.full(m, 0.5), size=(n, n_places)), ((0, 0), (0, 0), (0, size - m)))
        of_each = [jumps.log_responsibilities(jnp.asarray(one), jnp.array(m), jnp.array(n_places)) for one in r]
        log_r[m - 1] = np.transpose(of_each)
    return jumps.Landmarks(jnp.asarray(log_r), jnp.full((size, n), -np.log(size * n)))


@pytest.fixture(
    scope="module",
    params=also_slow([SharedRate(), Tied(), NonCentred(), models.Hierarchical()], ()),
    ids=lambda f: type(f).__name__,
)
def joint(request):
    """Functionals of independent draws of prior and data, and the chains that alternate sweeps (at some temperature) and data.

    The moves between partitions have no leeway: guesses decide about most, so that a fault in what makes up for them shows.
    Their estimates of evidences follow paths of more than one factor, as in many dimensions.
    """
    target = small(request.param)
    prior = summarise_prior(target, key=jax.random.key(0))
    tuning = first_tuning(prior)._replace(log_step_shared=jnp.array(-0.7))
    landmarks = arbitrary_landmarks(target)

    @jax.jit
    @jax.vmap
    def independent(key):
        key_state, key_x = jax.random.split(key)
        state = from_prior(target, key_state)
        return functionals(target, state, data_of(target, state, key_x))

    @partial(jax.jit, static_argnums=0)
    def chains(n: int, inverse_temperature):
        def of_chain(key):
            key_state, key_x, key_steps = jax.random.split(key, 3)
            state = from_prior(target, key_state)

            def step(carry, key):
                state, x = carry
                key_sweep, key_x = jax.random.split(key)
                there = replace(target, rows=replace(target.rows, x=x.T[None]))
                tried = landmarks, jnp.array(1), jnp.array(1)
                state, *_ = sweeps.sweep(there, prior, state, tuning, inverse_temperature, jnp.zeros(()), *tried, key=key_sweep)
                x = data_of(target, state, key_x)
                return (state, x), functionals(target, state, x)

            return jax.lax.scan(step, (state, data_of(target, state, key_x)), jax.random.split(key_steps, n))[1]

        return jax.vmap(of_chain)(jax.random.split(jax.random.key(1), 4))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "CONSTANTS", replace(partitions.CONSTANTS, leeway=(0.0, 0.0)))
        patch.setattr(annealing, "CONSTANTS", replace(annealing.CONSTANTS, numbers=2, paths=4))
        yield np.asarray(independent(jax.random.split(jax.random.key(2), 50_000))), chains


def largest_z(joint, n: int, inverse_temperature: float = 1.0) -> float:
    expected, chains = joint[0], np.asarray(joint[1](n, jnp.asarray(inverse_temperature)))
    z = []
    for j in range(expected.shape[1]):
        error = np.hypot(expected[:, j].std() / np.sqrt(len(expected)), float(az.mcse(chains[..., j], method="mean")))
        z.append(abs(expected[:, j].mean() - chains[..., j].mean()) / error)
    return max(z)


LENGTHS = pytest.mark.parametrize("n", [2000, 8000])


@LENGTHS
def test_sweeps_that_alternate_with_new_data_leave_the_joint_distribution(n, joint):
    assert largest_z(joint, n) < 4.0  # of 12: over 4 with probability 8e-4; of 26: 2e-3


@LENGTHS
def test_without_the_likelihood_the_prior_of_everything_is_recovered(n, joint):
    assert largest_z(joint, n, inverse_temperature=0.0) < 4.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [models.Hierarchical(), models.Gaussian(tied=True)],
    ids=["centred forms", "tied"],
)
def test_what_is_shared_moves_the_same_where_only_the_first_components_are_looked_at(family, monkeypatch, rng):
    x = rng.normal(size=(30, 2))
    target = target_of(models.random_k(max_components=4, components=family), x)
    prior = summarise_prior(target, key=jax.random.key(0))
    fixed = conditions_at(target, prior, prior.shared, jnp.ones(()))
    T = one(fixed.reference.origin).statistics
    parts = jnp.stack([T(jnp.asarray(part).T).sum(1) for part in (x[:18], x[18:])])
    statistics = jnp.zeros((4, parts.shape[1])).at[:2].set(parts)
    z = prior.centre + 0.3 * prior.sd * jnp.asarray(rng.normal(size=(4, len(prior.sd))))
    found = []
    for few in (2, 4):
        monkeypatch.setattr(moves, "CONSTANTS", replace(moves.CONSTANTS, few=few))
        factor = jnp.diag(prior.shared_sd)
        move = jax.jit(lambda: moves.move_shared(fixed, z, statistics, factor, jnp.array(0.01), key=jax.random.key(1)))  # noqa: B023
        found.append(move())
    assert float(jnp.abs(found[0][0] - prior.shared).max()) > 0, "the move is accepted"
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), *found)


def _shared_without_likelihood(monkeypatch):
    original = sweeps.move_shared

    def move_shared(fixed, *given, key):
        return original(fixed._replace(inverse_temperature=0.0 * fixed.inverse_temperature), *given, key=key)

    monkeypatch.setattr(sweeps, "move_shared", move_shared)


def _k_one_off(monkeypatch):
    original = models.RandomK.log_partition
    monkeypatch.setattr(models.RandomK, "log_partition", lambda self, *given: original(self, *given) + jnp.log(given[2] + 1))


def _no_jacobian(monkeypatch):
    original = Target.component

    def component(self, z, h):
        found = original(self, z, h)
        return found._replace(log_density=found.log_prior)

    monkeypatch.setattr(Target, "component", component)


def _a_power_of_w_too_few(monkeypatch):
    original = models.Hierarchical.from_centred_form

    def from_centred_form(self, form, shared):
        sites, log_jacobian = original(self, form, shared)
        diagonal = jnp.diagonal(shared["shared_correlation_tril"])
        return sites, log_jacobian + jnp.log(shared["shared_scales"] * diagonal).sum()

    monkeypatch.setattr(models.Hierarchical, "from_centred_form", from_centred_form)


def _guesses_decide(monkeypatch):
    monkeypatch.setattr(partitions, "log_screening_ratio", lambda guess, leeway: 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant", [_k_one_off, _no_jacobian, _guesses_decide, _shared_without_likelihood, _a_power_of_w_too_few]
)
def test_planted_faults_do_not_leave_it(plant, joint, request, monkeypatch):
    if plant is _no_jacobian and ("Tied" in request.node.name or "Hierarchical" in request.node.name):
        pytest.skip("the sites of one component are not constrained: their Jacobian is one")
    if plant is _shared_without_likelihood and ("SharedRate" in request.node.name or "Hierarchical" in request.node.name):
        pytest.skip("what the components share is drawn given components that it leaves as they are")
    if plant is _a_power_of_w_too_few and "Hierarchical" not in request.node.name:
        pytest.skip("these components have no centred form")
    expected, chains = joint
    plant(monkeypatch)
    jax.clear_caches()  # what was traced without the fault

    def traced_anew(n, inverse_temperature):
        return chains.__wrapped__(n, inverse_temperature)

    assert largest_z((expected, jax.jit(traced_anew, static_argnums=0)), 80_000) > 8.0
    jax.clear_caches()


@pytest.mark.slow
def test_gibbs_and_nuts_agree_where_components_share_a_scale(rng):
    """Two groups of 100 rows with sd 0.1: the scale's posterior is near 0.1, and its prior reaches from 0.07 to 1.9."""
    x = np.concatenate([rng.normal(-1, 0.1, 100), rng.normal(1, 0.1, 100)])
    model = models.Mixture(models.Dirichlet(2), Tied())
    settings = (
        bgmm.Gibbs(n_draws=500, n_warmup=200, split_merge=0, jumps=0, stop_early=False),
        bgmm.NUTS(n_draws=500, n_warmup=300),
    )
    posteriors = [bgmm.fit(model, x, engine=engine, seed=1, standardise=False)["posterior"] for engine in settings]
    scales = [posterior["scales"][..., 0] for posterior in posteriors]
    for posterior, scale in zip(posteriors, scales, strict=True):
        assert scale.dims == ("chain", "draw")  # one for all clusters
        np.testing.assert_allclose(posterior["scale"], scale, rtol=1e-9)
    for method, moment in (("mean", np.mean), ("sd", np.std)):
        ours, theirs = (moment(scale.to_numpy()) for scale in scales)
        assert abs(ours - theirs) < 4.5 * np.hypot(*(float(az.mcse(scale, method=method)) for scale in scales))


def test_the_guess_of_the_evidence_is_exact_where_the_prior_is_conjugate(rng):
    """Rows about a known mean, one after the other: each has a t distribution given those before (Gelman et al. 2013, 3.6)."""
    d, rows = 3, rng.normal(size=(7, 3)) @ rng.normal(size=(3, 3))
    rows = np.concatenate([rows, -rows])  # their mean is the known one
    C0 = np.cov(rng.normal(size=(9, d)).T)
    target = target_of(models.random_k(), rows)
    prior = summarise_prior(target, key=jax.random.key(0))
    origin = bgmm.Gaussians.dense(jnp.zeros((1, d)), jnp.linalg.cholesky(jnp.asarray(C0))[None])
    reference = prior.reference._replace(origin=origin, mean_variances=jnp.zeros(d))
    fixed = Conditions(target, prior, reference, prior.shared, jnp.ones(()))
    S, expected = d * C0, 0.0
    for n, row in enumerate(rows):
        expected += stats.multivariate_t(np.zeros(d), S / (n + 1), df=n + 1).logpdf(row)
        S = S + np.outer(row, row)
    statistics = kernel.sum_statistics(Dense.statistics, target.rows.x, target.rows.weights)
    assert float(partitions.log_evidence_guess(fixed, statistics)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("inverse_temperature", [1.0, 0.05])
def test_drawn_missing_values_have_the_conditional_moments(inverse_temperature):
    """Only the densities of what was observed are tempered: else each missing value would favour a wide component."""
    mixture = Parameters(
        np.zeros(1),
        np.array([[1.0, -1.0, 0.5]]),
        np.linalg.cholesky(np.array([[[2.0, 0.8, 0.3], [0.8, 1.0, 0.4], [0.3, 0.4, 0.7]]])),
    )
    row = np.array([[1.8, np.nan, np.nan]])
    rows, _ = in_memory(np.repeat(row, 20_000, axis=0))
    densities, power = mixture.mixture.natural(), {"inverse_temperature": inverse_temperature}
    drawn = kernel.draw_complete_data(densities, jnp.zeros(1), rows, **power, key=jax.random.key(0))
    of_observed = stats.norm.logpdf(1.8, 1.0, np.sqrt(2.0))
    assert float(drawn.log_likelihood) == pytest.approx(20_000 * inverse_temperature * of_observed)
    x = np.asarray(drawn.x).transpose(0, 2, 1).reshape(-1, 3)[np.asarray(rows.weights).reshape(-1) > 0]
    np.testing.assert_array_equal(x[:, 0], 1.8)
    covariance = mixture.scale_tril[0] @ mixture.scale_tril[0].T
    slope = covariance[1:, 0] / covariance[0, 0]
    mean = mixture.means[0, 1:] + slope * 0.8
    within = covariance[1:, 1:] - np.outer(slope, covariance[0, 1:])
    np.testing.assert_allclose(x[:, 1:].mean(0), mean, atol=4 * np.sqrt(within.max() / 20_000))
    np.testing.assert_allclose(np.cov(x[:, 1:].T), within, atol=0.04)


@pytest.fixture(scope="module")
def tree(faithful):
    # else as by default: the tests of demo and README compile the same
    settings = bgmm.Gibbs(n_draws=150, n_warmup=100, sweeps_per_draw=2, stop_early=False)
    with pytest.warns(UserWarning, match="the chains"):  # this short they do not agree on the number
        return bgmm.fit(models.random_k(), faithful, engine=settings, seed=0)


def test_a_fit_answers_how_many_with_a_tree_that_arviz_takes_as_it_is(tree, faithful):
    assert violations(tree) == [] == violations(bgmm.relabel(tree))
    shared = {"shared_scales", "shape_spread"}
    assert {"n_components", "n_occupied", "concentration", *shared} == set(tree["posterior"].data_vars)
    assert list(tree["posterior"]["shared_scales"]["feature"].to_numpy()) == list(faithful.columns)
    assert np.isfinite(az.summary(tree, round_to="none")["mean"].astype(float)).all()
    components = tree["components"]
    k, k_plus = (tree["posterior"][name] for name in ("n_components", "n_occupied"))
    np.testing.assert_allclose(components["weights"].sum("cluster"), 1.0)
    np.testing.assert_array_equal((components["weights"] > 0).sum("cluster"), k)
    np.testing.assert_array_equal(tree["sample_stats"]["occupied"].sum("cluster"), k_plus)
    assert all(np.isfinite(variable).all() for variable in components.data_vars.values())
    p = bgmm.n_occupied(tree)
    assert float(p.sum()) == pytest.approx(1.0)
    assert float(p.sel(n_occupied=3)) > 0.4  # .70 in long runs
    assert float(p.sel(n_occupied=1)) < 0.05
    mean = (components["weights"] * components["means"]).sum("cluster").mean(["chain", "draw"])
    np.testing.assert_allclose(mean, faithful.mean(), rtol=0.03)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the chains do not agree", "ignore:in .* of the draws all 4 components hold rows")
def test_log_prior_of_an_unknown_number_is_that_of_the_sites_of_fixed_size(faithful):
    settings = bgmm.Gibbs(n_draws=50, n_warmup=50, n_chains=2, sweeps_per_draw=1, jumps=0)
    tree = bgmm.fit(models.random_k(max_components=4), faithful.iloc[:, :1], settings, seed=0)  # of one feature, all are shown
    names = ("n_components", "concentration", "shared_scales", "shape_spread")
    k, alpha, a, b = (tree["posterior"][name].to_numpy() for name in names)
    log_p = np.asarray(jax.nn.log_softmax(models.random_k(max_components=4).weights.log_prior_k()))
    of_shared = stats.lognorm(1.0, scale=np.exp(-1)).logpdf(a[..., 0]) + stats.lognorm(0.7, scale=0.4).logpdf(b)
    expected = log_p[k - 1] + stats.f(6, 3).logpdf(alpha) + of_shared
    np.testing.assert_allclose(tree["log_prior"]["log_prior"], expected, rtol=1e-9)


def test_log_prior_of_an_unknown_number_is_scaled_by_powers(tree):
    sensitivity = az.psense(tree)
    assert float(sensitivity["n_occupied"]) < 1  # 2 and more where densities of a varying number of components are scaled
    assert float(sensitivity["n_occupied"]) < float(sensitivity["concentration"])  # which the rows inform through K+ alone


def test_the_summary_says_whether_chains_from_different_starts_agree(tree):
    text = bgmm.summary(bgmm.relabel(tree))
    assert "occupied components: " in text
    assert "The chains" in text


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        (models.random_k(), {"engine": "nuts"}, "NUTS needs a given number of components, .* use gibbs"),
        (models.random_k(), {"engine": "em"}, "EM needs a given number"),
        (models.finite(2).__call__, {"engine": "gibbs"}, "Gibbs fits a models.Mixture"),
        (models.random_k(), {"weights": np.full(272, 0.5)}, "Gibbs assigns whole rows"),
        (models.random_k(), {"start": np.zeros((2, 2))}, "leave start out$"),
        (models.random_k(), {"weights": np.eye(272)[0]}, "at least 2 rows of weight above 0"),
    ],
)
def test_what_gibbs_cannot_do_is_refused_in_one_sentence(faithful, model, options, says):
    with pytest.raises(ValueError, match=says) as refusal, warnings.catch_warnings(action="ignore"):  # that values repeat
        bgmm.fit(model, faithful, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the chains")  # two short ones, without splits and merges
def test_a_dirichlet_process_lists_the_clusters_that_hold_rows(faithful):
    settings = bgmm.Gibbs(n_draws=200, n_warmup=100, n_chains=2, sweeps_per_draw=2, split_merge=0)
    tree = bgmm.fit(models.dirichlet_process(12, concentration=models.Gamma(1.0, 1.0)), faithful, engine=settings)
    posterior = tree["posterior"]
    assert set(posterior.data_vars) == {"weights", "means", "scales", "covariances", "correlations", "concentration"}
    assert "components" not in tree.children  # the number of places is given
    np.testing.assert_allclose(posterior["weights"].sum("cluster"), 1.0)
    assert (posterior["weights"].diff("cluster") <= 0).all()  # heaviest first, as the sticks expect
    aligned = bgmm.relabel(tree)
    assert float(aligned["posterior"]["weights"].isel(cluster=slice(0, 2)).sum("cluster").mean()) > 0.7
    np.testing.assert_array_equal(aligned["sample_stats"]["present"].sum("cluster"), tree["sample_stats"]["n_occupied"])
    assert float(bgmm.n_occupied(tree).sel(n_occupied=1)) < 0.05
    total = tree["log_likelihood"]["x"].sum("observation") + 272 * np.log(tree["constant_data"]["scale"]).sum()
    np.testing.assert_allclose(tree["log_prior"]["log_prior"] + total, tree["sample_stats"]["lp"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["faithful", "iris"])
def test_a_given_number_of_components_has_the_posterior_that_nuts_finds(data, request):
    """Every mean and every standard deviation of the aligned draws, within the Monte Carlo errors of both."""
    x, k = (request.getfixturevalue(data), {"faithful": 2, "iris": 3}[data])
    ours, theirs = (moments(bgmm.relabel(bgmm.fit(models.finite(k), x, engine=engine, seed=3))) for engine in ("gibbs", "nuts"))
    z = np.abs(ours[0] - theirs[0]) / np.hypot(ours[1], theirs[1])
    assert z.max() < 4.5, z


def moments(tree) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of the draws, and the Monte Carlo errors of both."""
    each = [tree["posterior"][name] for name in ("weights", "means", "scales", "correlations")]
    values = [value for a in each for value in (a.mean(["chain", "draw"]), a.std(["chain", "draw"]))]
    errors = [az.mcse(a, method=method) for a in each for method in ("mean", "sd")]
    return np.concatenate([a.to_numpy().ravel() for a in values]), np.concatenate([a.to_numpy().ravel() for a in errors])


@pytest.mark.slow
def test_without_the_likelihood_the_default_priors_are_recovered(rng):
    model = models.random_k(max_components=6)
    target = target_of(model, rng.normal(size=(12, 2)))
    summary = summarise_prior(target, key=jax.random.key(0))
    states = first_states(target, summary, 4, key=jax.random.key(1))
    chains = Chains(target, summary, states, key=jax.random.key(2)).draw(300, 4000, inverse_temperature=0.0)
    (found,) = after_warmup(chains, 300, [4000])
    draws = describe(target, found)
    prior = Predictive(model, num_samples=20_000)(jax.random.key(3), np.zeros((12, 2)))

    def quantities(sites, w, means, scale_tril):
        """None depends on labels: K, log alpha, log b, weights, and averages over the components of the mixture."""
        k, alpha, b = (np.asarray(sites[name]) for name in ("n_components", "concentration", "shape_spread"))
        sd = np.sqrt(np.square(scale_tril).sum(-1))
        r = (scale_tril[..., 0, :] * scale_tril[..., 1, :]).sum(-1) / sd.prod(-1)
        log_sd = np.log(sd)
        each = [w**2, w * means[..., 0], w * means[..., 1] ** 2, w * log_sd[..., 0], w * log_sd[..., 1] ** 2, w * r, w * r**2]
        return np.stack([1.0 * k, k == 1, np.log(alpha), np.log(b), np.log(b) ** 2, *(a.sum(-1) for a in each)])

    p = {name: np.asarray(value) for name, value in prior.items()}
    b = p["shape_spread"][:, None]
    r = np.tanh(np.sqrt(2) * b / np.sqrt(1 + 4 * b**2) * p["correlation_deviations"][..., 0])
    R = np.stack([np.stack([np.ones_like(r), 0 * r], -1), np.stack([r, np.sqrt(1 - r**2)], -1)], -2)
    W = p["shared_scales"][:, :, None] * p["shared_correlation_tril"]
    A = W[:, None] @ (np.exp(b[..., None] * p["scale_deviations"])[..., None] * R)
    floor = 0.01  # no recording step
    scale_tril = np.linalg.cholesky(A @ np.swapaxes(A, -1, -2) + floor**2 * np.eye(2))
    expected = quantities(p, p["weights"], p["means"], scale_tril)
    m = draws.mixture
    found = quantities(draws.sites, np.exp(m.log_weights), np.asarray(m.components.means), np.asarray(m.components.factor.L))
    for ours, theirs in zip(found, expected, strict=True):
        error = np.hypot(theirs.std() / np.sqrt(theirs.size), float(az.mcse(ours, method="mean")))
        assert abs(ours.mean() - theirs.mean()) < 4.0 * error


@dataclass(frozen=True)
class Ordered:
    """Components that are not alike: each mean is above the one before it."""

    def declare(self, k, about):
        gaps = numpyro.sample("gaps", dist.HalfNormal(1.0).expand([k, 1]).to_event(2))
        return bgmm.Gaussians.dense(jnp.cumsum(gaps, axis=0), jnp.ones((k, 1, 1)))


def test_components_that_are_not_alike_are_refused():
    model = models.Mixture(models.Dirichlet(2), Ordered())
    assert "components that are alike" in bgmm.Gibbs().refuses(target_of(model, np.zeros((5, 1))))
    with pytest.raises(ValueError, match="components that are alike"):
        bgmm.fit(model, np.arange(5.0), engine="gibbs")
