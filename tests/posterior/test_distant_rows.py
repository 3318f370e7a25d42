"""Rows at any distance have finite memberships and a log density; a warning names them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

import bgmm
from bgmm.core.scaling import Scaling
from tests.mixtures import Parameters, random_mixture, sample
from tests.posterior_trees import jittered, tree_of

DISTANCES = [1e3, 1e8, 1e20, 1e100, 1e154, 1e155, 1e200, 1e300, float(np.finfo(float).max)]
FAR = r"^row \d+ of x( and \d+ more lie| lies) over 100 times as far out as any cluster reaches \(f0 is "


@pytest.fixture
def tree(rng):
    mixture = random_mixture(rng, 3, 2)
    return tree_of(jittered(rng, mixture, 1, 4), sample(rng, mixture, 40)[0])


def plug_in(tree, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Memberships and log densities of rows by SciPy, averaged over the draws."""
    weights, means, covariances = (tree["posterior"][name].to_numpy()[0] for name in ("weights", "means", "covariances"))
    joint = [
        [np.log(w[k]) + multivariate_normal(mu[k], sigma[k]).logpdf(x) for k in range(3)]
        for w, mu, sigma in zip(weights, means, covariances, strict=True)
    ]
    joint = np.moveaxis(np.array(joint), 1, 2)  # s n k
    log_p = np.logaddexp.reduce(joint, axis=2)
    return np.exp(joint - log_p[..., None]).mean(0), np.logaddexp.reduce(log_p, axis=0) - np.log(len(joint))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_memberships_are_finite_at_any_distance_and_those_of_the_direction(tree, sign):
    x = sign * np.array(DISTANCES)[:, None] * [[1.0, 0.5]]
    tree = bgmm.relabel(tree)
    with pytest.warns(UserWarning, match=FAR):
        p = bgmm.membership(tree, x).to_numpy()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    expected = plug_in(tree, x[:2])[0]
    np.testing.assert_allclose(p[:2], expected, atol=1e-8)
    np.testing.assert_allclose(p[1:], np.tile(expected[1], (len(p) - 1, 1)), atol=1e-8)
    with pytest.warns(UserWarning, match=FAR):
        said = bgmm.uncertainty(tree, x)
    assert np.isfinite(said["entropy"]).all()
    assert np.isfinite(said["overlap"]).all()


def test_log_densities_are_exact_until_they_are_minus_infinity(tree):
    x = np.array(DISTANCES)[:, None] * [[1.0, 0.5]]
    with pytest.warns(UserWarning, match=FAR):
        values = bgmm.log_density(tree, x).to_numpy()
    assert not np.isnan(values).any()
    near = [d < 1e150 for d in DISTANCES]
    np.testing.assert_allclose(values[near], plug_in(tree, x[near])[1], rtol=1e-9)
    np.testing.assert_allclose(values[4] / values[3], 1e108, rtol=1e-9)  # 1e154 and 1e100: a quadratic form
    assert (values[5:] == -np.inf).all()


def test_components_of_equal_covariance_are_told_apart_at_any_distance(rng):
    mixture = random_mixture(rng, 3, 2)
    L = mixture.scale_tril[0]
    tree = tree_of(Parameters(*(a[None, None] for a in (mixture.log_weights, mixture.means, np.stack([L] * 3)))))
    direction = np.array([1.0, 0.5])
    widest = int((mixture.means @ np.linalg.solve(L @ L.T, direction)).argmax())  # log p(z = k | x) is linear in x
    with pytest.warns(UserWarning, match=FAR):
        p = bgmm.membership(tree, np.array(DISTANCES[1:])[:, None] * direction).to_numpy()
    np.testing.assert_array_equal(p.max(1), 1)
    assert len(set(p.argmax(1))) == 1
    relabelled = bgmm.relabel(tree)["posterior"]["means"].to_numpy()[0, 0]
    np.testing.assert_allclose(relabelled[p[0].argmax()], mixture.means[widest])


def test_near_rows_are_left_alone_and_far_rows_are_counted(tree, recwarn):
    bgmm.membership(tree, np.zeros((3, 2)))
    assert not recwarn
    frame = pd.DataFrame({"f0": [0.0, 1e5, np.nan, -1e300], "f1": [0.0, 0.0, 0.0, np.nan]})
    with pytest.warns(UserWarning, match=r"^row 2 of x and 1 more lie .* \(f0 is 100000 there\)"):
        p = bgmm.membership(tree, frame)
    assert np.isfinite(p).all()


def test_rows_move_towards_the_centre_without_overflow(rng):
    scaling, largest = Scaling(np.array([1e12, -3.0]), np.array([1e-3, 2.0])), np.finfo(float).max
    x = np.array([[1e12, -3.0], [largest, np.nan], [-largest, largest]])
    moved, s = scaling.within_reach(x, 1e100)
    np.testing.assert_array_equal(moved[0], x[0])
    assert s[0] == 1
    standard = scaling.standardise(moved)
    np.testing.assert_allclose(np.nanmax(np.abs(standard), axis=1), [0, 1e100, 1e100], rtol=1e-9)
    np.testing.assert_allclose(s[1:] * 1e97, largest, rtol=1e-9)
    assert np.isnan(moved[1, 1])
