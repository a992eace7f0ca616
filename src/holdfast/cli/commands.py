"""The commands. Each is imported when it is run: the list of them, and the version, need nothing but this file."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

import holdfast

from . import STOPPED

# In the order of the help: the module of a command, and what the help says of it.
COMMANDS = {
    "demo": ("demo", "Train an LSTM against a plain RNN, and one to write text."),
    "fit": ("fit", "Train a model on data."),
    "lab": ("lab", "Let networks try to remember for long."),
    "evaluate": ("use", "Measure a trained model beside simple baselines."),
    "generate": ("use", "Write text with a trained language model, as it comes."),
    "forecast": ("forecast", "Forecast what comes after the last known values."),
    "backtest": ("forecast", "Forecast the past, and say how good that was."),
    "detect": ("forecast", "Find points that a forecaster would not have expected."),
    "classify": ("classify", "Say of which class sequences are, and how sure that is."),
    "regress": ("classify", "Say a number of each sequence."),
    "transcribe": ("transcribe", "Write down what is said."),
    "translate": ("translate", "Translate text, a line for a line."),
    "chat": ("chat", "Talk with a model of dialogue, in the terminal or from a pipe."),
    "compose": ("compose", "Compose music: a MIDI file and a piano roll."),
    "look": ("look", "Watch a trained model at work, on a page."),
    "cache": ("cache", "Show or empty the cache."),
    "info": ("use", "Show what a run is: its data, options and measures."),
}


class _Commands(TyperGroup):
    """Commands that are imported one by one, and end with one line where a person has made a mistake."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Names for the suggestions beside a mistyped one, and lines for the help; `get_command` brings the rest.
        self.commands = {name: TyperGroup(name=name, short_help=line) for name, (_, line) in COMMANDS.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, with all its options."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        if hasattr(module, "app"):
            return get_command(module.app)
        one = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        one.command(cmd_name, help=getattr(module, "HELP", None))(getattr(module, cmd_name))
        return get_command(one)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Their list for the help, for which none of them is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        """Run one."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if ctx.invoked_subcommand is not None:
                self._end()
            typer.echo("holdfast: stopped", err=True)  # while a command was being imported
            raise typer.Exit(STOPPED) from None
        except Exception:
            if ctx.invoked_subcommand is not None:  # else there is no such command
                self._end()
            raise

    @staticmethod
    def _end() -> None:
        """End as the error that is being handled asks for, if it is a person's mistake."""
        from .errors import refusing  # here, because it knows the errors of all that commands use

        with refusing():
            raise


commands = typer.Typer(
    cls=_Commands,
    help="Long short-term memory for PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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
