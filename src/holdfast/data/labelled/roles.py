"""Which columns of a table hold what, where they are not named."""

from __future__ import annotations

from collections.abc import Sequence

from ..delimited import listed, no_column
from ..sources import DataError
from .example import Reading

_TEXTS = ("text", "review", "sentence", "content", "comment", "message", "tweet", "body", "document")
_LABELS = ("label", "sentiment", "class", "category", "target", "rating", "y")


def text_column(path: str, names: Sequence[str], reading: Reading) -> str:
    """The column of texts.

    >>> text_column("a.csv", ["Stars", "Review"], Reading())
    'Review'

    Raises:
        DataError: it is not there, or cannot be told.
    """
    return usual_column(path, names, reading.text, _TEXTS, reading.named, "text", "--text")


def usual_column(
    path: str, names: Sequence[str], named: str, usual: Sequence[str], taken: Sequence[str], role: str, flag: str
) -> str:
    """A column that was named, or else the only one that is called as is usual and is named for nothing else.

    >>> usual_column("a.csv", ["File", "text"], "", ("path", "file"), (), "recording", "--audio")
    'File'

    Args:
        path: the table.
        names: of its columns.
        named: the column's name, or nothing.
        usual: what it is called otherwise, in small letters.
        taken: the columns that are named for other things.
        role: what the column holds, for a message.
        flag: what names it on the command line.

    Raises:
        DataError: it is not there, or cannot be told.
    """
    if named:
        return _present(path, names, named)
    found = _usual(names, usual, taken)
    if len(found) != 1:
        raise _not_plain(path, names, found, role, flag)
    return found[0]


def label_column(path: str, names: Sequence[str], reading: Reading) -> str:
    """The column of labels; empty if there is none and there need not be.

    >>> label_column("a.csv", ["id", "text"], Reading(labelled=False))
    ''

    Raises:
        DataError: there must be one, and it is not there or cannot be told.
    """
    if reading.label:
        missing = not reading.labelled and reading.label not in names
        return "" if missing else _present(path, names, reading.label)
    found = _usual(names, _LABELS, reading.named)
    if len(found) == 1:
        return found[0]
    if reading.labelled:
        raise _not_plain(path, names, found, "label", "--label")
    return ""


def series_columns(path: str, names: Sequence[str], reading: Reading) -> tuple[str, str, list[str]]:
    """Of a table with a row for each step: the column of series, of labels, and those of numbers.

    A column without a name, which is how rows are numbered in some files, is none of them.

    >>> series_columns("a.csv", ["", "id", "x", "y"], Reading(series="id", label="y"))
    ('id', 'y', ['x'])

    Raises:
        DataError: one is not there or cannot be told, or no column is left for the numbers.
    """
    series = _present(path, names, reading.series)
    label = label_column(path, names, reading)
    if reading.channels:
        return series, label, [_present(path, names, name) for name in reading.channels]
    channels = [name for name in names if name and name not in (series, label)]
    if not channels:
        raise DataError(f"{path}: no column of numbers is left; it has {listed(names)}")
    return series, label, channels


def _present(path: str, names: Sequence[str], name: str) -> str:
    if name not in names:
        raise no_column(path, name, names)
    return name


def _usual(names: Sequence[str], usual: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The columns that are not named otherwise and are called as is usual."""
    return [name for name in names if name.lower() in usual and name not in taken]


def _not_plain(path: str, names: Sequence[str], found: Sequence[str], role: str, flag: str) -> DataError:
    if found:
        return DataError(f"{path}: the {role} may be any of {listed(found)}; name it with {flag}")
    return DataError(f"{path}: no column looks like the {role}; name it with {flag}, of {listed(names)}")
