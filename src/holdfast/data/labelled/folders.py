"""Examples from folders: a folder for each class, in it a file for each text, series or recording."""

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

    Files of other kinds, and those that are in no such folder, are left out.

    Raises:
        DataError: there are no such files.
    """
    found = False
    for label, path in in_classes(folder):
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
        raise DataError(
            f"the folder {folder} must hold a folder for each class, named by its label, with .txt files (texts), "
            f".csv files (series) or {', '.join(SUFFIXES)} files (recordings) in it"
        )


def in_classes(folder: str) -> Iterator[tuple[str, str]]:
    """The files in a folder's folders that are read: the label of each, and its path."""
    for inside, path in below(folder):
        label, _, name = inside.partition("/")
        if name and suffix(path) in _READERS:
            yield label, path


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
