"""Rows that a command writes: to the terminal, or into a file."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from holdfast.data import files as files_of
from holdfast.training import CONFIG, Run, replaced

from .errors import Refused

Row = dict[str, Any]
STDIN = "-"


def check_out(
    out: Path | None, suffixes: Sequence[str], files: Sequence[str], run: Path | None = None, flag: str = "--out"
) -> None:
    """Refuse a file to write to before there is much work; every command that writes one asks here.

    Args:
        out: the file; None: the terminal.
        suffixes: the ends that its name may have; none: any.
        files: what is read, which it must not be: paths, globs, folders, URLs.
        run: the run that is used, none of whose files it may be, nor of the data that it was made of.
        flag: what names it.
    """
    if out is None:
        return
    if suffixes and out.suffix not in suffixes:
        ends = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}" if len(suffixes) > 1 else suffixes[0]
        raise Refused(f"{flag} must end in {ends}; got {out}")
    folder = out.absolute().parent
    if not folder.is_dir():
        raise Refused(f"{flag}: there is no folder {out.parent}")
    if out.is_dir():
        raise Refused(f"{flag}: {out} is a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(f"{flag}: the folder {out.parent} cannot be written to")
    if not out.exists():
        return
    local = [name for name in files if name != STDIN and "://" not in name]
    if any(_is_same(out, Path(name)) for name in files_of(local)) or any(_is_same(out, Path(name)) for name in local):
        raise Refused(f"{flag}: {out} is a file that is read")
    if run is not None and (run / CONFIG).is_file():
        used = Run.open(run)
        if used.has(out):
            raise Refused(f"{flag}: {out} is a file of the run {run}")
        recorded = (path for paths in used.config()["data"].values() if isinstance(paths, list) for path in paths)
        if any(isinstance(path, str) and _is_same(out, Path(path)) for path in recorded):
            raise Refused(f"{flag}: {out} is a file that the run {run} was made of")


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are of one file."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one is not there, or is no name of a file
        return False


@contextmanager
def writing(out: Path | None, names: Sequence[str], as_json: bool) -> Iterator[tuple[Callable[[Row], object], TextIO]]:
    """What writes a row, and where to: the terminal, or a file, which is put in its place when it is whole.

    The names of a table are written with its first row, or at the end where there is none: what fails before writes
    nothing.

    Args:
        out: the file, CSV or where it ends in `.jsonl` JSON lines; None: the terminal.
        names: of the columns.
        as_json: whether the terminal gets JSON lines.
    """
    if out is None:
        writer = _JsonLines(sys.stdout, names) if as_json else _Table(sys.stdout, names)
        yield writer.write, sys.stdout
        writer.end()
        return
    with replacing(out) as file:
        writer = _JsonLines(file, names) if out.suffix == ".jsonl" else _Table(file, names)
        yield writer.write, file
        writer.end()


@contextmanager
def replacing(out: Path) -> Iterator[TextIO]:
    """A file that is put in its place when it is whole."""
    with replaced(out) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        yield file


class _JsonLines:
    """Rows as JSON lines."""

    def __init__(self, file: TextIO, names: Sequence[str]) -> None:
        self._file, self._names = file, {*names}

    def write(self, row: Row) -> None:
        """A line."""
        self._file.write(json.dumps({name: value for name, value in row.items() if name in self._names}) + "\n")

    def end(self) -> None:
        """Nothing more."""


class _Table:
    """Rows as CSV."""

    def __init__(self, file: TextIO, names: Sequence[str]) -> None:
        self._rows = csv.DictWriter(file, names, restval="", extrasaction="ignore", lineterminator="\n")
        self._begun = False

    def write(self, row: Row) -> None:
        """A row, and before the first one the names."""
        self.end()
        self._rows.writerow(row)

    def end(self) -> None:
        """The names, if they have not been written."""
        if not self._begun:
            self._begun = True
            self._rows.writeheader()
