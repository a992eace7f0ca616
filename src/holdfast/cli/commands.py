"""The commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import holdfast

from . import cache, chat, classify, compose, demo, fit, forecast, lab, look, transcribe, translate, use
from .errors import refusing


class _Commands(TyperGroup):
    """Commands that end with one line where a person has made a mistake."""

    def invoke(self, ctx: Any) -> Any:
        """Run one."""
        with refusing():
            return super().invoke(ctx)


commands = typer.Typer(
    cls=_Commands,
    help="Long short-term memory for PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
commands.command()(demo.demo)
commands.add_typer(fit.app, name="fit")
commands.add_typer(cache.app, name="cache")
commands.command(help=lab.HELP, short_help="Let networks try to remember for long.")(lab.lab)
for _command in (
    use.evaluate,
    use.generate,
    forecast.forecast,
    forecast.backtest,
    forecast.detect,
    classify.classify,
    classify.regress,
    transcribe.transcribe,
    translate.translate,
    chat.chat,
    compose.compose,
    look.look,
    use.info,
):
    commands.command()(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"holdfast {holdfast.__version__}")
        raise typer.Exit


@commands.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Long short-term memory for PyTorch."""
