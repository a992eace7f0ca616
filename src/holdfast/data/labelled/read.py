"""Examples from files of all kinds, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ..audio.manifest import present
from ..audio.sound import SUFFIXES
from ..sources import DataError, files, is_folder, suffix
from .arrays import from_arrays
from .example import Example, Reading
from .folders import from_folder, in_classes
from .rows import KINDS
from .sounds import from_sound, listed
from .tables import from_table
from .ts import from_ts

_Reader = Callable[[str, Reading], Iterator[Example]]

_READERS: dict[str, _Reader] = {
    **dict.fromkeys(KINDS, from_table),
    ".ts": from_ts,
    ".npz": from_arrays,
    **dict.fromkeys(SUFFIXES, from_sound),
}


def examples(paths: Sequence[str], reading: Reading) -> Iterator[Example]:
    """Labelled texts, series or recordings from files, in their order, those that cannot be used too.

    Files are told by the ends of their names, each of which `.gz` may follow:

    - `.csv`, with commas, semicolons, tabs or bars between cells, and `.tsv` or `.tab`, where quotation marks are like
      other characters except around a whole cell. The first line names the columns, or if columns are named by whole
      numbers, they are counted from 1 on and there is no such line.
    - `.jsonl`, `.ndjson` or `.json`: an object a line, in it a text, or a list of numbers, or of lists of numbers.
    - `.parquet` or `.pq`.
    - `.ts`, as in the UEA and UCR archives, and `.npz`, with arrays `x`, `y` and `lengths`.
    - `.wav`, `.flac` or `.ogg`: a recording, without a label. Tables list recordings where the column of their paths is
      named, or `reading.mel` is known. All become frames of log-mel energies as `reading.mel` says; without it they
      cannot be used.
    - A folder with a folder for each class, and in it `.txt` files of texts, `.csv` files of numbers, a line for each
      step, or recordings. Where there need not be labels, the files may lie in the folder itself.

    Where the column of series is named, a table has a row for each step, and its series are in memory until its end.
    Of other tables and of `.ts` files, no more than some rows are.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "reviews.csv")
    ...     _ = path.write_text("text,label\\na fine film,pos\\na bore,neg\\n")
    ...     [one[1:3] for one in examples([str(path)], Reading())]
    [('a fine film', 'pos'), ('a bore', 'neg')]

    Args:
        paths: files, folders, globs or URLs.
        reading: which columns say what, and what a label is.

    Raises:
        DataError: something is not there, cannot be read, is of no known kind, lacks a column, or is empty; or there
            are texts as well as series.
    """
    if isinstance(paths, str | os.PathLike):
        raise DataError(f"paths must be a list of paths, got one path, {os.fspath(paths)!r}")
    if not paths:
        raise DataError("there are no files to read")
    return _alike(_all(paths, reading))


def recordings(parts: Mapping[str, Sequence[str]], reading: Reading, skip: bool) -> dict[str, list[str]]:
    """Of each part the recordings that `examples` would read: those that are named, lie in folders, or are in tables.

    Args:
        parts: files, folders, globs or URLs.
        reading: what of them is read.
        skip: whether those that tables list, but are not there, are left out.

    Raises:
        DataError: some are not there; the message names the first and says how many; or a table cannot be read.
    """
    tables = {name: _tables(paths) if reading.lists_recordings else [] for name, paths in parts.items()}
    listed_in = {name: (one for table in found for one in listed(table, reading)) for name, found in tables.items()}
    there = present(listed_in, skip)
    return {
        name: [*dict.fromkeys([*_themselves(paths, reading), *(one.path for one in there[name] if not one.fault)])]
        for name, paths in parts.items()
    }


def _tables(paths: Sequence[str]) -> list[str]:
    return [name for name in files([path for path in paths if not is_folder(path)]) if suffix(name) in KINDS]


def _themselves(paths: Sequence[str], reading: Reading) -> Iterator[str]:
    """The recordings that are not listed in tables."""
    for path in paths:
        names = [name for _, name in in_classes(path, reading)] if is_folder(path) else files([path])
        yield from (name for name in names if suffix(name) in SUFFIXES)


def _all(paths: Sequence[str], reading: Reading) -> Iterator[Example]:
    done: set[str] = set()
    for path in paths:
        found: dict[str, _Reader] = (
            {path: from_folder} if is_folder(path) else {name: _reader(name) for name in files([path])}
        )
        for name, read in found.items():
            if name not in done:
                done.add(name)
                yield from read(name, reading)


def _reader(name: str) -> _Reader:
    """What reads a file of the kind that its name tells."""
    if suffix(name) not in _READERS:
        raise DataError(
            f"{name} is of no kind that examples are read from: {', '.join(_READERS)}, each with .gz or without, "
            f"or a folder with a folder for each class"
        )
    return _READERS[suffix(name)]


def _alike(found: Iterable[Example]) -> Iterator[Example]:
    """The same, where series of other channels than the first have a fault; texts and series do not go together."""
    first = None
    channels = 0  # of the first series; of texts 0
    for one in found:
        if one.content is None:
            yield one
            continue
        has = 0 if isinstance(one.content, str) else one.content.shape[1]
        if first is None:
            first, channels = one.where, has
        if bool(has) != bool(channels):
            kind, other = ("series", "text") if has else ("text", "series")
            raise DataError(f"{one.where} is a {kind}, but {first} is a {other}: all must be texts, or all series")
        if has != channels:
            one = one._replace(content=None, fault=f"{has} channels, but the first sequence has {channels}")
        yield one
