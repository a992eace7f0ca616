"""How a command ends that does not come to its end: one line, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

from holdfast.data import DataError
from holdfast.extras import MissingExtra
from holdfast.training import DamagedFile, Diverged, OptionError, RunError

from . import STOPPED, UNREAD

REFUSED = 2  # an argument, a file or a folder is not as it must be
DIVERGED = 3  # the training was given up


class Refused(Exception):
    """What a command does not do; the message says why."""


class Stopped(Exception):
    """Ctrl-C; the message says what has become of the work."""


class Screen(Console):
    """A console that leaves it to `refusing` what happens when nobody reads its output any more."""

    def on_broken_pipe(self) -> None:
        """Called while the BrokenPipeError is handled."""
        raise


@contextmanager
def refusing() -> Iterator[None]:
    """End with one line and an exit code where the cause is not a defect of the program."""
    try:
        yield
    except Stopped as error:
        _end(f"stopped; {error}", STOPPED)
    except KeyboardInterrupt:
        _end("stopped", STOPPED)
    except Diverged as error:
        _end(str(error), DIVERGED)
    except (Refused, OptionError, RunError, DamagedFile, DataError, MissingExtra) as error:
        _end(str(error), REFUSED)
    except BrokenPipeError:
        raise typer.Exit(UNREAD) from None
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        _end(f"{name}{error.strerror or error}", REFUSED)


def _end(message: str, code: int) -> NoReturn:
    typer.echo(f"holdfast: {message}", err=True)
    raise typer.Exit(code) from None
