"""Cells of text files: the lines they stand in, what stands between them, and how a header names columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from holdfast.naming import nearest

from .sources import DataError

SAMPLE = 20  # lines from which the separator is told
_SEPARATORS = ",;\t|"
_LARGEST_CELL = 2**31 - 1  # what the csv module can be told on every platform


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    r"""The lines of a text that comes in pieces, with their newlines, which may be of any system.

    >>> [*whole_lines(["a,b\r", "\n1,", "2\n"])]
    ['a,b\r\n', '1,2\n']
    """
    begun: list[str] = []
    held = ""  # a carriage return at the end of a piece, which may be half of a newline
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        for line in io.StringIO(text.removesuffix(held), newline=""):
            begun.append(line)
            if line.endswith(("\n", "\r")):
                yield "".join(begun)
                begun.clear()
    last = "".join([*begun, held])
    if last:
        yield last


def csv_reader(lines: Iterable[str], separator: str, skipinitialspace: bool = False) -> Any:
    """The csv module's reader, for cells of any length.

    >>> [*csv_reader(["a;b"], ";")]
    [['a', 'b']]
    """
    csv.field_size_limit(_LARGEST_CELL)  # the module knows no limit of one reader
    return csv.reader(lines, delimiter=separator, skipinitialspace=skipinitialspace)


def told_separator(sample: Sequence[str]) -> str:
    """What stands between cells: what cuts the first lines into as many pieces each, and into most.

    >>> told_separator(["a;b", "1,5;2,5"])
    ';'

    Args:
        sample: the first lines that are not blank.
    """

    def pieces(separator: str) -> int:
        counts = {len(row) for row in csv_reader(sample, separator)}
        return counts.pop() if len(counts) == 1 else 0

    most = max(_SEPARATORS, key=pieces)
    # Where no character does, a line is too long or too short: the reader will say which.
    return most if pieces(most) > 1 else max(_SEPARATORS, key=sample[0].count)


def column_names(path: str, cells: Sequence[str]) -> list[str]:
    """The names in the first line of a table; empty for a column that has none.

    >>> column_names("t.csv", ["", " text "])
    ['', 'text']

    Raises:
        DataError: they are all numbers, or two are the same.
    """
    names = [cell.strip() for cell in cells]
    if all(map(_is_number, names)):
        raise DataError(f"{path} must begin with a line that names the columns, but it begins with {names[0]}, …")
    refuse_doubles(path, [name for name in names if name])
    return names


def refuse_doubles(path: str, names: Sequence[str]) -> None:
    """See that no two columns have one name.

    >>> refuse_doubles("t.csv", ["text", "label"])

    Raises:
        DataError: two have.
    """
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise DataError(f"{path} has more than one column named {doubles[0]!r}")


def no_column(path: str, name: str, have: Sequence[str]) -> DataError:
    """What is said where a table lacks a column.

    >>> str(no_column("t.csv", "txt", ["text", "label"]))
    "t.csv has no column 'txt'; did you mean text?; its columns are 'text', 'label'"
    """
    return DataError(f"{path} has no column {name!r}{nearest(name, have)}; its columns are {listed(have)}")


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, the first of them where there are many.

    >>> listed(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
