"""The part of the report that is of sequences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..task import Compared


def sections(task: Any, fitted: Any, data: Any, compared: Compared) -> Iterable[str]:
    """All sections."""
    return []
