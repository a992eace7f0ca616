"""What comes with an extra, imported where it is used."""

from __future__ import annotations

import importlib
from typing import Any


class MissingExtra(ImportError):
    """A package that is not installed, and the extra it comes with."""


def require(module: str, extra: str) -> Any:
    """A module of an optional dependency.

    >>> require("json", "train").dumps(1)
    '1'

    Raises:
        MissingExtra: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingExtra(f"this needs {error.name}: pip install 'holdfast[{extra}]'") from None
