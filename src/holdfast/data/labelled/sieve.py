"""What becomes of examples that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..sources import DataError

_PARTICULAR = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d[\d.,]*""")  # what is quoted, and numbers


class _Read(Protocol):
    """What was read: where it stands, and why it cannot be used; empty if it can."""

    @property
    def where(self) -> str: ...
    @property
    def fault(self) -> str: ...


_R = TypeVar("_R", bound=_Read)


class Sieve:
    """Lets good examples through; the first fault is an error, or with `skip` all are counted by their kind.

    Faults are of one kind if they differ only in numbers and in what they quote.

    >>> from holdfast.data import Example
    >>> sieve = Sieve(skip=True)
    >>> good = Example("a.csv, line 2", "a fine film", "pos")
    >>> [*sieve.through([good, Example("a.csv, line 3", None, "neg", "the text is empty")])] == [good]
    True
    >>> sieve.notes
    ['1 row left out: the text is empty (the first is a.csv, line 3)']

    Args:
        skip: whether examples that cannot be used are left out.
        unit: what an example is called, of which there may be several with an s.
    """

    def __init__(self, skip: bool, unit: str = "row") -> None:
        self._skip = skip
        self._unit = unit
        self._kinds: dict[str, _Kind] = {}

    def through(self, found: Iterable[_R]) -> Iterator[_R]:
        """The examples that can be used.

        Raises:
            DataError: one cannot, and is not to be left out.
        """
        for one in found:
            if not one.fault:
                yield one
            elif self._skip:
                self._count(one)
            else:
                raise DataError(f"{one.where}: {one.fault}; fit with --skip-bad leaves such {self._unit}s out")

    @property
    def notes(self) -> list[str]:
        """How many examples were left out until now, a line for each kind of fault."""
        return [
            f"{kind.count:,} {self._unit}{'s' * (kind.count > 1)} left out: {kind.said} (the first is {kind.where})"
            for kind in self._kinds.values()
        ]

    def _count(self, one: _Read) -> None:
        common = _PARTICULAR.sub("…", one.fault)
        kind = self._kinds.setdefault(common, _Kind(one.where, one.fault))
        kind.count += 1
        if kind.said != one.fault:
            kind.said = common


@dataclass
class _Kind:
    """A kind of fault: where it was first, and what is true of all of that kind."""

    where: str
    said: str
    count: int = 0
