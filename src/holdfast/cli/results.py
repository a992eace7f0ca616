"""What an evaluation found, for a person or for a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import typer
from rich import box
from rich.measure import Measurement
from rich.table import Table

from holdfast.tasks import MEASURED_ON, TASKS, Result, shown, verdict

from .errors import Screen

ANY_WIDTH = 10_000  # of a table that may be as wide as it wants
_NAME = 20  # columns of a model's name at least; a longer one is wrapped


def print_result(result: Result, as_json: bool) -> None:
    """The measures of a model with those of the baselines; what must be said of them goes to standard error.

    A person gets the task's verdict and its main measures, a program all of them.
    """
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        task = TASKS[result.task]
        if standings := task.standings(result.measures, result.baselines):
            print_sentence(verdict(standings, MEASURED_ON[result.split]))
        models = {"this model": result.measures, **result.baselines}
        print_measures(f"{result.task}, {result.split}", models, task.headline)
    for note in result.notes:
        print_sentence(f"holdfast: {note}", stderr=True)


def print_sentence(sentence: str, stderr: bool = False) -> None:
    """A sentence, which is broken between words where a terminal is too narrow for it."""
    screen = Screen(highlight=False, markup=False, stderr=stderr)
    screen.print(sentence, soft_wrap=not screen.is_terminal)


def print_standings(about: Sequence[str], headings: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> None:
    """What a contest was about, and a row of figures for each contestant."""
    screen = Screen(highlight=False)
    for line in about:
        screen.print(line, soft_wrap=not screen.is_terminal)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    for who, figures in rows:
        table.add_row(who, *figures)
    screen.print(table)


def print_measures(title: str, models: Mapping[str, Mapping[str, float]], headline: Sequence[str] = ()) -> None:
    """A table with a row for each model, or a list of its numbers where the table would have to cut them.

    Args:
        title: above it.
        models: the measures of each; those of the first are the columns.
        headline: the measures that are shown; empty, or where the first has none of them: all.
    """
    screen = Screen(highlight=False)
    first, *_ = models.values()
    names = [name for name in headline if name in first] or [*first]
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("", overflow="fold", min_width=min(_NAME, max(map(len, models))))
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for who, measures in models.items():
        cells = [shown(measures.get(name)) for name in names]
        table.add_row(who, *cells, style="bold" if who == "this model" else None)
    if Measurement.get(screen, screen.options.update_width(ANY_WIDTH), table).minimum <= screen.width:
        screen.print(table)
    else:
        typer.echo(title)
        for who, measures in models.items():
            typer.echo(who)
            for name in names:
                typer.echo(f"  {name} {shown(measures.get(name))}")
    if left := len(first) - len(names):
        typer.echo(f"{left} more measure{'s' * (left > 1)} with --json")
