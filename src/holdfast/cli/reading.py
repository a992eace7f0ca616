"""Options of the commands that read: what text files are in, and whether a run's own paths may be opened."""

from __future__ import annotations

import typer

from holdfast.data import UnknownCharset, reading_as

from .errors import Refused


def _read_as(context: typer.Context, name: str) -> str:
    """Read text files as of an encoding until the command ends."""
    try:
        context.with_resource(reading_as(name))
    except UnknownCharset as error:
        raise Refused(f"--encoding: {error}") from None
    return name


ENCODING = typer.Option(
    "--encoding",
    metavar="NAME",
    callback=_read_as,
    help="Of text files that are not UTF-8: cp1252, latin-1, utf-16, shift_jis, ….",
)
TRUST_PATHS = typer.Option(
    "--trust-paths",
    help="Open the files and URLs that the run names as its data although it was not made here, or has been moved.",
)
