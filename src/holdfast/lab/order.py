"""Temporal order: which of two symbols came, and in which order (the sixth experiment of 1997)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator

from .problem import Batch, SymbolProblem, whole_numbers
from .symbols import PAPER


class TemporalOrder(SymbolProblem):
    """A beginning, an end, and between them X or Y at two places; all else is noise. Which of the four cases was it?

    At the paper's lag, 100, sequences are 100 to 110 long and the places between steps 10 and 20, 50 and 60; at others
    all these are in proportion.

    >>> import torch
    >>> x, target, lengths = TemporalOrder(lag=100).batch(2, torch.Generator().manual_seed(0))
    >>> ["".join("BEabcdXY"[s] for s in column if s > 5) for column in x.T.tolist()], target.tolist()
    (['YY', 'XX'], [3, 0])
    """

    name: ClassVar[str] = "order"
    summary: ClassVar[str] = "which of XX, XY, YX, YY stood among random symbols"
    source: ClassVar[str] = f"{PAPER}, experiment 6a"
    least_lag: ClassVar[int] = 10
    criterion: ClassVar[str] = "every output at the end within 0.3 of what is right"
    within: ClassVar[float] = 0.3
    symbols = 8  # beginning, end, a, b, c, d, X, Y
    outputs = 4
    states = 16  # 7 suffice, and the answers
    places: ClassVar[tuple[tuple[float, float], ...]] = ((0.1, 0.2), (0.5, 0.6))
    _BEGINNING, _END, _NOISE, _FIRST = 0, 1, 2, 6

    def batch(self, size: int, generator: Generator) -> Batch:
        """Sequences, and the number of each one's case: X and Y are the digits 0 and 1, the first place first."""
        lengths = whole_numbers(self.lag, round(1.1 * self.lag), size, generator)
        x = torch.randint(self._NOISE, self._FIRST, (int(lengths.max()), size), generator=generator)
        case = torch.zeros(size, dtype=torch.long)
        for low, high in self.places:
            place = whole_numbers(round(low * self.lag), round(high * self.lag), size, generator)
            which = whole_numbers(0, 1, size, generator)
            x.scatter_(0, place[None], self._FIRST + which[None])
            case = 2 * case + which
        x[0] = self._BEGINNING
        x.scatter_(0, lengths[None] - 1, self._END)
        return Batch(x, case, lengths)


class TemporalOrderOfThree(TemporalOrder):
    """The same with three places and eight cases."""

    name: ClassVar[str] = "order-3"
    summary: ClassVar[str] = "which of XXX … YYY stood among random symbols"
    source: ClassVar[str] = f"{PAPER}, experiment 6b"
    outputs = 8
    states = 32
    places: ClassVar[tuple[tuple[float, float], ...]] = ((0.1, 0.2), (0.33, 0.43), (0.66, 0.76))
