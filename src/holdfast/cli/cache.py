"""`holdfast cache`: what was made of files and kept, and how to be rid of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from holdfast.data.kept import MOST_BYTES
from holdfast.tasks.caching import Cached, clear, contents

app = typer.Typer(
    help="Show or empty the cache.", invoke_without_command=True, rich_markup_mode=None, add_completion=False
)
_JSON = typer.Option("--json", help="Print one JSON object.")


@app.callback()
def show(context: typer.Context, as_json: Annotated[bool, _JSON] = False) -> None:
    """Show what is kept for later runs: data as each application reads it, and machine code.

    Of each application 10 GB at most are kept; what was not used for longest goes first.
    """
    if context.invoked_subcommand is None:
        _print(contents(), as_json)


@app.command(name="clear")
def empty(as_json: Annotated[bool, _JSON] = False) -> None:
    """Remove all of it. Later runs make again what they need."""
    found = clear()
    if as_json:
        _print(found, as_json)
    else:
        typer.echo(f"{_size(sum(one.size for one in found))} were removed")


def _print(found: Sequence[Cached], as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": one.name, "folder": str(one.folder), "entries": one.entries, "bytes": one.size} for one in found
        ]
        typer.echo(json.dumps({"cache": rows, "most_bytes": MOST_BYTES}))
        return
    for one in found:
        typer.echo(f"{_size(one.size):>10}  {one.entries:>5,}  {one.folder}")
    total = sum(one.size for one in found)
    typer.echo(f"{_size(total):>10}  in all; holdfast cache clear removes it" if found else "The cache is empty")


def _size(count: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
