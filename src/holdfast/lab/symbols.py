"""Symbols to keep through a long time: the second experiment of 1997, and copy memory."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor

from .problem import Batch, SymbolProblem, inside, whole_numbers

MOST_STATES = 256  # of a hidden Markov model: its time grows with their square
PAPER = "Hochreiter and Schmidhuber 1997"


class NoiseFree(SymbolProblem):
    """One of two symbols, then always the same others, then the first symbol again; each next symbol is asked for.

    With p + 1 symbols the sequences are x, a₁ … aₚ₋₁, x and y, a₁ … aₚ₋₁, y.

    >>> import torch
    >>> x, target, lengths = NoiseFree(lag=4).batch(2, torch.Generator().manual_seed(0))
    >>> x.T.tolist(), target.T.tolist()
    ([[4, 0, 1, 2], [4, 0, 1, 2]], [[0, 1, 2, 4], [0, 1, 2, 4]])
    """

    name: ClassVar[str] = "noise-free"
    summary: ClassVar[str] = "predict every next symbol; the last repeats the first, p steps ago"
    source: ClassVar[str] = f"{PAPER}, experiment 2a"
    checked: ClassVar[int] = 10_000
    criterion: ClassVar[str] = "every output at every step within 0.25 of what is right"
    within: ClassVar[float] = 0.25
    at_end = False
    noise = False

    def __init__(self, lag: int | None = None) -> None:
        super().__init__(lag)
        self.symbols = self.outputs = self.lag + 1
        self.states = min(MOST_STATES, 2 * (self.lag + 1) + self.lag // 2)  # 2 (p + 1) suffice to count

    @property
    def guessing(self) -> float:
        """All others are certain, the last is a coin."""
        return math.log(2) / self.lag

    def batch(self, size: int, generator: Generator) -> Batch:
        """Sequences of p symbols, and the p that follow them."""
        p = self.lag
        first = p - 1 + whole_numbers(0, 1, size, generator)  # x is symbol p - 1, y symbol p
        if self.noise:
            middle = torch.randint(p - 1, (p - 1, size), generator=generator)
        else:
            middle = torch.arange(p - 1)[:, None].expand(p - 1, size)
        whole = torch.cat([first[None], middle, first[None]])  # (p + 1, B)
        return Batch(whole[:-1], whole[1:], torch.full((size,), p))


class NoRegularity(NoiseFree):
    """The same with random symbols between: nothing but the last can be predicted, and it alone is judged.

    >>> import torch
    >>> x, target, lengths = NoRegularity(lag=4).batch(1, torch.Generator().manual_seed(0))
    >>> x[0].item() == target[-1].item()
    True
    """

    name: ClassVar[str] = "no-regularity"
    summary: ClassVar[str] = "the same with random symbols between"
    source: ClassVar[str] = f"{PAPER}, experiment 2b"
    criterion: ClassVar[str] = "every output at the last step within 0.25 of what is right"
    noise = True

    @property
    def guessing(self) -> float:
        """A coin at the last step."""
        return math.log(2)

    def judged(self, batch: Batch) -> Tensor:
        """The last step of each."""
        steps = torch.arange(len(batch.x))
        return steps[:, None] == batch.lengths - 1


class Distractors(SymbolProblem):
    """A beginning, one of two symbols, at least q distractors, an end: which of the two was it?

    After the q distractors further ones follow, each with probability 9/10.

    >>> import torch
    >>> x, target, lengths = Distractors(lag=3).batch(2, torch.Generator().manual_seed(0))
    >>> x[0].tolist(), bool((lengths >= 6).all())
    ([1, 1], True)
    """

    name: ClassVar[str] = "distractors"
    summary: ClassVar[str] = "recall one of two symbols, at least q random symbols ago"
    source: ClassVar[str] = f"{PAPER}, experiment 2c"
    checked: ClassVar[int] = 10_000
    criterion: ClassVar[str] = "every output at the end within 0.2 of what is right"
    within: ClassVar[float] = 0.2
    distractors: ClassVar[int] = 50
    outputs = 2
    states = 12  # 7 suffice
    _END, _BEGINNING, _FIRST = 0, 1, 2

    def __init__(self, lag: int | None = None) -> None:
        super().__init__(lag)
        self.symbols = 4 + self.distractors

    def batch(self, size: int, generator: Generator) -> Batch:
        """Sequences, and which of the two each held."""
        more = torch.empty(size).geometric_(0.1, generator=generator).long() - 1  # how many more distractors
        lengths = self.lag + more + 3
        x = torch.randint(4, self.symbols, (int(lengths.max()), size), generator=generator)
        answer = whole_numbers(0, 1, size, generator)
        x[0], x[1] = self._BEGINNING, self._FIRST + answer
        x.scatter_(0, lengths[None] - 1, self._END)
        return Batch(x, answer, lengths)


class CopyMemory(SymbolProblem):
    """Ten symbols of eight, a long blank, a sign, and the ten symbols are asked for in order.

    >>> import torch
    >>> x, target, lengths = CopyMemory(lag=5).batch(1, torch.Generator().manual_seed(0))
    >>> x.shape, bool((x[:10] == target[-10:]).all())
    (torch.Size([25, 1]), True)
    """

    name: ClassVar[str] = "copy"
    summary: ClassVar[str] = "repeat ten symbols after T blank steps"
    source: ClassVar[str] = f"{PAPER}, in the form of Arjovsky et al. 2016"
    least_lag: ClassVar[int] = 1
    criterion: ClassVar[str] = "each of the ten symbols with probability over 0.5"
    within: ClassVar[float] = 0.5
    at_end = False
    symbols, outputs = 10, 8
    states = MOST_STATES
    _KEPT, _BLANK, _SIGN = 10, 8, 9

    def judged(self, batch: Batch) -> Tensor:
        """The last ten steps."""
        return inside(batch) & (torch.arange(len(batch.x))[:, None] >= len(batch.x) - self._KEPT)

    @property
    def alphabet(self) -> int:
        """The symbols, and the eight as answers."""
        return self.symbols + self.outputs

    def spelled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sequences that end in the answers."""
        kept = self.symbols + batch.target[-self._KEPT :]
        return torch.cat([batch.x[: -self._KEPT], kept]), batch.lengths

    def batch(self, size: int, generator: Generator) -> Batch:
        """Sequences, and the ten symbols at their end."""
        kept = torch.randint(8, (self._KEPT, size), generator=generator)
        x = torch.full((self.lag + 2 * self._KEPT, size), self._BLANK)
        x[: self._KEPT] = kept
        x[-self._KEPT - 1] = self._SIGN
        target = torch.zeros_like(x)
        target[-self._KEPT :] = kept
        return Batch(x, target, torch.full((size,), len(x)))


class Parity(SymbolProblem):
    """Bits, of which there may be up to `lag`: is the number of ones odd?

    >>> import torch
    >>> x, target, lengths = Parity(lag=5).batch(3, torch.Generator().manual_seed(0))
    >>> [int(x[:n, k].sum()) % 2 for k, n in enumerate(lengths.tolist())] == target.tolist()
    True
    """

    name: ClassVar[str] = "parity"
    summary: ClassVar[str] = "whether the number of ones among up to T bits is odd"
    source: ClassVar[str] = f"{PAPER}, discussed in section 2"
    default_lag: ClassVar[int] = 50
    least_lag: ClassVar[int] = 1
    criterion: ClassVar[str] = "the right answer with probability over 0.5"
    within: ClassVar[float] = 0.5
    symbols, outputs = 2, 2
    states = 8  # 4 suffice

    def batch(self, size: int, generator: Generator) -> Batch:
        """Bits, and whether they are odd; short sequences are what a long one is learned by."""
        lengths = whole_numbers(1, self.lag, size, generator)
        return self._asked(lengths, generator)

    def fresh(self, size: int, generator: Generator) -> Batch:
        """Sequences of the full length."""
        return self._asked(torch.full((size,), self.lag), generator)

    def _asked(self, lengths: Tensor, generator: Generator) -> Batch:
        x = torch.randint(2, (self.lag, len(lengths)), generator=generator)
        counted = x.masked_fill(torch.arange(self.lag)[:, None] >= lengths, 0)
        return Batch(x, counted.sum(0) % 2, lengths)
