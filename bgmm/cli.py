"""The command ``bgmm``. Slow imports are inside the commands, so that --help is fast.

``main`` turns every user error into one sentence on stderr and exit code 2. The table, the options and the output path are
checked before a fit starts.
"""

from __future__ import annotations

import contextlib
import csv
import io
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

from bgmm.core.options import advice
from bgmm.engines.catalogue import ENGINES

_HDF5 = b"\x89HDF\r\n\x1a\n"  # how a file begins that bgmm.save wrote
_MAX_DEVICES = 16  # CPU cores that JAX uses as separate devices
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
# Modules whose warnings are about the user's data. (Warnings attributed to bgmm.tree come from xarray.)
_WARNING_MODULES = r"(?!(arviz\w*|bgmm\.tree|h5netcdf|jax|matplotlib|numpyro|xarray)\b)"

Data = Annotated[Path, typer.Argument(metavar="DATA", help="table of numbers: CSV, npy or Parquet")]
Fitted = Annotated[Path, typer.Argument(metavar="FIT.nc", help="tree that 'bgmm fit' wrote")]
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
    Literal[*ENGINES] | None,  # type: ignore[valid-type]
    typer.Option(
        help="em: best fit; laplace, vi: fast approximate posterior; gibbs, nuts: exact draws from it [default: one of those]",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="random seed")]
Columns = Annotated[str | None, typer.Option(help="names of the columns to use: a,b,c [default: all numeric columns]")]
SameColumns = Annotated[
    str | None, typer.Option(help="names of the columns to use, in the order of the fit [default: those of the fit]")
]
DemoOutput = Annotated[Path, typer.Option("-o", "--output", help="tree to write; the plot goes next to it, with suffix .png")]
RowsOutput = Annotated[
    Path, typer.Option("-o", "--output", help="CSV to write: memberships, most probable cluster, log density")
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: with 0 on success, 2 after a user error, 130 after Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    shown: set[str] = set()

    def show_once(message, *_) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            _print_lines(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=_WARNING_MODULES)
        warnings.showwarning = show_once  # type: ignore[assignment]
        try:
            sys.exit(app(args=words or ["--help"], prog_name="bgmm", standalone_mode=False))
        except (typer.TyperException, ValueError, OSError) as error:
            _print_lines(f"bgmm: {_sentence(error)}")
            sys.exit(2)


@app.callback(invoke_without_command=True)
def _bgmm(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Bayesian Gaussian mixtures: the number of clusters, their parameters, the memberships of rows, and their uncertainty."""
    if version:
        typer.echo(f"bgmm {metadata.version('bgmm')}")
        raise typer.Exit


@app.command()
def demo(output: DemoOutput = Path("old_faithful.nc"), seed: Seed = 0) -> None:
    """Fit the Old Faithful eruptions, which ship with bgmm; print the summary, write the tree and a plot of the clusters."""
    _check_output(output)
    plot = output.with_suffix(".png")
    _check_output(plot, output)
    _prepare_jax()
    from bgmm.core.progress import shown, stage

    typer.echo("Old Faithful: duration of an eruption and waiting time to the next, in minutes (272 eruptions)")
    with shown(), stage("loading bgmm"):
        import matplotlib as mpl

        import bgmm
        from bgmm.tree.files import replacing

        mpl.use("agg")  # plots to files need no screen
        import matplotlib.pyplot as plt
    tree = bgmm.fit(bgmm.models.random_k(), bgmm.old_faithful(), seed=seed)
    with shown(), stage("matching the clusters of the draws, plot and summary"):
        tree = bgmm.relabel(tree)
        with replacing(plot) as unfinished:
            bgmm.plot_clusters(tree)
            plt.savefig(unfinished, dpi=120)
            bgmm.save(tree, output)
        text = bgmm.summary(tree)
    typer.echo(f"{text}\n\nthe tree is in {output}, the plot in {plot}")


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
        raise ValueError("--model finite needs the number of components, such as -k 3; leave --model out to infer it")
    if name == "random_k" and n_components is not None:
        raise ValueError("with --model random_k the number of components is unknown; leave -k out")
    _check_input(data)
    from bgmm.data.table import read_table

    table = read_table(data, _names(columns))
    if n_components is not None and n_components > (n := len(table.values)):
        raise ValueError(f"-k {n_components} asks for more components than '{data}' has rows, {n}; ask for fewer")
    output = output or Path(os.path.expanduser(data)).with_suffix(".nc")
    _check_output(output, data)
    _prepare_jax()
    from bgmm.core.progress import shown, stage

    _print_lines(*table.notes)
    with shown(), stage("loading bgmm"):
        import bgmm
    declared = getattr(bgmm.models, name)(*([] if n_components is None else [n_components]))
    tree = bgmm.fit(declared, table, engine=engine, seed=seed)
    with shown(), stage("matching the clusters of the draws, and summary"):
        tree = bgmm.relabel(tree)
        bgmm.save(tree, output)
        text = bgmm.summary(tree)
    typer.echo(f"{text}\n\nthe tree is in {output}")


@app.command()
def summary(fitted: Fitted) -> None:
    """Print the summary of a fitted tree."""
    fitted = _check_tree(fitted)
    _prepare_jax()
    import bgmm

    with _errors_name(fitted):
        typer.echo(bgmm.summary(bgmm.load(fitted)))


@app.command()
def predict(fitted: Fitted, data: Data, output: RowsOutput, columns: SameColumns = None) -> None:
    """Write for each row of a table its membership in each cluster, its most probable cluster, and its log density."""
    fitted = _check_tree(fitted)
    _check_input(data)
    _check_output(output, data, fitted)
    _prepare_jax()
    import pandas as pd

    import bgmm
    from bgmm.data.table import read_table, unnamed
    from bgmm.tree.files import replacing
    from bgmm.tree.read import features_of

    with _errors_name(fitted):
        tree = bgmm.load(fitted)
    features = features_of(tree)
    table = read_table(data, _names(columns) or (None if unnamed(features) else features), fitting=False)
    with _errors_name(data):
        r = bgmm.membership(tree, table).to_numpy()
    predictions = pd.DataFrame({f"cluster_{k}": r[:, k] for k in range(r.shape[1])})
    predictions = predictions.assign(cluster=r.argmax(1), log_density=bgmm.log_density(tree, table).to_numpy())
    with replacing(output) as unfinished:
        predictions.to_csv(unfinished, index=False)
    _print_lines(*table.notes)
    typer.echo(f"{len(predictions)} rows in {output}")


def _print_lines(*sentences: str) -> None:
    """Print each sentence on a line of stderr."""
    for sentence in sentences:
        typer.echo(" ".join(sentence.split()), err=True)


def _sentence(error: Exception) -> str:
    """The message of an error as one sentence."""
    if isinstance(error, typer.TyperException):  # an error in the arguments, which typer found
        message = error.format_message().rstrip(".?")
        for old, new in ((". Did", "; did"), (": Value error,", ":"), (": Input", ": it")):
            message = message.replace(old, new)
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "bgmm"
        if context and (option := getattr(error, "option_name", "")).startswith("--"):
            options = [one.name for one in context.command.params if one.param_type_name == "option"]
            if meant := advice(option.lstrip("-").replace("-", "_"), options):
                return f"no such option: {option}; {meant}"
        return f"{message[:1].lower()}{message[1:]}; see '{command} --help'"
    return str(error)


@contextlib.contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Add the name of the file to the message of an error that lacks it."""
    try:
        yield
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"'{path}': {error}") from error


def _names(columns: str | None) -> list[str] | None:
    """The names in a list, of which quotation marks enclose one that holds a comma."""
    if columns is None:
        return None
    listed = next(csv.reader(io.StringIO(columns, newline=""), skipinitialspace=True), [])
    return [name.strip() for name in listed or [""]]


def _check_input(path: Path, remedy: str = "give the name of a table") -> Path:
    """The file of this name, its ~ expanded; an error if there is none, before anything slow is imported."""
    file = Path(os.path.expanduser(path))  # unlike Path.expanduser, it leaves an unknown ~user unchanged
    if not file.exists() or file.is_dir():
        raise ValueError(f"'{path}' {'is a folder' if file.is_dir() else 'does not exist'}; {remedy}")
    return file


def _check_tree(path: Path) -> Path:
    """The file of this name; an error if there is none, or it does not begin as netCDF files do, before slow imports."""
    found = _check_input(path, "give a file that bgmm.save or 'bgmm fit' wrote")
    with found.open("rb") as file:
        if file.read(len(_HDF5)) != _HDF5:
            raise ValueError(f"'{path}' is not a netCDF file that bgmm wrote; give one that bgmm.save or 'bgmm fit' wrote")
    return found


def _check_output(output: Path, *inputs: Path) -> None:
    """Raise an error if the output cannot be written, or would replace an input or another output of the command."""
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
    """Configure JAX before it is imported: one device for each core."""
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, _MAX_DEVICES)))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns if its own cache folder cannot be written


if __name__ == "__main__":
    main()
