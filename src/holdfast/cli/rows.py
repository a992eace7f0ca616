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
    beside = out.with_name(f"{out.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)


def _writer(file: TextIO, as_json: bool, names: Sequence[str]) -> Callable[[Row], object]:
    if as_json:
        known = {*names}
        return lambda row: file.write(json.dumps({n: value for n, value in row.items() if n in known}) + "\n")
    table = csv.DictWriter(file, names, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    return table.writerow
