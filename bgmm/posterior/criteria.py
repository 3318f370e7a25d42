"""Information criteria of a mode: AIC, BIC and ICL, all of them better when smaller.

With log likelihood L at the mode, p free parameters and N rows,

    AIC = -2 L + 2 p,    BIC = -2 L + p log N,    ICL = -2 sum_n max_k log [w_k p(x_n | k)] + p log N.

Akaike (1974); Schwarz (1978); Biernacki, Celeux and Govaert (2000), whose ICL puts each row in its most probable component, so
that overlap counts against a mixture. Under a prior the mode is not where L is largest; L is the log likelihood at the mode.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from bgmm.core import kernel
from bgmm.core.scaling import Scaling
from bgmm.posterior.evaluate import Evaluation, each_draw

LEAST_LOO_DRAWS = 21  # of which the largest fifth, to which az.loo fits a Pareto tail, holds at least five


def criteria(inputs: Evaluation, n_parameters: int, units: Scaling) -> dict[str, Float[np.ndarray, " s"]]:
    """The criteria of each draw in the user's units; N is the sum of the observation weights."""
    log_volume = inputs.rows.log_scale_sum(np.log(np.asarray(units.scale)))
    log_likelihood, classified = each_draw(kernel.marginal_and_classification, inputs).T - log_volume
    log_n = np.log(float(inputs.rows.total_weight))
    return {
        "aic": -2 * log_likelihood + 2 * n_parameters,
        "bic": -2 * log_likelihood + n_parameters * log_n,
        "icl": -2 * classified + n_parameters * log_n,
    }
