"""`holdfast demo`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from holdfast.lab import Recipe
from holdfast.lab.demo import Contest, Settings, contestants, run, verdict
from holdfast.lab.report import report

from .curves import curves_table

REFUSED, STOPPED = 2, 130


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where to write report.html; created if it is not there.")
    ] = Path("holdfast-demo"),
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, metavar="N", help="Of the data and the weights.")
    ] = 0,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Training steps for each model.")
    ] = Recipe.steps,
) -> None:
    """Train an LSTM against a plain RNN for about a minute; write a report.

    The two have as many units and see the same sequences of 100 numbers, two of them marked; the task is to give the
    sum of the marked two. The data are generated.
    """
    path = out / "report.html"
    with _refusing(path):
        _check_writable(path)
    try:
        contest = _run(Settings(seed=seed, recipe=Recipe(steps=steps)))
    except KeyboardInterrupt:
        typer.echo("holdfast: stopped; no report was written", err=True)
        raise typer.Exit(STOPPED) from None
    _show(contest)
    with _refusing(path):
        path.write_text(report(contest), encoding="utf-8")
    typer.echo(f"The report is {path}")


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """End with one line if the system does not let us write."""
    try:
        yield
    except OSError as error:
        typer.echo(f"holdfast: cannot write {path}: {error.strerror or error}", err=True)
        raise typer.Exit(REFUSED) from None


def _check_writable(path: Path) -> None:
    """Raise OSError now if the report could not be written after a minute of training."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
    with tempfile.TemporaryFile(dir=path.parent):
        pass
    if path.exists():
        path.open("a").close()


def _run(settings: Settings) -> Contest:
    """Train, with a bar for each model on standard error if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<4}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("error {task.fields[error]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {
            one.name: bars.add_task(one.name, total=settings.recipe.steps, start=False, error="-")
            for one in contestants(settings)
        }

        def progress(name: str, step: int, error: float) -> None:
            if step == 1:
                bars.start_task(tasks[name])
            bars.update(tasks[name], completed=step, error=f"{error:.4f}")

        return run(settings, progress)


def _show(contest: Contest) -> None:
    console = Console(highlight=False)
    console.print(curves_table(contest, ascii_only=console.options.ascii_only))
    console.print(verdict(contest), soft_wrap=not console.is_terminal)  # in a pipe it stays one line
