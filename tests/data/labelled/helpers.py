"""What the tests of labelled sequences share."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from holdfast.data import DataError, Example, Reading, examples


def written(path: Path, content: bytes | str) -> str:
    """The path of a file that is written, packed if its name says so."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def read(*paths: str | Path, **reading: Any) -> list[Example]:
    return [*examples([str(path) for path in paths], Reading(**reading))]


def pairs(found: Iterable[Example]) -> list[tuple[Any, Any]]:
    """Contents and labels, of which none may have a fault."""
    kept = [*found]
    assert [one.fault for one in kept] == [""] * len(kept)
    return [(one.content if isinstance(one.content, str) else one.content.tolist(), one.label) for one in kept]


def faults(found: Iterable[Example]) -> list[str]:
    """Why examples cannot be used; such a one has no content."""
    kept = [*found]
    assert all((one.content is None) == bool(one.fault) for one in kept)
    return [one.fault for one in kept]


def message(*paths: str | Path, **reading: Any) -> str:
    """What is said when files are read that cannot be."""
    with pytest.raises(DataError) as error:
        read(*paths, **reading)
    assert "\n" not in str(error.value)
    return str(error.value)
