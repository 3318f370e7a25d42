"""The command ``bgmm``. Heavy imports wait inside the commands, so that --help answers at once.

``main`` turns every mistake of a user into one sentence on stderr and exit code 2. What can be checked without a fit is
checked before it: the table, the options, and whether the output can be written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Literal

import typer

_MOST_DEVICES = 16  # cores that share the rows
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
# Modules whose warnings are about the user's data. (What bgmm.tree warns of is xarray's, which names its caller.)
_OURS = r"(?!(arviz\w*|bgmm\.tree|h5netcdf|jax|matplotlib|numpyro|xarray)\b)"

Data = Annotated[Path, typer.Argument(metavar="DATA", help="table of numbers: CSV, npy or Parquet")]
Fitted = Annotated[Path, typer.Argument(metavar="FIT.nc", help="what 'bgmm fit' wrote")]
Count = Annotated[
    int | None,
    typer.Option(
        "-k", "--n-components", min=1, metavar="K", help="number of components [default: unknown]", show_default=False
    ),
]
Model = Annotated[
    Literal["dirichlet_process", "finite", "random_k", "sparse"] | None,
    typer.Option(help="name of a model in bgmm.models [default: finite with -k, else random_k]", show_default=False),
]
Engine = Annotated[
    Literal["em", "gibbs", "nuts"] | None,
    typer.Option(
        help="em: the single best fit; gibbs, nuts: draws that say how sure it is [default: gibbs]",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="of all random numbers")]
Columns = Annotated[str | None, typer.Option(help="columns to use, by name: a,b,c [default: all numeric ones]")]
SameColumns = Annotated[str | None, typer.Option(help="columns to use, in the order of the fit [default: those of the fit]")]
DemoOutput = Annotated[Path, typer.Option("-o", "--output", help="tree to write; the picture stands beside it")]
RowsOutput = Annotated[Path, typer.Option("-o", "--output", help="CSV to write: memberships, likeliest cluster, log density")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: with 0, with 2 after one sentence on a user's mistake, with 130 after Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=_OURS)
        warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
        try:
            sys.exit(app(args=given or ["--help"], prog_name="bgmm", standalone_mode=False))
        except (typer.TyperException, ValueError, OSError) as mistake:
            _say(f"bgmm: {_sentence(mistake)}")
            sys.exit(2)


@app.callback(invoke_without_command=True)
def _bgmm(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Bayesian Gaussian mixtures: how many clusters, what each looks like, which rows belong where, and how sure."""
    if version:
        typer.echo(f"bgmm {metadata.version('bgmm')}")
        raise typer.Exit


@app.command()
def demo(output: DemoOutput = Path("old_faithful.nc"), seed: Seed = 0) -> None:
    """Ask how many kinds of eruption the Old Faithful data show, which come with bgmm, and show all that was learnt."""
    _check_output(output)
    picture = output.with_suffix(".png")
    _check_output(picture, output)
    _prepare_jax()
    import matplotlib as mpl

    import bgmm
    from bgmm.show.summary import summary_text
    from bgmm.tree import replacing

    mpl.use("agg")  # draws to files whatever the screen
    import matplotlib.pyplot as plt

    typer.echo("Old Faithful: duration of an eruption and waiting time to the next, in minutes (272 eruptions)")
    tree = bgmm.relabel(bgmm.fit(bgmm.models.random_k(), bgmm.old_faithful(), seed=seed))
    with replacing(picture) as unfinished:
        bgmm.plot_clusters(tree)
        plt.savefig(unfinished, dpi=120)
        bgmm.save(tree, output)
    typer.echo(f"{summary_text(tree)}\n\nthe tree is in {output}, the picture in {picture}")


@app.command()
def fit(
    data: Data,
    n_components: Count = None,
    model: Model = None,
    engine: Engine = None,
    columns: Columns = None,
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="tree to write [default: DATA, ending in .nc]")] = None,
) -> None:
    """Fit a mixture to a table, print the summary, and write the tree."""
    name = model or ("random_k" if n_components is None else "finite")
    if name == "finite" and n_components is None:
        raise ValueError("say how many components to fit: -k 3; or leave --model out, to learn it")
    if name == "random_k" and n_components is not None:
        raise ValueError("with --model random_k the number of components is unknown; leave -k out")
    from bgmm.data.table import read_table

    table = read_table(data, _names(columns))
    if n_components is not None and n_components > (n := len(table.values)):
        raise ValueError(f"-k {n_components} asks for more components than '{data}' has rows, {n}; ask for fewer")
    output = output or Path(os.path.expanduser(data)).with_suffix(".nc")
    _check_output(output, data)
    _prepare_jax()
    import bgmm
    from bgmm.show.summary import summary_text

    _say(*table.notes)
    declared = getattr(bgmm.models, name)(*([] if n_components is None else [n_components]))
    tree = bgmm.relabel(bgmm.fit(declared, table, engine=engine, seed=seed))
    bgmm.save(tree, output)
    typer.echo(f"{summary_text(tree)}\n\nthe tree is in {output}")


@app.command()
def summary(fitted: Fitted) -> None:
    """Print what a fitted tree says."""
    _prepare_jax()
    import bgmm
    from bgmm.show.summary import summary_text

    with _naming(fitted):
        typer.echo(summary_text(bgmm.load(fitted)))


@app.command()
def predict(fitted: Fitted, data: Data, output: RowsOutput, columns: SameColumns = None) -> None:
    """Write for each row of a table its membership in each cluster, its likeliest cluster, and its log density."""
    _check_output(output, data, fitted)
    _prepare_jax()
    import pandas as pd

    import bgmm
    from bgmm.data.table import read_table, unnamed
    from bgmm.tree import features_of, replacing

    with _naming(fitted):
        tree = bgmm.load(fitted)
    features = features_of(tree)
    table = read_table(data, _names(columns) or (None if unnamed(features) else features), fitting=False)
    with _naming(data):
        r = bgmm.membership(tree, table).to_numpy()
    answer = pd.DataFrame({f"cluster_{k}": r[:, k] for k in range(r.shape[1])})
    answer = answer.assign(cluster=r.argmax(1), log_density=bgmm.log_density(tree, table).to_numpy())
    with replacing(output) as unfinished:
        answer.to_csv(unfinished, index=False)
    _say(*table.notes)
    typer.echo(f"{len(answer)} rows in {output}")


def _say(*sentences: str) -> None:
    """Print on stderr, each on one line."""
    for sentence in sentences:
        typer.echo(" ".join(sentence.split()), err=True)


def _sentence(mistake: Exception) -> str:
    """What is wrong, in one sentence."""
    if isinstance(mistake, typer.TyperException):  # typer's own, of how the command is called
        said = mistake.format_message().rstrip(".?")
        for theirs, ours in ((". Did", "; did"), (": Value error,", ":"), (": Input", ": it")):
            said = said.replace(theirs, ours)
        context = getattr(mistake, "ctx", None)
        return f"{said[:1].lower()}{said[1:]}; see '{context.command_path if context else 'bgmm'} --help'"
    return str(mistake)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let the sentence of a mistake name the file that it is about."""
    try:
        yield
    except ValueError as mistake:
        raise mistake if str(path) in str(mistake) else ValueError(f"'{path}': {mistake}") from mistake


def _names(columns: str | None) -> list[str] | None:
    return None if columns is None else [name.strip() for name in columns.split(",")]


def _check_output(output: Path, *inputs: Path) -> None:
    """Refuse a file that could not be written in the end, or that would take the place of another one of this command."""
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise ValueError(f"'{output}' is a folder, a link or a device; give the name of a file with -o")
    for other in inputs:
        if output == other or (output.exists() and other.exists() and output.samefile(other)):
            raise ValueError(f"writing '{output}' would replace '{other}'; give another name with -o")
    try:
        TemporaryFile(dir=output.parent).close()
    except OSError as error:
        raise ValueError(f"cannot write '{output}': {error.strerror} ('{output.parent}'); choose another with -o") from error


def _prepare_jax() -> None:
    """Tell JAX, before it is imported, to use every core, and to keep what it compiles in the user's cache folder if it can."""
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, _MOST_DEVICES)))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it has a folder there too, and would speak of it
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bgmm"
        cache.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=cache).close()
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
