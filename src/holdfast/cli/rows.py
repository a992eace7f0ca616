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

    Args:
        out: the file, CSV or where it ends in `.jsonl` JSON lines; None: the terminal.
        names: of the columns.
        as_json: whether the terminal gets JSON lines.
    """
    if out is None:
        yield _writer(sys.stdout, as_json, names), sys.stdout
        return
    with replacing(out) as file:
        yield _writer(file, out.suffix == ".jsonl", names), file


@contextmanager
def replacing(out: Path) -> Iterator[TextIO]:
    """A file that is put in its place when it is whole."""
    with replaced(out) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        yield file


def _writer(file: TextIO, as_json: bool, names: Sequence[str]) -> Callable[[Row], object]:
    if as_json:
        known = {*names}
        return lambda row: file.write(json.dumps({n: value for n, value in row.items() if n in known}) + "\n")
    table = csv.DictWriter(file, names, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    return table.writerow
