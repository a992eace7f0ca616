"""What an evaluation found, for a person or for a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import typer
from rich import box
from rich.measure import Measurement
from rich.table import Table

from holdfast.tasks import Result, shown

from .errors import Screen

ANY_WIDTH = 10_000  # of a table that may be as wide as it wants


def print_result(result: Result, as_json: bool) -> None:
    """The measures of a model with those of the baselines; what must be said of them goes to standard error."""
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        print_measures(f"{result.task}, {result.split}", {"this model": result.measures, **result.baselines})
    for note in result.notes:
        typer.echo(f"holdfast: {note}", err=True)


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


def print_measures(title: str, models: Mapping[str, Mapping[str, float]]) -> None:
    """A table with a row for each model, or a list of its numbers where the table would have to cut them."""
    screen = Screen(highlight=False)
    first, *_ = models.values()
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("")
    for name in first:
        table.add_column(name, justify="right")
    for who, measures in models.items():
        cells = [shown(measures.get(name)) for name in first]
        table.add_row(who, *cells, style="bold" if who == "this model" else None)
    if Measurement.get(screen, screen.options.update_width(ANY_WIDTH), table).maximum <= screen.width:
        screen.print(table)
        return
    typer.echo(title)
    for who, measures in models.items():
        typer.echo(who)
        for name in first:
            typer.echo(f"  {name} {shown(measures.get(name))}")
