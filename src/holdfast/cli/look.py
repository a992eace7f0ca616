"""`holdfast look`: the microscope's page on a trained run."""

from __future__ import annotations

import tempfile
import threading
import webbrowser
from pathlib import Path
from typing import Annotated, Optional

import typer

from holdfast.extras import require
from holdfast.microscope import MicroscopeError
from holdfast.serving import MOST_STEPS, View, html_file, listen, serve
from holdfast.tasks import opened
from holdfast.training import write_atomically

from .devices import Device
from .errors import Refused
from .reading import ENCODING, TRUST_PATHS
from .rows import check_out


def look(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    text: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--text", metavar="TEXT", help="What the model reads."),
    ] = None,
    data: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--data", metavar="FILE", help="Files it reads the beginning of; default: its validation data."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, max=MOST_STEPS, metavar="N", help="At most so many.")] = 1000,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--html", metavar="FILE", help="Write the page into one file that needs no server, and end."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0: any that is free.")] = 0,
    encoding: Annotated[str, ENCODING] = "",
    trust_paths: Annotated[bool, TRUST_PATHS] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
    device: Device = "cpu",
) -> None:
    """Watch a trained model at work, on a page.

    It shows every unit, gate and state on the text, the cell's equations with the numbers of a step, places where the
    same units are on, and how far back the memory reaches. It is served to this machine alone, until Ctrl-C.
    """
    _check(text, data, html, port, run)
    fitted = opened(run, device, trust_paths)
    try:
        view = View(fitted.subject(text or "", data or (), steps))
        page = "" if html is None else html_file(view)
    except MicroscopeError as error:
        raise Refused(str(error)) from None
    if html is not None:
        write_atomically(html, page)
        typer.echo(f"{html} holds the page, {len(page.encode()) / 1e6:.1f} MB; open it in a browser")
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-look-") as folder:

        def started(address: str) -> None:
            typer.echo(f"The page is {address}\nCtrl-C ends it.")
            if browser:
                _open(address, Path(folder))

        try:
            listening = listen(port)
        except OSError as error:
            raise Refused(f"port {port} cannot be listened at: {error.strerror}") from None
        serve(view, listening, started)


def _check(text: str | None, data: list[str] | None, html: Path | None, port: int, run: Path) -> None:
    if text is not None and data:
        raise Refused("--text and --data exclude each other")
    if text == "":
        raise Refused("--text is empty")
    if html is None:
        for module in ("fastapi", "uvicorn"):
            require(module, "serve")
        return
    if port:
        raise Refused("--port and --html exclude each other: a file needs no server")
    check_out(html, (), data or (), run, "--html")


def _open(address: str, folder: Path) -> None:
    """Open the page by a file that leads to it: other users of the machine see the arguments of a browser's command."""
    way = folder / "look.html"
    way.touch(mode=0o600)
    way.write_text(f'<meta http-equiv="refresh" content="0; url={address}">\n', encoding="utf-8")
    # A browser in the terminal would keep the server from starting.
    threading.Thread(target=webbrowser.open, args=[way.as_uri()], daemon=True).start()
