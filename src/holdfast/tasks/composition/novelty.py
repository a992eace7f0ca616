"""How much of a piece was copied: the longest passage of it that stands in the training pieces, in whatever key."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Copied(NamedTuple):
    """A passage that stands in a training piece.

    Attributes:
        length: its frames (or events); 0 if there is none, and then the others are 0 as well.
        start: where it begins in the piece that was asked about.
        piece: which training piece it stands in.
        at: where it begins there.
        by: by how many semitones it has to be transposed to be what stands there.
    """

    length: int
    start: int
    piece: int
    at: int
    by: int


class Known:
    """Training pieces, in which passages are looked up.

    A passage of 2, 4, 8 … rows has a name, a number, which two passages share if and only if they are the same (Karp,
    Miller and Rosenberg 1972): it is found from the names of its two halves. A passage of any other length is the names
    of two passages that overlap. So each length takes one sort of numbers, and nothing depends on a hash.

    >>> def higher(tokens, by):
    ...     return tokens + by if tokens.max(initial=0) + by < 128 else None
    >>> known = Known([np.array([60, 62, 64, 65, 67]), np.array([72, 71, 69])], higher, by=range(-12, 13))
    >>> known.longest(np.array([50, 67, 69, 70, 81]))
    Copied(length=3, start=1, piece=0, at=1, by=-5)

    Args:
        pieces: rolls, (T, keys) of bytes, or the tokens of events, (N,).
        transposed: a piece, as long, so many semitones higher, or None if it does not fit there as a whole.
        by: the transpositions at which a piece is looked up; with 0 among them, it is looked up as it is.
    """

    def __init__(
        self, pieces: Sequence[Array], transposed: Callable[[Array, int], Array | None], by: Iterable[int]
    ) -> None:
        self._transposed = transposed
        self._by = tuple(by)
        self._numbers: dict[Hashable, int] = {}
        rows = [self._numbers.setdefault(row, len(self._numbers)) for piece in pieces for row in _rows(piece)]
        self._starts = np.cumsum([0, *map(len, pieces)])
        self._left = _left([len(piece) for piece in pieces])  # (N,)
        self._names = [np.array(rows, np.int64)]  # of the passages of 1, 2, 4 … rows that begin at each; −1: too long
        self._halves: list[Array] = []  # of the passages of 2, 4 … rows, in order: a name is a place among them

    def longest(self, piece: Array) -> Copied:
        """The longest passage of a piece that stands in a training piece, at one of the transpositions.

        Silence counts as anything else does. Of several that are equally long, it is the one at the transposition that
        comes first among those given, of these the one that begins first, and it is found where it stands first.
        """
        fitting = [(by, one) for by in self._by if (one := self._transposed(piece, by)) is not None]
        left = _left([len(one) for _, one in fitting])  # (M,)
        names = np.array([self._numbers.get(row, -1) for _, one in fitting for row in _rows(one)], np.int64)
        if not (names >= 0).any():
            return Copied(0, 0, 0, 0, 0)
        power = 0
        while (longer := self._doubled(names, left, power)) is not None:
            names, power = longer, power + 1
        least, most = 2**power, 2 ** (power + 1) - 1
        while least < most:  # where a passage stands, a shorter one does too
            length = (least + most + 1) // 2
            if self._found(names, left, power, length)[0].any():
                least = length
            else:
                most = length - 1
        found, wanted, standing = self._found(names, left, power, least)
        row = int(np.argmax(found))
        at = int(np.argmax(standing == wanted[row]))
        which = int(np.searchsorted(self._starts, at, "right")) - 1
        version, start = divmod(row, len(piece))
        return Copied(least, start, which, at - int(self._starts[which]), fitting[version][0])

    def _doubled(self, names: Array, left: Array, power: int) -> Array | None:
        """From the names of a piece's passages to those of twice the length; None if no such passage is known."""
        if power == len(self._halves):
            joined = self._joined(self._names[power], self._left, 2**power, 2**power)
            self._halves.append(np.unique(joined[joined >= 0]))
            self._names.append(_places(self._halves[power], joined))
        longer = _places(self._halves[power], self._joined(names, left, 2**power, 2**power))
        return longer if (longer >= 0).any() else None

    def _found(self, names: Array, left: Array, power: int, length: int) -> tuple[Array, Array, Array]:
        """Whether the passage of a length at each row stands in the training pieces, and the numbers that tell it."""
        apart = length - 2**power
        wanted = self._joined(names, left, 2**power, apart)  # (M,)
        standing = self._joined(self._names[power], self._left, 2**power, apart)  # (N,)
        return (wanted >= 0) & np.isin(wanted, standing), wanted, standing

    def _joined(self, names: Array, left: Array, length: int, apart: int) -> Array:
        """One number for the passages of a length at each row and so many rows after it; −1 where one is not known."""
        joined = np.full(len(names), -1, np.int64)
        first = np.flatnonzero(left >= length + apart)
        first = first[(names[first] >= 0) & (names[first + apart] >= 0)]
        joined[first] = names[first] * (len(self._left) + 1) + names[first + apart]
        return joined


def _rows(piece: Array) -> list[Hashable]:
    """What stands at each place of a piece, as something that a dictionary holds."""
    if piece.ndim == 1:
        return piece.tolist()
    return [row.tobytes() for row in piece.astype(np.uint8, casting="safe")]


def _left(lengths: Sequence[int]) -> Array:
    """How many rows there are from each to the end of its piece, itself included, for pieces one after another."""
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(length, 0, -1, dtype=np.int64) for length in lengths)])


def _places(known: Array, wanted: Array) -> Array:
    """The place of each number among sorted ones; −1 where it is not among them."""
    if known.size == 0:
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[places] == wanted, places, -1)
