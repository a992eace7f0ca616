"""`holdfast look`: the microscope's page on a trained run."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated, Optional

import typer

from holdfast.extras import require
from holdfast.microscope import MicroscopeError
from holdfast.tasks import load
from holdfast.training import write_atomically

from .errors import Refused


def look(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="What the model reads.")] = "",
    data: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--data", metavar="FILE", help="Files it reads the beginning of; default: its validation data."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, max=20_000, metavar="N", help="At most so many.")] = 1000,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--html", metavar="FILE", help="Write the page into one file that needs no server, and end."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
) -> None:
    """Look inside a trained model while it reads: gates, states, equations with their numbers, similar places.

    The page is served to this machine alone, until Ctrl-C.
    """
    if text and data:
        raise Refused("--text and --data exclude each other")
    if html is None:
        for module in ("fastapi", "uvicorn"):
            require(module, "serve")
    if html is not None and html.is_dir():
        raise Refused(f"{html} is a folder; --html names the file to write")
    from holdfast.serving import View, html_file
    from holdfast.serving.server import serve

    fitted = load(run)
    try:
        view = View(fitted.subject(text, data or (), steps))
    except MicroscopeError as error:
        raise Refused(str(error)) from None
    if html is not None:
        page = html_file(view)
        write_atomically(html, page)
        typer.echo(f"{html} holds the page, {len(page.encode()) / 1e6:.1f} MB; open it in a browser")
        return

    def opened(address: str) -> None:
        typer.echo(f"The page is {address}\nCtrl-C ends it.")
        if browser:
            webbrowser.open(address)

    try:
        serve(view, port, opened)
    except OSError as error:
        raise Refused(f"port {port} cannot be listened at: {error.strerror}") from None
