"""`holdfast chat`: a conversation with a model of dialogue."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from holdfast.data.sources import decoded, numbered
from holdfast.tasks import opened
from holdfast.tasks.dialogue import ChatRun, Conversation, Manners

from .devices import Device
from .errors import Refused
from .reading import ENCODING

_HELP = """\
/reset              forget what was said
/history            show what was said, and from where on it still reads it
/temperature X      below 1 safer, above 1 wilder; 0: no chance
/help               this
/quit, or Ctrl-D    leave"""


def chat(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, metavar="X", help="Below 1 safer, above 1 wilder; 0: no chance.")
    ] = Manners.temperature,
    top_p: Annotated[
        float, typer.Option("--top-p", metavar="P", help="Among the likeliest that together have probability P.")
    ] = Manners.top_p,
    repetition_penalty: Annotated[
        float, typer.Option("--repetition-penalty", metavar="X", help="Above 1: against saying a word again.")
    ] = Manners.repetition_penalty,
    against_empty: Annotated[
        float,
        typer.Option("--against-empty", metavar="X", help="Against replies that fit whatever was said; 0: not at all."),
    ] = Manners.against_empty,
    longest: Annotated[
        int, typer.Option("--longest", min=1, metavar="N", help="The most tokens of a reply.")
    ] = Manners.longest,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32, metavar="N", help="Of the choice.")] = 0,
    encoding: Annotated[str, ENCODING] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each line of standard input.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Talk with a model of dialogue, in the terminal or from a pipe.

    It replies to each line that you type; /help says what else you can type. Such a model imitates the dialogues that
    it was trained on: it knows nothing, and does not mean what it says.
    """
    fitted = opened(run, device)
    if not isinstance(fitted, ChatRun):
        raise Refused(f"chat needs a run of the task chat; {run} is one of the task {fitted.task.name}")
    try:
        manners = Manners(temperature, top_p, repetition_penalty, against_empty, longest)
    except ValueError as error:
        raise Refused(str(error)) from None
    conversation = fitted.conversation(manners, seed)
    terminal = sys.stdin.isatty() and not as_json
    if terminal:
        with suppress(ImportError):  # Windows has none, and needs none
            import_module("readline")  # typed lines can be edited and come back
        typer.echo("It imitates the dialogues that it was trained on, and knows nothing. /help says what you can type.")
    for line in _typed(terminal):
        if line.startswith("/") and not as_json:
            if not _obeyed(line, conversation):
                return
        elif line.strip():
            if conversation.cut(line):
                typer.echo("holdfast: only the end of this is read, as much as was ever learned from at once", err=True)
            _reply(line, conversation, as_json, "it:  " if terminal else "")
        elif not terminal:  # a line for a line
            typer.echo(json.dumps({"said": line, "reply": ""}) if as_json else "")


def _typed(terminal: bool) -> Iterator[str]:
    """The lines that are typed, or come from a pipe."""
    if not terminal:
        for _, line in numbered(decoded("standard input", sys.stdin.buffer)):
            yield line.rstrip("\r\n")
        return
    while True:
        try:
            yield input("you: ")
        except EOFError:
            typer.echo()
            return


def _obeyed(line: str, conversation: Conversation) -> bool:
    """Do what a line with a stroke says; whether the conversation goes on."""
    word, _, rest = line[1:].strip().partition(" ")
    if word in ("quit", "exit"):
        return False
    if word == "reset":
        conversation.reset()
        typer.echo("It has forgotten what was said.")
    elif word == "history":
        begin = len(conversation.turns) + 1 - conversation.read  # what is typed next is read, too
        for k, turn in enumerate(conversation.turns):
            if k == begin > 0:
                typer.echo("(what follows it still reads)")
            typer.echo(f"{'it: ' if k % 2 else 'you:'} {turn}")
    elif word == "temperature":
        try:
            conversation.manners = replace(conversation.manners, temperature=float(rest))
        except ValueError:
            typer.echo(f"/temperature takes a number of at least 0, like 0.7; got {rest!r}")
    else:
        if word != "help":
            typer.echo(f"There is no /{word}.")
        typer.echo(_HELP)
    return True


def _reply(line: str, conversation: Conversation, as_json: bool, before: str) -> None:
    """Print a reply as it comes."""
    if as_json:
        typer.echo(json.dumps({"said": line, "reply": "".join(conversation.say(line)).strip()}))
        return
    sys.stdout.write(before)
    for piece in conversation.say(line):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
