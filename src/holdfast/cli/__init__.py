"""The command `holdfast`."""

from __future__ import annotations

from typing import Annotated

import typer

import holdfast

from . import demo, fit, use

app = typer.Typer(
    help="Long short-term memory for PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.add_typer(fit.app, name="fit")
for _command in (use.evaluate, use.generate, use.info):
    app.command()(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"holdfast {holdfast.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Long short-term memory for PyTorch."""
