"""What holdfast keeps in the user's cache folder: machine code, and what applications have made of files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from holdfast.data.kept import size_of
from holdfast.engines.llvm.machine import cache_folder


class Cached(NamedTuple):
    """A part of the cache.

    Attributes:
        name: of the application, or what else it is for.
        folder: where it is.
        entries: how many there are.
        size: in bytes.
    """

    name: str
    folder: Path
    entries: int
    size: int


def cache(name: str) -> Path:
    """Where a task keeps what it makes of files, for later runs with the same ones."""
    return cache_folder().parent / name


def contents() -> list[Cached]:
    """All parts of the cache that are there, the largest first."""
    root = cache_folder().parent
    folders = [one for one in root.iterdir() if one.is_dir() and not one.is_symlink()] if root.is_dir() else []
    found = [Cached(one.name, one, sum(1 for _ in one.iterdir()), size_of(one)) for one in folders]
    return sorted(found, key=lambda one: (-one.size, one.name))


def clear() -> list[Cached]:
    """Remove all of it; what there was. Runs that go on make again what they need of it."""
    found = contents()
    for one in found:
        shutil.rmtree(one.folder)
    return found
