"""Pairs of texts from files: the lines of two files that go together, or two columns of a table."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, NamedTuple

from ..labelled.example import shown
from ..labelled.roles import usual_column
from ..labelled.rows import KINDS, open_rows
from ..sources import BUILTIN, DataError, files, numbered, suffix, text_within
from . import dates

_SOURCES = ("source", "src", "input", "from", "question")
_TARGETS = ("target", "tgt", "output", "to", "answer")


@dataclass(frozen=True)
class PairReading:
    """Which columns of tables are read.

    Attributes:
        source: the column of sources; else the one that is called `source`, `src`, `input`, `from` or `question`.
        target: that of targets; else `target`, `tgt`, `output`, `to` or `answer`.

    Raises:
        DataError: one column has both roles.
    """

    source: str = ""
    target: str = ""
    unit: ClassVar[str] = "pair"  # what is put aside whole
    targets_say_all: ClassVar[bool] = False  # whether all that stands in sources stands in targets too

    def __post_init__(self) -> None:
        if self.source and self.source == self.target:
            raise DataError(f"the column {self.source!r} must have one role, got 2")

    @property
    def named(self) -> tuple[str, ...]:
        """All columns that are named."""
        return tuple(name for name in (self.source, self.target) if name)

    def files(self, patterns: Sequence[str]) -> list[str]:
        """What `every_file` finds."""
        return every_file(patterns)

    def passed_over(self, paths: Sequence[str]) -> list[str]:
        """Notes of what is not read; of pairs, everything is."""
        return []

    def pairs(self, paths: Sequence[str]) -> Iterator[Pair]:
        """What `read_pairs` reads."""
        return read_pairs(paths, self)


class Pair(NamedTuple):
    """Two texts, of which one becomes the other, or why they cannot be used.

    Attributes:
        where: where they stand: "train.de, line 17".
        source, target: the texts.
        fault: why they cannot be used; empty if they can.
        group: what belongs together has one number, and is not put aside in part.
    """

    where: str
    source: str
    target: str
    fault: str = ""
    group: int = 0


def is_table(name: str) -> bool:
    """Whether a file holds both sides of its pairs.

    >>> is_table("pairs.tsv.gz"), is_table("train.de")
    (True, False)
    """
    return suffix(name) in KINDS


def every_file(patterns: Sequence[str]) -> list[str]:
    """The files that paths, folders, globs and URLs stand for, in this order; one that is named twice is there twice.

    >>> every_file(["builtin:python-docs", "builtin:python-docs"])
    ['builtin:python-docs', 'builtin:python-docs']

    Raises:
        DataError: something is not there, or stands for no file.
    """
    for pattern in patterns:
        if pattern == dates.NAME:
            raise DataError(f"{pattern} is both sources and targets: name it alone")
        if pattern.startswith("builtin:") and pattern != BUILTIN:
            raise DataError(f"there is no {pattern}: the only pairs that come with holdfast are {dates.NAME}")
    return [name for pattern in patterns for name in files([pattern])]


def read_pairs(paths: Sequence[str], reading: PairReading) -> Iterator[Pair]:
    """The pairs of files, one after the other.

    Tables (CSV, TSV, JSON lines, Parquet) hold a pair in each row. All other files hold a text in each line; two that
    stand one after the other go together, the sources first. Each may be packed (`.gz`). What is named twice is read
    twice, as one file may be the partner of several.

    Raises:
        DataError: a file is not there or is empty, a file of lines has no partner, is its own, or has another number of
            lines than its partner, or a table lacks a column.
    """
    number = count()
    for together in _together(every_file(paths)):
        found = _lines(*together) if len(together) == 2 else _rows(*together, reading)
        yield from (pair._replace(group=next(number)) for pair in found)


def sentence(text: str) -> str:
    r"""A text as it is read and compared: composed (NFC), with one blank for whatever is white.

    >>> sentence(" Le\u0301on\tsah\u00a03 ")
    'Léon sah 3'
    """
    return unicodedata.normalize("NFC", " ".join(text.split()))


def written(text: str) -> str:
    r"""What a model wrote as one line that a terminal can show: a sentence without control characters.

    >>> written(" to\x1b be\n or not ")
    'to be or not'
    """
    return sentence("".join(letter for letter in text if letter.isspace() or unicodedata.category(letter) != "Cc"))


def _together(names: Sequence[str]) -> list[tuple[str] | tuple[str, str]]:
    """Tables, each alone, and files of lines in twos."""
    found: list[tuple[str] | tuple[str, str]] = []
    of_lines: list[str] = []
    for name in names:
        if is_table(name):
            _refuse_alone(of_lines)
            found.append((name,))
        elif not of_lines:
            of_lines.append(name)
        else:
            source = of_lines.pop()
            _refuse_itself(source, name)
            found.append((source, name))
    _refuse_alone(of_lines)
    return found


def _refuse_itself(source: str, target: str) -> None:
    if os.path.realpath(source) == os.path.realpath(target):
        raise DataError(f"{source} stands on both sides of a pair: sources and targets must be two files")


def _refuse_alone(of_lines: Sequence[str]) -> None:
    if of_lines:
        raise DataError(
            f"{of_lines[0]} is a file of lines, which needs a partner: name the file of the sources, then that of the "
            f"targets; files that hold both are tables: {', '.join(KINDS)}"
        )


def _lines(source: str, target: str) -> Iterator[Pair]:
    """The lines of two files, which must have the same number of them."""
    ours, theirs = (numbered(text_within(path)) for path in (source, target))
    done = 0
    while True:
        one, other = next(ours, None), next(theirs, None)
        if one is None or other is None:
            break
        done += 1
        yield _checked(f"{source}, line {done}", one[1], other[1])
    if one is not None or other is not None:
        longer, shorter, rest = (source, target, ours) if one is not None else (target, source, theirs)
        more = done + 1 + sum(1 for _ in rest)
        raise DataError(
            f"{source} and {target} must have a line for a line, but {longer} has {more:,} and {shorter} {done:,}: "
            f"line {done + 1:,} of {longer} has no partner"
        )
    if not done:
        raise DataError(f"{source} and {target} are empty")


def _rows(path: str, reading: PairReading) -> Iterator[Pair]:
    rows = open_rows(path, reading.named)
    columns = [
        usual_column(path, rows.names, reading.source, _SOURCES, reading.named, "source", "--source-column"),
        usual_column(path, rows.names, reading.target, _TARGETS, reading.named, "target", "--target-column"),
    ]
    for row in rows.of(columns):
        where = f"{path}, {row.place}"
        if row.fault:
            yield Pair(where, "", "", row.fault)
            continue
        wrong = [cell for cell in row.cells if not _is_text(cell)]
        if wrong:
            yield Pair(where, "", "", f"{shown(wrong[0])} is not a text")
        else:
            yield _checked(where, *("" if cell is None else str(cell) for cell in row.cells))


def _is_text(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str | int | float) and not isinstance(cell, bool))


def _checked(where: str, source: str, target: str) -> Pair:
    source, target = sentence(source), sentence(target)
    empty = [name for name, text in (("source", source), ("target", target)) if not text]
    return Pair(
        where,
        source,
        target,
        f"the {' and the '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty" if empty else "",
    )
