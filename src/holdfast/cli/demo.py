"""`holdfast demo`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from holdfast.lab.demo import Contest, Settings, contestants, run, verdict
from holdfast.lab.lesson import Lesson
from holdfast.lab.report import report
from holdfast.lab.writer import Writing, learn_to_write
from holdfast.training import Interrupted, write_atomically

from .curves import curves_table
from .errors import Refused, Screen, Stopped

WRITER = "writer"  # the bar of the character model


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where to write report.html; created if it is not there.")
    ] = Path("holdfast-demo"),
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, metavar="N", help="Of the data and the weights.")
    ] = 0,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Training steps for each model.")
    ] = Lesson.steps,
) -> None:
    """Train an LSTM against a plain RNN, and one to write text.

    The first two have as many units and see the same sequences of 100 numbers, two of them marked; the task is to give
    the sum of the marked two. The data are generated. The third reads the documentation that every Python carries,
    character by character. Each part takes about a minute.
    """
    path = out / "report.html"
    with _writing(path):
        _check_writable(path)
    try:
        contest, writing = _run(Settings(seed=seed, lesson=Lesson(steps=steps)))
    except (KeyboardInterrupt, Interrupted):
        raise Stopped("no report was written") from None
    _show(contest)
    _show_writing(writing)
    with _writing(path):
        write_atomically(path, report(contest, writing))
    typer.echo(f"The report is {path}")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say so if the system does not let us write."""
    try:
        yield
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror or error}") from None


def _check_writable(path: Path) -> None:
    """Raise OSError now if the report could not be written after a minute of training."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
    with tempfile.TemporaryFile(dir=path.parent):
        pass
    if path.exists():
        path.open("a").close()


def _run(settings: Settings) -> tuple[Contest, Writing]:
    """Train, with a bar for each model on standard error if that is a terminal."""
    console = Screen(stderr=True)
    columns = (
        TextColumn("{task.description:<6}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("error {task.fields[error]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {
            one.name: bars.add_task(one.name, total=settings.lesson.steps, start=False, error="-")
            for one in contestants(settings)
        }
        tasks[WRITER] = bars.add_task(WRITER, total=settings.lesson.steps, start=False, error="-")

        def progress(name: str, step: int, error: float) -> None:
            if step == 1:
                bars.start_task(tasks[name])
            bars.update(tasks[name], completed=step, error=f"{error:.4f}")

        contest = run(settings, progress)
        return contest, learn_to_write(settings.seed, settings.lesson.steps, partial(progress, WRITER))


def _show_writing(writing: Writing) -> None:
    """What the character model wrote, before and after, and what it is worth."""
    console = Screen(highlight=False, markup=False)
    for when, text in (("before training", writing.before), ("after it", writing.after)):
        console.print(f"\nThe character model {when}:\n", style="bold")
        console.print(text.strip(), soft_wrap=True)
    name, nats = min(((n, m["nats"]) for n, m in writing.baselines.items()), key=lambda pair: pair[1])
    console.print(
        f"\nIt takes {writing.curve[-1][1]:.3f} nats a character on text it has not seen; "
        f"a {name} model of the same text takes {nats:.3f}.",
        soft_wrap=not console.is_terminal,
    )


def _show(contest: Contest) -> None:
    console = Screen(highlight=False)
    console.print(curves_table(contest, ascii_only=console.options.ascii_only))
    console.print(verdict(contest), soft_wrap=not console.is_terminal)  # in a pipe it stays one line
