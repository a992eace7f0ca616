"""What a section of docs/clients.md defines, for the tests to use."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from tests.clients.test_pages import SECTIONS


def names_of(title: str) -> dict[str, Any]:
    """The names that a section's code leaves, with what it prints kept away."""
    names: dict[str, Any] = {"__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(SECTIONS[title], title, "exec"), names)
    return names
