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

from .errors import Refused

Row = dict[str, Any]


def check_out(out: Path | None, suffixes: Sequence[str], files: Sequence[str]) -> None:
    """Refuse a file to write to before there is much work.

    Args:
        out: the file; None: the terminal.
        suffixes: the ends that its name may have.
        files: what is read, which it must not be.
    """
    if out is None:
        return
    if out.suffix not in suffixes:
        raise Refused(f"--out must end in {', '.join(suffixes[:-1])} or {suffixes[-1]}; got {out}")
    if not out.absolute().parent.is_dir():
        raise Refused(f"--out: there is no folder {out.parent}")
    if out.is_dir():
        raise Refused(f"--out: {out} is a folder")
    if out.resolve() in [Path(name).resolve() for name in files if "://" not in name]:
        raise Refused(f"--out: {out} is a file that is read")


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
    beside = out.with_name(f"{out.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)


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
