"""The command ``bgmm``. Heavy imports wait inside the commands, so that --help answers at once."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Data = Annotated[Path, typer.Argument(help="table of numbers: CSV, npy or Parquet", show_default=False)]
Fitted = Annotated[Path, typer.Argument(metavar="FIT.nc", help="what 'bgmm fit' wrote", show_default=False)]
Columns = Annotated[
    str | None, typer.Option(help="columns to use, by name: a,b,c [default: all numeric ones]", show_default=False)
]
Seed = Annotated[int, typer.Option(help="of all random numbers")]


@app.callback()
def _main() -> None:
    """Bayesian Gaussian mixtures: how many clusters, what each looks like, which rows belong where, and how sure."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="tree to write; the picture stands beside it")] = Path(
        "old_faithful.nc"
    ),
    seed: Seed = 0,
) -> None:
    """Fit two clusters to the Old Faithful data that come with bgmm, and show all that was learnt."""
    with _plain_mistakes():
        import bgmm
        from bgmm.show.summary import summary_text
        from bgmm.tree import replacing

        typer.echo("Old Faithful: duration of an eruption and waiting time to the next, in minutes (272 eruptions)")
        tree = bgmm.relabel(bgmm.fit(bgmm.models.finite(n_components=2), bgmm.old_faithful(), engine="nuts", seed=seed))
        bgmm.save(tree, output)
        picture = output.with_suffix(".png")
        with replacing(picture) as unfinished:
            bgmm.plot_clusters(tree).savefig(unfinished, dpi=150)
        typer.echo(summary_text(tree))
        typer.echo(f"\nthe tree is in {output}, the picture in {picture}")


@app.command()
def fit(
    data: Data,
    n_components: Annotated[int, typer.Option("-k", "--n-components", help="number of components", show_default=False)],
    model: Annotated[str, typer.Option(help="name of a model in bgmm.models")] = "finite",
    engine: Annotated[str, typer.Option(help="em or nuts")] = "nuts",
    columns: Columns = None,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="tree to write [default: DATA with the ending .nc]", show_default=False),
    ] = None,
) -> None:
    """Fit a mixture to a table, print the summary, and write the tree."""
    with _plain_mistakes():
        from bgmm.data.table import read_table

        table = read_table(data, _names(columns))
        for note in table.notes:
            typer.echo(note, err=True)
        import bgmm
        from bgmm.show.summary import summary_text

        tree = bgmm.fit(_model(model)(n_components), table, engine=engine, seed=seed)
        tree = bgmm.relabel(tree)
        output = output or data.with_suffix(".nc")
        bgmm.save(tree, output)
        typer.echo(summary_text(tree))
        typer.echo(f"\nthe tree is in {output}")


@app.command()
def summary(fitted: Fitted) -> None:
    """Print what a fitted tree says."""
    with _plain_mistakes():
        import bgmm
        from bgmm.show.summary import summary_text

        typer.echo(summary_text(bgmm.load(fitted)))


@app.command()
def predict(
    fitted: Fitted,
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="CSV to write: membership of each cluster, cluster, log density", show_default=False
        ),
    ],
    columns: Columns = None,
) -> None:
    """Write for each row of a table its membership in each cluster, its likeliest cluster, and its log density."""
    with _plain_mistakes():
        import pandas as pd

        import bgmm
        from bgmm.data.table import read_table
        from bgmm.tree import replacing

        tree = bgmm.load(fitted)
        table = read_table(data, _names(columns), fitting=False)
        r = bgmm.membership(tree, table).to_numpy()
        answer = pd.DataFrame({f"cluster_{k}": r[:, k] for k in range(r.shape[1])})
        answer["cluster"] = r.argmax(1)
        answer["log_density"] = bgmm.log_density(tree, table).to_numpy()
        with replacing(output) as unfinished:
            answer.to_csv(unfinished, index=False)
        typer.echo(f"{len(answer)} rows in {output}")


def main() -> None:
    """Run the command."""
    app()


def _names(columns: str | None) -> list[str] | None:
    return None if columns is None else [name.strip() for name in columns.split(",")]


def _model(name: str):
    from bgmm import models

    if name != "finite":
        raise ValueError(f"no model {name!r}; there is finite")
    return models.finite


@contextmanager
def _plain_mistakes() -> Iterator[None]:
    """One sentence and exit code 2 for a user's mistake; warnings as sentences; compiled programs kept between runs."""
    import jax

    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bgmm"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
        try:
            yield
        except ValueError as mistake:
            typer.echo(f"bgmm: {mistake}", err=True)
            sys.exit(2)
