"""scikit-learn's own public mixture tests with bgmm's classes put in place of scikit-learn's.

    python -m benchmarks.sklearn_tests [options of pytest]

Tests that ask nothing of an estimator, or ask for private functions and methods of scikit-learn's, are left out; ``LEFT_OUT``
lists them with the reason.
"""

from __future__ import annotations

import sys

import pytest

_FUNCTIONS = "tests private functions of scikit-learn and no estimator"
_METHODS = "calls private methods of scikit-learn's classes"
LEFT_OUT = {
    "test_suffstat_sk_full": _FUNCTIONS,
    "test_suffstat_sk_tied": _FUNCTIONS,
    "test_suffstat_sk_diag": _FUNCTIONS,
    "test_gaussian_suffstat_sk_spherical": _FUNCTIONS,
    "test_compute_log_det_cholesky": _FUNCTIONS,
    "test_gaussian_mixture_log_probabilities": _FUNCTIONS,
    "test_log_dirichlet_norm": _FUNCTIONS,
    "test_log_wishart_norm": _FUNCTIONS,
    "test_gaussian_mixture_precisions_init": _METHODS,
    "test_compare_covar_type": _METHODS,
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": "counts calls of a private function",
    "test_gaussian_mixture_array_api_compliance": "the array API is not supported",
    "test_gaussian_mixture_raises_where_array_api_not_implemented": "the array API is not supported",
}


class InPlace:
    """A plugin of pytest: bgmm's classes in place of scikit-learn's, and what is left out."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}

    def pytest_configure(self) -> None:
        """Put the classes in place, before any test module imports them."""
        import sklearn.mixture

        from bgmm import estimators

        sklearn.mixture.GaussianMixture = estimators.GaussianMixture
        sklearn.mixture.BayesianGaussianMixture = estimators.BayesianGaussianMixture

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark what is left out."""
        for item in items:
            reason = LEFT_OUT.get(item.name.split("[")[0])
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count."""
        if report.when == "call" or report.skipped:
            self.outcomes[report.outcome] = self.outcomes.get(report.outcome, 0) + 1


def run(*options: str) -> tuple[int, dict[str, int]]:
    """pytest's exit code, and how many tests passed, failed and were skipped."""
    plugin = InPlace()
    files = [f"sklearn.mixture.tests.test_{name}" for name in ("gaussian_mixture", "bayesian_mixture", "mixture")]
    code = pytest.main(["--pyargs", *files, "-p", "no:cacheprovider", "-c", "/dev/null", *options], plugins=[plugin])
    return int(code), plugin.outcomes


if __name__ == "__main__":
    code, outcomes = run("-q", *sys.argv[1:])
    print(", ".join(f"{n} {name}" for name, n in sorted(outcomes.items())))
    for name, reason in LEFT_OUT.items():
        print(f"left out: {name}: {reason}")
    sys.exit(code)
