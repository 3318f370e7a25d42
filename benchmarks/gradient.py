"""Value and gradient of the log likelihood with respect to log weights, means and Cholesky factors: float64, compiled."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from benchmarks import data, timing
from benchmarks.contenders import US
from bgmm.core import kernel
from bgmm.core.components import Mixture
from bgmm.core.gaussians import Gaussians
from bgmm.core.in_memory import in_memory

D, K = 4, 5
BY_HAND = "NumPyro MixtureSameFamily"


def measure(quick: bool) -> Iterator[dict]:
    """One row a number of rows."""
    with jax.enable_x64(True):
        for n in (5_000,) if quick else (5_000, 50_000, 500_000):
            x = data.simulated(n, D, K)
            start = data.start(x, K)
            at = jax.tree.map(jnp.asarray, (np.log(start.weights), start.means, np.linalg.cholesky(start.covariances)))
            blocks, rows = in_memory(x)[0], jnp.asarray(x)

            def one_pass(at, blocks=blocks):
                log_w, means, L = at
                return kernel.log_likelihood(Mixture(jax.nn.log_softmax(log_w), Gaussians.dense(means, L)).natural(), blocks)

            def by_hand(at, rows=rows):
                log_w, means, L = at
                parts = dist.MultivariateNormal(means, scale_tril=L)
                return dist.MixtureSameFamily(dist.Categorical(logits=log_w), parts).log_prob(rows).sum()

            calls = {name: jax.jit(jax.value_and_grad(f)) for name, f in {US: one_pass, BY_HAND: by_hand}.items()}
            (ours, theirs) = (jax.tree.leaves(call(at)) for call in calls.values())
            difference = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(ours, theirs, strict=True))
            measures = {name: _mean_of(call, at, loops=max(2, 200_000 // n)) for name, call in calls.items()}
            values = timing.interleaved(measures, repeats=3 if quick else 15)
            yield {"n": n, "d": D, "k": K, "contenders": timing.summary(values, US), "differ_by": difference}


def _mean_of(call, at, loops: int):
    """A measurement: the mean time of a few calls in a row."""

    def several():
        for _ in range(loops):
            jax.block_until_ready(call(at))

    return lambda: timing.seconds(several) / loops
