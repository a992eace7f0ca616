"""Tables from files and data frames, whose rows know where they come from."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from holdfast.extras import require

from .delimited import SAMPLE, column_names, csv_reader, listed, refuse_doubles, told_separator, whole_lines
from .sources import DataError, files, suffix, text_within, unpacked

_COMMA = r"[-+]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+(?:[eE][-+]?\d+)?"  # 1,5 and 1.234,5
_POINT = r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Table:
    """A data frame, and where each of its rows was read.

    Cells of text files are text as they stand there, but for decimal commas, which become points; what a column means
    decides what they become.

    Attributes:
        frame: the rows, a pandas DataFrame numbered from 0 on.
        names: the files that the rows come from, in this order, or one name for a data frame.
        starts: the number of each file's first row.
        lines: the line in its file of each row, from 1 on, or its number where there are no lines; (N,).
        unit: "line" or "row".
        notes: what was left out, and why.
    """

    frame: Any
    names: tuple[str, ...]
    starts: tuple[int, ...]
    lines: np.ndarray[Any, Any]
    unit: str = "row"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    def where(self, row: int) -> str:
        """Where a row stands: "data.csv, line 17"."""
        file = int(np.searchsorted(self.starts, row, "right")) - 1
        return f"{self.names[file]}, {self.unit} {self.lines[row]}"


def read_table(source: Any) -> Table:
    """A table from files, or from a data frame.

    The files are CSV, with commas, semicolons, tabs or bars between the cells, `.gz` of such, or Parquet; they follow
    each other. A data frame may be of any kind that narwhals knows.

    >>> import pandas as pd
    >>> read_table(pd.DataFrame({"y": [1.5, 2.5]})).where(1)
    'the data frame, row 2'

    Args:
        source: a path, a list of paths, globs or URLs, or a data frame.

    Raises:
        DataError: a file is not there, is empty or is no table; columns have no or the same names.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | os.PathLike):
        source = [os.fspath(source)]
    if isinstance(source, Sequence):
        return _joined([_read_file(path) for path in files([os.fspath(path) for path in source])])
    return _from_frame(source)


def _read_file(path: str) -> Table:
    if suffix(path) in (".parquet", ".pq"):
        return _read_parquet(path)
    return _read_text(path)


def _read_parquet(path: str) -> Table:
    try:
        frame = require("pandas", "forecast").read_parquet(io.BytesIO(b"".join(unpacked(path))))
    except (OSError, ValueError) as error:  # Arrow's errors are of these kinds
        raise DataError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from None
    return _from_frame(frame, path)


def _from_frame(source: Any, name: str = "the data frame") -> Table:
    pandas = require("pandas", "forecast")
    try:
        frame = require("narwhals", "forecast").from_native(source).lazy().collect("pandas").to_native()
    except TypeError:
        raise DataError(f"a table must be paths or a data frame, got {type(source).__name__}") from None
    if isinstance(source, pandas.DataFrame):
        frame = source
    if not isinstance(frame.index, pandas.RangeIndex) and (
        frame.index.names != [None] or isinstance(frame.index, pandas.DatetimeIndex | pandas.PeriodIndex)
    ):
        frame = frame.rename_axis([each or "time" for each in frame.index.names]).reset_index()
    frame = frame.reset_index(drop=True)
    frame.columns = [str(each) for each in frame.columns]
    refuse_doubles(name, [*frame.columns])
    if len(frame) == 0:
        raise DataError(f"{name} has no rows")
    return Table(frame, (name,), (0,), np.arange(1, len(frame) + 1))


def _read_text(path: str) -> Table:
    text = "".join(text_within(path))
    if not text.strip():
        raise DataError(f"{path} is empty")
    separator = told_separator([*islice(_lines(text), SAMPLE)])
    header = column_names(path, next(csv_reader(_lines(text), separator)))
    names = [name or f"column {k + 1}" for k, name in enumerate(header)]
    refuse_doubles(path, names)
    frame = _cells(path, text, separator, names)
    if len(frame) == 0:
        raise DataError(f"{path} has a header, but no rows")
    commas = [name for name in names if separator != "," and _has_decimal_commas(frame[name])]
    frame = frame.assign(**{name: _with_points(frame[name]) for name in commas})
    notes: tuple[str, ...] = (f"{path}: decimal commas were read as points in {listed(commas)}",) if commas else ()
    if not header[0] and len(names) > 1 and _counts(frame[names[0]]):
        frame = frame.drop(columns=names[0])
        notes += (f"{path}: the first column, which has no name and numbers the rows, is left out",)
    return Table(frame, (path,), (0,), _line_numbers(text, separator, len(frame)), "line", notes)


def _lines(text: str) -> Iterator[str]:
    """The lines that are not blank, for the csv module."""
    return (line for line in whole_lines([text]) if line.strip())


def _cells(path: str, text: str, separator: str, names: Sequence[str]) -> Any:
    """The cells as text; what a short line lacks is empty."""
    pandas = require("pandas", "forecast")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            return pandas.read_csv(
                io.StringIO(text),
                sep=separator,
                dtype=str,
                keep_default_na=False,
                header=0,
                names=names,
                index_col=False,
                skipinitialspace=True,
            )
    except (pandas.errors.ParserError, pandas.errors.ParserWarning):
        raise _no_table(path, text, separator, len(names)) from None


def _no_table(path: str, text: str, separator: str, width: int) -> DataError:
    """What is wrong with a text that is no table: its first line that is too long."""
    reader = csv_reader(whole_lines([text]), separator)
    for row in reader:
        if len(row) > width:
            return DataError(f"{path}, line {reader.line_num} has {len(row)} cells, but the header has {width}")
    return DataError(f"{path} is not a table: a quotation mark is not closed")


def _has_decimal_commas(column: Any) -> bool:
    """Whether the numbers of a column have decimal commas: some do, and none has a point for them.

    Where commas stand between the cells, nobody can tell; a sheet with other separators comes from where they are used.
    """
    cells = column.str.strip()
    return bool(cells.str.fullmatch(_COMMA).any() and not cells.str.fullmatch(_POINT).any())


def _with_points(column: Any) -> Any:
    """A column with its decimal commas as points, and without the points that stand between thousands."""
    cells = column.str.strip()
    return column.mask(cells.str.fullmatch(_COMMA), cells.str.replace(".", "").str.replace(",", "."))


def _counts(column: Any) -> bool:
    """Whether a column counts its rows, from 0 or 1 on."""
    length = len(column)
    return any([*column] == [str(k) for k in range(first, first + length)] for first in (0, 1))


def _line_numbers(text: str, separator: str, rows: int) -> np.ndarray[Any, Any]:
    """The line on which each row ends."""
    simple = text.count("\n") + (not text.endswith("\n"))
    if simple == rows + 1:
        return np.arange(2, rows + 2)
    # Blank lines, or newlines within quotation marks
    reader = csv_reader(whole_lines([text]), separator)
    return np.array([reader.line_num for row in reader if "".join(row).strip() or len(row) > 1][1 : rows + 1])


def _joined(tables: Sequence[Table]) -> Table:
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables[1:]:
        differing = sorted(set(table.frame.columns) ^ set(first.frame.columns))
        if differing:
            owner = table if differing[0] in table.frame.columns else first
            raise DataError(
                f"{first.names[0]} and {table.names[0]} must have the same columns, "
                f"but only {owner.names[0]} has {differing[0]!r}"
            )
    starts = np.cumsum([0, *(len(table) for table in tables[:-1])])
    return Table(
        require("pandas", "forecast").concat([table.frame for table in tables], ignore_index=True),
        tuple(table.names[0] for table in tables),
        tuple(int(start) for start in starts),
        np.concatenate([table.lines for table in tables]),
        first.unit,
        tuple(note for table in tables for note in table.notes),
    )
