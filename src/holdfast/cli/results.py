"""Results as a table."""

from __future__ import annotations

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from holdfast.tasks import Result, shown


def print_result(result: Result) -> None:
    """The measures of a model above those of the baselines."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{result.task}, {result.split}", title_justify="left", pad_edge=False)
    table.add_column("")
    for name in result.measures:
        table.add_column(name, justify="right")
    for who, measures in {"this model": result.measures, **result.baselines}.items():
        cells = [shown(measures.get(name)) for name in result.measures]
        table.add_row(who, *cells, style="bold" if who == "this model" else None)
    Console(highlight=False).print(table)
    for note in result.notes:
        typer.echo(note, err=True)
