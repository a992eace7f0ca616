"""Examples from tables: a row for each example, or a row for each step of a series."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..numbers import number
from .example import Example, Fault, Reading, example, label_of, shown
from .roles import label_column, series_columns, text_column
from .rows import open_rows
from .sounds import from_list


def from_table(path: str, reading: Reading) -> Iterator[Example]:
    """The examples of a table: a row for each, or where a column of series is named, a row for each step.

    A row holds a text or a series, or names a recording.

    Raises:
        DataError: the file cannot be read or is no table, or a column is not there or cannot be told.
    """
    if reading.lists_recordings:
        return from_list(path, reading)
    return _steps(path, reading) if reading.series else _rows(path, reading)


def _rows(path: str, reading: Reading) -> Iterator[Example]:
    rows = open_rows(path, reading.named)
    text = text_column(path, rows.names, reading)
    label = label_column(path, rows.names, reading)
    for place, cells, fault in rows.of([text, label] if label else [text]):
        where = f"{path}, {place}"
        if fault:
            yield Example(where, None, None, fault)
        else:
            yield example(where, cells[0], cells[1] if label else None, reading)


@dataclass
class _Gathered:
    """A series while its rows are read.

    Attributes:
        where: its first row.
        held: the label as it stands there, and `label`, what that means.
        values: the numbers of all steps, one step after the other.
        fault: the first one.
    """

    where: str
    held: Any = None
    label: str | float | None = None
    values: array[float] = field(default_factory=lambda: array("d"))
    fault: str = ""

    def take_label(self, held: Any, reading: Reading) -> None:
        """Note the label of the first row, or see that that of another is the same."""
        if not self.values:
            self.held, self.label = held, label_of(held, reading)
        elif held != self.held and (other := label_of(held, reading)) != self.label:
            raise Fault(f"one series has the labels {shown(self.label)} and {shown(other)}")


def _steps(path: str, reading: Reading) -> Iterator[Example]:
    """Series whose steps are rows, which may be anywhere in the file: all are held until its end."""
    rows = open_rows(path, reading.named)
    series, label, channels = series_columns(path, rows.names, reading)
    found: list[_Gathered] = []
    by_name: dict[str, _Gathered] = {}
    for place, cells, fault in rows.of([series, *channels, *([label] if label else [])]):
        where, name = f"{path}, {place}", _name(cells[0])
        gathered = by_name.get(name)
        if gathered is None:
            gathered = _Gathered(where, fault="" if name else "the series has no name")
            found.append(gathered)
            if name:
                by_name[name] = gathered
        if gathered.fault:
            continue
        try:
            if fault:
                raise Fault(fault)
            gathered.take_label(cells[-1] if label else None, reading)
            gathered.values.extend(map(_number, cells[1 : len(channels) + 1], channels))
        except Fault as why:
            gathered.fault = str(why) if where == gathered.where else f"{why} ({place})"
    for each in found:
        if each.fault:
            yield Example(each.where, None, each.label, each.fault)
        else:
            steps = np.array(each.values).reshape(-1, len(channels))
            yield example(each.where, steps, each.label, reading)


def _name(held: Any) -> str:
    if held is None or (isinstance(held, float) and math.isnan(held)):
        return ""
    return str(held).strip()


def _number(cell: Any, column: str) -> float:
    try:
        return number(cell)
    except ValueError:
        raise Fault(f"{shown(cell)} in column {column} is not a number") from None
