"""Bayesian Gaussian mixtures: declared in NumPyro, fitted by every engine, answered as ArviZ trees.

The names below are imported when they are first used, so that ``bgmm --help`` need not wait for JAX.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bgmm import estimators as estimators
    from bgmm import models as models
    from bgmm.core.components import Components as Components
    from bgmm.core.gaussians import Gaussians as Gaussians
    from bgmm.data.examples import galaxies as galaxies
    from bgmm.data.examples import old_faithful as old_faithful
    from bgmm.data.stream import stream as stream
    from bgmm.engines.em import EM as EM
    from bgmm.engines.evidence.estimate import Evidence as Evidence
    from bgmm.engines.gibbs.engine import Gibbs as Gibbs
    from bgmm.engines.laplace import Laplace as Laplace
    from bgmm.engines.nuts import NUTS as NUTS
    from bgmm.engines.vi import VI as VI
    from bgmm.evidence import log_evidence as log_evidence
    from bgmm.external_draws import from_draws as from_draws
    from bgmm.fitting import fit as fit
    from bgmm.posterior.agreement import agreement as agreement
    from bgmm.posterior.co_clustering import co_clustering as co_clustering
    from bgmm.posterior.compare import compare as compare
    from bgmm.posterior.occupied import n_components as n_components
    from bgmm.posterior.occupied import n_occupied as n_occupied
    from bgmm.posterior.partition import credible_ball as credible_ball
    from bgmm.posterior.partition import partition as partition
    from bgmm.posterior.predict import labels as labels
    from bgmm.posterior.predict import log_density as log_density
    from bgmm.posterior.predict import membership as membership
    from bgmm.posterior.predict import posterior_predictive as posterior_predictive
    from bgmm.posterior.predict import sample as sample
    from bgmm.posterior.prune import prune as prune
    from bgmm.posterior.relabel import relabel as relabel
    from bgmm.posterior.uncertainty import uncertainty as uncertainty
    from bgmm.prior import prior_n_occupied as prior_n_occupied
    from bgmm.program.distributions import ComponentMixture as ComponentMixture
    from bgmm.program.distributions import GaussianMixture as GaussianMixture
    from bgmm.show.agreement import plot_agreement as plot_agreement
    from bgmm.show.partitions import plot_co_clustering as plot_co_clustering
    from bgmm.show.partitions import plot_credible_ball as plot_credible_ball
    from bgmm.show.partitions import plot_membership as plot_membership
    from bgmm.show.plots import plot_clusters as plot_clusters
    from bgmm.show.plots import plot_occupied as plot_occupied
    from bgmm.show.summary import summary as summary
    from bgmm.tree.files import load as load
    from bgmm.tree.files import save as save

_HOME = {
    "ComponentMixture": "bgmm.program.distributions",
    "Components": "bgmm.core.components",
    "EM": "bgmm.engines.em",
    "Evidence": "bgmm.engines.evidence.estimate",
    "GaussianMixture": "bgmm.program.distributions",
    "Gaussians": "bgmm.core.gaussians",
    "Gibbs": "bgmm.engines.gibbs.engine",
    "Laplace": "bgmm.engines.laplace",
    "NUTS": "bgmm.engines.nuts",
    "VI": "bgmm.engines.vi",
    "agreement": "bgmm.posterior.agreement",
    "co_clustering": "bgmm.posterior.co_clustering",
    "compare": "bgmm.posterior.compare",
    "credible_ball": "bgmm.posterior.partition",
    "fit": "bgmm.fitting",
    "from_draws": "bgmm.external_draws",
    "galaxies": "bgmm.data.examples",
    "labels": "bgmm.posterior.predict",
    "load": "bgmm.tree.files",
    "log_evidence": "bgmm.evidence",
    "log_density": "bgmm.posterior.predict",
    "membership": "bgmm.posterior.predict",
    "n_components": "bgmm.posterior.occupied",
    "n_occupied": "bgmm.posterior.occupied",
    "old_faithful": "bgmm.data.examples",
    "partition": "bgmm.posterior.partition",
    "plot_agreement": "bgmm.show.agreement",
    "plot_clusters": "bgmm.show.plots",
    "plot_co_clustering": "bgmm.show.partitions",
    "plot_credible_ball": "bgmm.show.partitions",
    "plot_membership": "bgmm.show.partitions",
    "plot_occupied": "bgmm.show.plots",
    "posterior_predictive": "bgmm.posterior.predict",
    "prior_n_occupied": "bgmm.prior",
    "prune": "bgmm.posterior.prune",
    "relabel": "bgmm.posterior.relabel",
    "sample": "bgmm.posterior.predict",
    "save": "bgmm.tree.files",
    "stream": "bgmm.data.stream",
    "summary": "bgmm.show.summary",
    "uncertainty": "bgmm.posterior.uncertainty",
}

__all__ = [*sorted(_HOME), "models"]  # noqa: PLE0604 (all of them strings)


def __getattr__(name: str) -> Any:
    if name in ("models", "estimators"):  # the second needs scikit-learn, and is no part of __all__
        return import_module(f"bgmm.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'bgmm' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
