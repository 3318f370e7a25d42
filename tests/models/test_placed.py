"""Where families place a component of given moments: where a component of these moments is."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgmm import models
from bgmm.core.in_memory import in_memory
from bgmm.engines.gibbs.reference import one
from bgmm.program.declare import make_target

FREE = [models.Gaussian, models.Diagonal, models.Spherical]
FAMILIES = [*(f(floor=0.0) for f in FREE), *(f(floor=0.0, tied=True) for f in FREE), models.Hierarchical(floor=0.0)]


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__ + "-tied" * f.is_tied)
def test_a_component_is_placed_where_it_is(family, d):
    x = np.random.default_rng(0).normal(size=(20, d))
    model = models.Mixture(models.Dirichlet(3), family)
    target = make_target(model, x[:1], rows=in_memory(x)[0], scaling=None, recording_step=np.zeros(d))
    z, h = target.draw_component(None, key=jax.random.key(3))
    component = target.component(z, h).components
    near = target.component_near(component.means[0], one(component).covariance(), h)
    assert_allclose(near, z, rtol=1e-8, atol=1e-8)
