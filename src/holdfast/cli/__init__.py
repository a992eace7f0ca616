"""The command `holdfast`: the entry point, which says at most one line however it ends."""

from __future__ import annotations

import io
import os
import signal
import sys

STOPPED = 130  # Ctrl-C
UNREAD = 141  # whoever read the output has gone: what a shell gives for one that SIGPIPE ended


def app() -> None:
    """Run the command that the arguments name, and end the process."""
    try:
        _run()
    except KeyboardInterrupt:
        print("holdfast: stopped", file=sys.stderr)
        sys.exit(STOPPED)
    finally:
        _flush()


def _run() -> None:
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal may not know every character of a text
        from .commands import commands  # here, where Ctrl-C ends a long import quietly

        commands(prog_name="holdfast")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to stop but the interpreter's own end


def _flush() -> None:
    """Write out what is left, as the interpreter would, but without its words where nobody reads it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            sys.exit(UNREAD)
