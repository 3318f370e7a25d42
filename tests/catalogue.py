"""Named constructors that the laws run over: a new family, prior or engine is tested by adding one line."""

from __future__ import annotations

import bgmm
from bgmm import models
from tests.student_t import StudentT

GAUSSIANS = {  # families with sufficient statistics
    "gaussian": models.Gaussian(),
    "diagonal": models.Diagonal(),
    "spherical": models.Spherical(),
    "hierarchical": models.Hierarchical(),
    "tied gaussian": models.Gaussian(tied=True),
    "tied diagonal": models.Diagonal(tied=True),
    "tied spherical": models.Spherical(tied=True),
}
FAMILIES = GAUSSIANS | {"student-t": StudentT()}

WEIGHTS = {
    "uniform": models.Dirichlet(3),
    "few": models.Dirichlet(3, 0.3),
    "learned": models.Dirichlet(3, models.Gamma(2.0, 2.0)),
    "sticks": models.StickBreaking(3, 2.0),
}

ENGINES = {
    "map": bgmm.EM(n_starts=2),
    "ml": bgmm.EM(prior=False, n_starts=2),
    "laplace": bgmm.Laplace(n_draws=400, n_starts=2),
    "vi": bgmm.VI(n_draws=400, n_starts=2),
    "nuts": bgmm.NUTS(n_draws=200, n_warmup=200, n_chains=2, n_starts=2),
    "gibbs": bgmm.Gibbs(n_draws=300, n_warmup=100, n_chains=2, sweeps_per_draw=2, stop_early=False, jumps=0),
}
