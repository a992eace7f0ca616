"""Where a command's model is to be."""

from __future__ import annotations

from typing import Annotated

import typer

_HELP = "Where the model is: cpu, cuda, cuda:1, …; auto: a GPU if there is one."
Device = Annotated[str, typer.Option("--device", metavar="NAME", help=_HELP)]
