"""Examples from files of all kinds, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..sources import DataError, files, is_folder, suffix
from .arrays import from_arrays
from .example import Example, Reading
from .folders import from_folder
from .rows import KINDS
from .tables import from_table
from .ts import from_ts

_Reader = Callable[[str, Reading], Iterator[Example]]

_READERS: dict[str, _Reader] = {
    **dict.fromkeys(KINDS, from_table),
    ".ts": from_ts,
    ".npz": from_arrays,
}


def examples(paths: Sequence[str], reading: Reading) -> Iterator[Example]:
    """Labelled texts or series from files, in their order, those that cannot be used too.

    Files are told by the ends of their names, each of which `.gz` may follow:

    - `.csv`, with commas, semicolons, tabs or bars between cells, and `.tsv` or `.tab`, where quotation marks are like
      other characters except around a whole cell. The first line names the columns, or if columns are named by whole
      numbers, they are counted from 1 on and there is no such line.
    - `.jsonl`, `.ndjson` or `.json`: an object a line, in it a text, or a list of numbers, or of lists of numbers.
    - `.parquet` or `.pq`.
    - `.ts`, as in the UEA and UCR archives, and `.npz`, with arrays `x`, `y` and `lengths`.
    - A folder with a folder for each class, and in it `.txt` files of texts, or `.csv` files of numbers, a line for
      each step.

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
