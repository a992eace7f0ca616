"""Examples from folders: a folder for each class, or none, in it a file for each text, series or recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..audio.sound import SUFFIXES
from ..numbers import number
from ..sources import DataError, below, suffix, text_within
from .example import Content, Example, Fault, Reading, example, shown
from .rows import cut
from .sounds import frames_of


def from_folder(folder: str, reading: Reading) -> Iterator[Example]:
    """The files in a folder's folders, which are named by the labels: `.txt` texts, `.csv` series, sounds recordings.

    Files of other kinds, and those that are in no such folder, are left out. Where there need not be labels, recordings
    may lie anywhere in the folder, and texts or series in the folder itself if it holds no such folders.

    Raises:
        DataError: there are no such files.
    """
    found = False
    for label, path in in_classes(folder, reading):
        found = True
        try:
            content = _READERS[suffix(path)](path, reading)
        except Fault as fault:
            yield Example(path, None, label, str(fault))
        except DataError as error:  # of this file alone, which is one example
            yield Example(path, None, label, str(error).removeprefix(f"{path} "))
        else:
            yield example(path, content, label, reading)
    if not found:
        classes = "a folder for each class, named by its label, with " if reading.labelled else ""
        raise DataError(
            f"the folder {folder} must hold {classes}.txt files (texts), .csv files (series) or {', '.join(SUFFIXES)} "
            f"files (recordings){' in it' if classes else ''}"
        )


def in_classes(folder: str, reading: Reading) -> Iterator[tuple[str | None, str]]:
    """The files of a folder that are read: the label of each, None without one, and its path."""
    there = [(inside.partition("/"), path) for inside, path in below(folder) if suffix(path) in _READERS]
    classed = [(label, path) for (label, _, name), path in there if name]
    if not reading.labelled and reading.mel is not None:
        # Beside recordings a table of them may lie.
        yield from ((label if name else None, path) for (label, _, name), path in there if suffix(path) in SUFFIXES)
    elif reading.labelled or classed:
        yield from classed
    else:
        yield from ((None, path) for _, path in there)


def _text(path: str, reading: Reading) -> Content:
    return "".join(text_within(path))


def _series(path: str, reading: Reading) -> Content:
    """The numbers of a file, a line for each step, below a header or none; (steps, channels)."""
    lines = cut(path)
    line, first, fault = next(lines)
    if fault:
        raise Fault(fault)
    names = [cell.strip() for cell in first]
    if _is_header(names):
        # A column without a name is how some files number their rows.
        taken = [k for k, name in enumerate(names) if name]
        steps = []
    else:
        taken = [*range(len(first))]
        names = [str(k + 1) for k in taken]
        steps = [_step(line, first, names, taken)]
    for line, cells, fault in lines:
        if fault:
            raise Fault(fault)
        if len(cells) != len(names):
            raise Fault(f"{len(cells)} cells, but the first line has {len(names)} (line {line})")
        steps.append(_step(line, cells, names, taken))
    return np.array(steps, np.float64).reshape(-1, len(taken))


def _is_header(names: list[str]) -> bool:
    """Whether a first line names columns: it holds no number, nor a word for one that is missing."""

    def is_name(cell: str) -> bool:
        try:
            number(cell)
        except ValueError:
            return True
        return False

    cells = [name for name in names if name]
    return len(cells) > 0 and all(map(is_name, cells))


def _step(line: int, cells: list[str], names: list[str], taken: list[int]) -> list[float]:
    values = []
    for k in taken:
        try:
            values.append(number(cells[k]))
        except ValueError:
            raise Fault(f"{shown(cells[k])} in column {names[k]} is not a number (line {line})") from None
    return values


_READERS: dict[str, Callable[[str, Reading], Content]] = {
    ".txt": _text,
    ".csv": _series,
    **dict.fromkeys(SUFFIXES, frames_of),
}
