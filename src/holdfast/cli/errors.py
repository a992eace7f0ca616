"""What a person has done wrong, in one line; the exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from holdfast.data import DataError
from holdfast.extras import MissingExtra
from holdfast.training import DamagedFile, Diverged, Interrupted, OptionError, RunError

REFUSED = 2  # an argument, a file or a folder is not as it must be
DIVERGED = 3  # the training was given up
STOPPED = 130  # Ctrl-C


@contextmanager
def refusing() -> Iterator[None]:
    """End with one line and an exit code where the cause is not a defect of the program."""
    try:
        yield
    except Interrupted:
        typer.echo("holdfast: stopped, and saved; holdfast fit --resume goes on with it", err=True)
        raise typer.Exit(STOPPED) from None
    except KeyboardInterrupt:
        typer.echo("holdfast: stopped", err=True)
        raise typer.Exit(STOPPED) from None
    except Diverged as error:
        typer.echo(f"holdfast: {error}", err=True)
        raise typer.Exit(DIVERGED) from None
    except (OptionError, RunError, DamagedFile, DataError, MissingExtra) as error:
        typer.echo(f"holdfast: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        typer.echo(f"holdfast: {name}{error.strerror or error}", err=True)
        raise typer.Exit(REFUSED) from None
