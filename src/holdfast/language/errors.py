"""The one error of the cell language. It shows the line of the user's own code that caused it."""

from __future__ import annotations

import difflib
import linecache
import os
import sys
from collections.abc import Iterable
from types import CodeType, FrameType

_LANGUAGE_FOLDER = os.path.dirname(os.path.abspath(__file__))


class CellError(ValueError):
    """A cell's definition breaks a rule of the language.

    Args:
        message: what is wrong and what is accepted instead.
        place: where it happened, as `place_in` or `place_of` tell it; by default the innermost line outside the
            language's own files.
    """

    def __init__(self, message: str, place: str | None = None) -> None:
        super().__init__(f"{message}\n{place if place is not None else _place_now()}".rstrip())


def place_of(code: CodeType, line: int) -> str:
    """A line of code as a traceback shows it."""
    source = linecache.getline(code.co_filename, line).strip()
    shown = f'  File "{code.co_filename}", line {line}, in {code.co_name}'
    return f"{shown}\n    {source}" if source else shown


def place_in(frame: FrameType) -> str:
    """The line a frame is at, or was at when it ended."""
    return place_of(frame.f_code, frame.f_lineno)


def _place_now() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and os.path.dirname(os.path.abspath(frame.f_code.co_filename)) == _LANGUAGE_FOLDER:
        frame = frame.f_back
    return place_in(frame) if frame is not None else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known name is near, otherwise nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
