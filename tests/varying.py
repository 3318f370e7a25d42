"""Draws of a known mixture of which some clusters come and go, with labels that mean nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

import bgmm


class Varying(NamedTuple):
    """A tree without labels, and what it was made from."""

    tree: xr.DataTree
    present: np.ndarray  # (chain, draw, cluster)
    means: np.ndarray  # (chain, draw, cluster, feature) of the known clusters
    x: np.ndarray | None


def varying(
    rng: np.random.Generator,
    means: np.ndarray,
    weights: np.ndarray,
    present: np.ndarray,
    *,
    n_rows: int = 0,
    noise: float = 0.1,
    size: int = 7,
) -> Varying:
    """Draws (chain, draw) of the clusters at ``means`` (k, d) where ``present``, in random places of ``size``."""
    c, s, k = present.shape
    d = means.shape[1]
    w = present * rng.dirichlet(300 * weights, size=(c, s))
    w /= w.sum(2, keepdims=True)
    mu = means + noise * rng.normal(size=(c, s, k, d))
    place = np.argsort(rng.uniform(size=(c, s, size)), axis=2)[:, :, :k]
    padded_w, padded_mu = np.zeros((c, s, size)), np.full((c, s, size, d), np.nan)
    np.put_along_axis(padded_w, place, w, axis=2)
    np.put_along_axis(padded_mu, place[..., None], np.where(present[..., None], mu, np.nan), axis=2)
    scale = np.exp(0.1 * rng.normal(size=(c, s, size, 1, 1)))
    sigma = np.where(padded_w[..., None, None] > 0, scale * np.eye(d), np.nan)
    x = None
    if n_rows:
        x = means[rng.choice(k, n_rows, p=weights)] + rng.normal(size=(n_rows, d))
    return Varying(bgmm.from_draws(padded_w, padded_mu, sigma, x), present, mu, x)
