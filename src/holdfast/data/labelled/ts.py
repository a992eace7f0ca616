"""Examples from `.ts` files, the format of the UEA and UCR archives of time series."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..numbers import number
from ..sources import DataError, numbered, text_within
from .example import Content, Example, Fault, Reading, example, shown


@dataclass
class _Header:
    """What the lines before the data say.

    Attributes:
        labelled: whether the last field of a case is its label.
        channels: how many fields a case has beside it; 0 if that is not said.
    """

    labelled: bool = False
    channels: int = 0

    def take(self, where: str, line: str) -> None:
        """Note what a line says that begins with @."""
        keyword, *values = line[1:].split() or [""]
        keyword, value = keyword.lower(), values[0].lower() if values else ""
        if keyword == "timestamps" and value == "true":
            raise DataError(f"{where}: series with timestamps cannot be read, only values at equal distances")
        if keyword in ("classlabel", "targetlabel"):
            self.labelled = value == "true"
        elif keyword == "univariate" and value == "true":
            self.channels = 1
        elif keyword in ("dimensions", "dimension"):
            if not value.isdecimal():
                raise DataError(f"{where}: @{keyword} must be followed by a whole number, got {shown(value)}")
            self.channels = int(value)


def from_ts(path: str, reading: Reading) -> Iterator[Example]:
    """The cases of a `.ts` file: fields between colons are dimensions, and the last one may be the label.

    Raises:
        DataError: the file cannot be read or is of another kind, has timestamps, or lacks labels that are needed.
    """
    header, begun, empty = _Header(), False, True
    for count, line in numbered(text_within(path)):
        where, line = f"{path}, line {count}", line.strip()
        if not line or line.startswith("#"):
            continue
        if begun:
            yield _case(where, line, header, reading)
            empty = False
        elif line.lower() == "@data":
            if reading.labelled and not header.labelled:
                raise DataError(f"{path} has no labels: neither @classLabel nor @targetlabel is true")
            begun = True
        elif line.startswith("@"):
            header.take(where, line)
        else:
            raise DataError(f"{where}: before the line @data, each must begin with @ or #, got {shown(line)}")
    if empty:
        raise DataError(f"{path} has a header, but no series" if begun else f"{path} has no line @data")


def _case(where: str, line: str, header: _Header, reading: Reading) -> Example:
    *fields, last = line.split(":")
    label = last.strip() if header.labelled else None
    try:
        content = _series(fields if header.labelled else [*fields, last], header)
    except Fault as fault:
        return Example(where, None, None, str(fault))
    return example(where, content, None if label == "?" else label, reading)


def _series(fields: list[str], header: _Header) -> Content:
    """The numbers of a case; (steps, channels)."""
    if header.channels and len(fields) != header.channels:
        raise Fault(f"{len(fields)} channels, but the header says {header.channels}")
    if not fields:
        raise Fault("the series has no steps")
    channels = [[_number(cell) for cell in field.split(",")] if field.strip() else [] for field in fields]
    lengths = sorted({len(channel) for channel in channels})
    if len(lengths) > 1:
        raise Fault(f"channels of {lengths[0]} and of {lengths[-1]} steps")
    return np.array(channels, np.float64).T


def _number(cell: str) -> float:
    cell = cell.strip()
    try:
        return math.nan if cell == "?" else number(cell)
    except ValueError:
        raise Fault(f"{shown(cell)} is not a number") from None
