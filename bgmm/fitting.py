"""fit(model, x, engine, seed): checks the inputs, runs the engine, and builds the tree."""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr

from bgmm.assembly import Model, Question, check_draws_for_loo
from bgmm.core.caller import warn
from bgmm.core.checks import check_choice, check_flag, random_key
from bgmm.core.options import named_options
from bgmm.core.precision import in_float64
from bgmm.core.progress import shown, stage
from bgmm.core.rows import Rows
from bgmm.engines.automatic import Automatic
from bgmm.engines.base import Draws, Engine
from bgmm.engines.catalogue import ENGINES, engine_named
from bgmm.inputs import Data, read_data, start_mixture
from bgmm.posterior.diagnose import Verdict, chains_verdict, verdict_entry
from bgmm.program.declare import make_target
from bgmm.program.family import DeclaredMixture
from bgmm.program.target import Target
from bgmm.tree.build import with_own_rows
from bgmm.tree.read import with_about


@named_options()
@in_float64
def fit(
    model: Model,
    x,
    engine: str | Engine | None = None,
    *,
    seed: int | jax.Array = 0,
    weights=None,
    standardise: bool | None = None,
    log_likelihood: bool | None = None,
    start=None,
    dtype: str = "float64",
    progress: bool | None = None,
) -> xr.DataTree:
    """Fit a declared mixture to data.

    :param model: one of ``bgmm.models``, or any NumPyro program of one argument, the rows, that observes a
        ``bgmm.GaussianMixture`` or a ``bgmm.ComponentMixture``.
    :param x: data (n, d): array, DataFrame or anything alike, where NaN is a missing value and is marginalised; or a
        ``bgmm.stream`` of a file that is larger than memory. The index of a DataFrame becomes the coordinate of ``observation``
        in the tree and in answers about rows, where it consists of strings, numbers or dates that are all different. Any other
        index (of several levels, with repeated or missing entries, with time zones) is left out, and the rows are numbered.
    :param engine: "em", "nuts", "gibbs", or a value with settings such as ``bgmm.NUTS(n_draws=2000)``; by default NUTS
        where the number of components is given and one mode holds the posterior, else Gibbs where it can fit the model.
    :param seed: an integer or a JAX key. Equal seeds give equal trees on one machine.
    :param weights: of the observations (n,): a row of weight 2 counts as that row twice.
    :param standardise: whether the model sees standardised rows. By default our models do, plain functions do not. Centre and
        scale are mean and standard deviation, except that values far outside of the bulk of a column (``bgmm.core.bulk``) count
        as its limits there; a warning names these rows.
    :param log_likelihood: whether the tree holds the log likelihood of every row and draw, which LOO needs. By default
        when there are at least 21 draws, it takes under 160 MB, and the rows are in memory. With fewer draws (EM gives one) LOO
        is not defined; of one draw, ``log_density`` of the tree is the log likelihood of every row.
    :param start: where to begin instead of at restarts: means (k, d), a label for each row (n,), or the tree of another fit.
    :param dtype: "float32" runs the passes of EM and NUTS over the data in single precision, which halves their memory and
        costs about 1e-6 of the log likelihood. Parameters and sums stay in double precision, and so do the passes of Gibbs.
    :param progress: whether a line on stderr says what a fit of more than a second does, how far it is, and the time left. By
        default on terminals and in notebooks only; False turns it off, True shows it anywhere.
    :returns: an ArviZ tree in the units of the data; ``bgmm.tree.schema`` lists its groups and variables. EM gives one chain of
        one draw. ``sample_stats`` holds which components hold a row (``occupied``, ``n_occupied``), what the engine reports,
        and ``lp``, the log posterior of the model in its own units; of EM also ``aic``, ``bic``, ``icl`` and ``n_parameters``
        (``posterior.criteria``), from the log likelihood at the mode. One warning says where chains do not agree or have too
        few effective draws; ``summary`` says how far draws can be trusted.
    :raises ValueError: one sentence that says what is wrong with the data, the model or an option.
    """
    check_choice("dtype", dtype, ("float64", "float32"))
    for name, flag in (("standardise", standardise), ("log_likelihood", log_likelihood), ("progress", progress)):
        if flag is not None:
            check_flag(name, flag)
    key_run, key_occupied = jax.random.split(random_key(seed))
    settings = Automatic() if engine is None else _settings(engine)
    with shown(progress):
        with stage("reading the rows"):
            data = read_data(model, x, weights)
        if log_likelihood and data.in_memory is None:
            raise ValueError("log_likelihood=True needs the rows in memory, and here they are streamed; leave it out")
        if log_likelihood:  # before a long fit, where the settings say how many draws it gives
            check_draws_for_loo(_most_draws(settings))
        with stage("reading the model"):
            rows, position = data.rows(dtype)
            target = declared_target(model, data, rows, standardise)
        bounded = target.model is not None and target.model.weights.size_is_bound
        if not bounded and target.n_components > data.n_counted:
            raise ValueError(f"{target.n_components} components need at least as many rows, and x has {data.n_counted}")
        if (refusal := settings.refuses(target, start)) is not None:
            able = [name for name in ENGINES if engine_named(name).refuses(target, start) is None]
            listed = " or ".join(filter(None, [", ".join(able[:-1]), *able[-1:]]))
            raise ValueError(refusal + (f"; use {listed}" if able else ""))
        begin = None if start is None else start_mixture(start, data, target.n_components)
        question = Question(model, seed, data, rows, position, target, key_occupied)
        answer = _Answer(question, settings)
        with stage(type(settings).__name__):
            draws = settings.run(target, key=key_run, start=begin, enough=answer.is_enough)
        answer.take(draws)
        tree, said = answer.tree, list(draws.warnings)
        remembered = {}
        if answer.verdict is not None:
            said += [] if answer.verdict.failure is None else [answer.verdict.failure]
            remembered = {"verdict": verdict_entry(tree, answer.verdict)}
        if question.has_log_likelihood(log_likelihood, draws):
            with stage("log likelihood of each row"):
                tree["log_likelihood"] = xr.DataTree(question.log_likelihood(draws))
        elif log_likelihood:
            said.append("the tree has no log_likelihood, for which these are too few draws")
        del answer, question, target, rows, position, data  # the blocks of the rows go before their copy in the tree comes
        tree = with_own_rows(with_about(tree, warnings=said, **remembered))
    for sentence in said:  # once the line of the progress is gone
        warn(sentence)
    return tree


class _Answer:
    """The tree of the draws so far, and whether they can be trusted."""

    def __init__(self, question: Question, settings: Engine):
        self.question, self._settings = question, settings
        self.draws: Draws | None = None
        self.tree = xr.DataTree()
        self.verdict: Verdict | None = None

    def take(self, draws: Draws) -> None:
        """Make the tree and the verdict of these draws, unless they are those judged last, of which more is known now."""
        judged = self.draws is not None and self.draws.mixture is draws.mixture
        self.draws = draws
        about = self.question.about(draws.engine or self._settings, draws)
        self.tree = with_about(self.tree if judged else self.question.tree(draws), **about)
        if not judged and draws.kind == "chains":
            with stage("whether the chains agree"):
                self.verdict = chains_verdict(self.tree)

    def is_enough(self, draws: Draws) -> bool:
        """Whether the chains agree and have enough effective draws, so that the sampler may stop."""
        self.take(draws)
        return self.verdict is not None and self.verdict.failure is None


def _most_draws(settings: Engine) -> float:
    """How many draws an engine gives at most; infinite where it does not say."""
    return getattr(settings, "n_draws", np.inf) * getattr(settings, "n_chains", 1)


def _settings(engine: str | Engine) -> Engine:
    """Settings from a name or settings."""
    if isinstance(engine, str) and engine in ENGINES:
        return engine_named(engine)
    if isinstance(engine, str | type) or not isinstance(engine, Engine):
        names = ", ".join(ENGINES)
        meant = engine.__name__ if isinstance(engine, type) else str(engine)
        hint = f"; did you mean {meant.lower()!r}?" if meant.lower() in ENGINES else ""
        raise ValueError(f"engine must be one of {names} or a settings value such as bgmm.NUTS(), not {engine!r}{hint}")
    return engine


def declared_target(model: Model, data: Data, rows: Rows, standardise: bool | None) -> Target:
    """The model traced on rows in its own units, and stated on standardised ones."""
    declared = isinstance(model, DeclaredMixture)
    standardise = declared if standardise is None else standardise
    some = data.counted[:1] if declared or data.in_memory is None else data.in_memory
    steps = data.steps / np.asarray(data.units.scale) if standardise else data.steps
    return make_target(
        model,
        data.units.standardise(some) if standardise else some,
        rows=rows,
        scaling=None if standardise else data.units,
        recording_step=steps if declared else None,
    )
