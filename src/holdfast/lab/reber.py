"""The embedded Reber grammar: strings in which the second symbol must be remembered until the last but one."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .problem import Batch, Problem, inside
from .symbols import PAPER

LETTERS = "BTPSXVE"
# The inner grammar: from each state, the letters that may come and where they lead; 7 is its end.
_INNER: dict[int, list[tuple[str, int]]] = {
    0: [("B", 1)],
    1: [("T", 2), ("P", 3)],
    2: [("S", 2), ("X", 4)],
    3: [("T", 3), ("V", 5)],
    4: [("X", 3), ("S", 6)],
    5: [("P", 4), ("V", 6)],
    6: [("E", 7)],
    7: [],
}


class EmbeddedReber(Problem):
    """Strings of the grammar; at each step the letters that may come next are asked for.

    A string is B, then T or P, then a string of the inner grammar, then the same T or P, then E. As in the paper, there
    are 256 strings to learn from and 256 others to be judged by, and all of both must be right.

    >>> import torch
    >>> problem = EmbeddedReber()
    >>> problem.prepare(torch.Generator().manual_seed(0))
    >>> text = "".join(LETTERS[k] for k in problem.strings[0][0].tolist())
    >>> text[1] == text[-2], text[0] + text[-1]
    (True, 'BE')
    """

    name: ClassVar[str] = "reber"
    summary: ClassVar[str] = "the letters that may come next in strings of the embedded Reber grammar"
    source: ClassVar[str] = f"{PAPER}, experiment 1"
    default_lag: ClassVar[int] = 0
    least_lag: ClassVar[int] = 0
    measure: ClassVar[str] = "nats"
    strings_each: ClassVar[int] = 256
    checked: ClassVar[int] = 2 * strings_each
    criterion: ClassVar[str] = "at every step all letters that may come get more than any other"
    symbols = outputs = len(LETTERS)
    at_end = False
    states = 32

    def __init__(self, lag: int | None = None) -> None:
        super().__init__(lag)
        if self.lag:
            raise ValueError(f"the lag of the task {self.name} follows from its strings; got {self.lag}")
        self.strings: list[tuple[Tensor, Tensor]] = []  # each with the letters that may follow, (T, 7) bool

    @property
    def guessing(self) -> float:
        """The mean entropy of a step of who knows the grammar and forgets the second letter; about."""
        return 0.55

    def prepare(self, generator: Generator) -> None:
        """Draw different strings, the first half to learn from."""
        found: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        while len(found) < 2 * self.strings_each:
            letters, allowed = _string(generator)
            found.setdefault(tuple(letters), (torch.tensor(letters), torch.tensor(allowed)))
        self.strings = list(found.values())

    def batch(self, size: int, generator: Generator) -> Batch:
        """Strings to learn from."""
        return self._together(torch.randint(self.strings_each, (size,), generator=generator).tolist())

    def fresh(self, size: int, generator: Generator) -> Batch:
        """All strings, those to learn from and the others."""
        return self._together(range(len(self.strings)))

    def _together(self, numbers: list[int] | range) -> Batch:
        """Strings without their last letter, and for each step the letter that came and those that might have."""
        letters = pad_sequence([self.strings[k][0] for k in numbers])  # (T, B)
        allowed = pad_sequence([self.strings[k][1] for k in numbers])  # (T, B, 7)
        lengths = torch.tensor([len(self.strings[k][0]) - 1 for k in numbers])
        target = torch.cat([letters[1:, :, None], allowed[:-1].long()], -1)  # (T - 1, B, 8)
        return Batch(letters[:-1], target, lengths)

    def last_answers(self, batch: Batch) -> Tensor:
        """E, always."""
        return torch.full_like(batch.lengths, LETTERS.index("E"))

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy of the letters that came."""
        counts = inside(batch)
        return F.cross_entropy(answer[counts], batch.target[..., 0][counts])

    def errors(self, answer: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy of each string, a step."""
        counts = inside(batch)
        each = F.cross_entropy(answer.flatten(0, 1), batch.target[..., 0].flatten(), reduction="none")
        return each.view(counts.shape).masked_fill(~counts, 0.0).sum(0) / batch.lengths

    def correct(self, answer: Tensor, batch: Batch) -> Tensor:
        """Whether at every step all letters that may come get more than any other."""
        allowed = batch.target[..., 1:].bool()
        least = answer.masked_fill(~allowed, torch.inf).amin(-1)
        most = answer.masked_fill(allowed, -torch.inf).amax(-1)
        return ((least > most) | ~inside(batch)).all(0)


def _string(generator: Generator) -> tuple[list[int], list[list[bool]]]:
    """A string, and after each of its letters those that may follow."""

    def coin() -> int:
        return int(torch.randint(2, (), generator=generator))

    outer = "TP"[coin()]
    text, allowed, state = "B" + outer, ["TP", "B"], 0
    while _INNER[state]:
        ways = _INNER[state]
        letter, state = ways[coin() if len(ways) > 1 else 0]
        text += letter
        allowed.append("".join(way for way, _ in _INNER[state]) or outer)
    text += outer + "E"
    allowed += ["E", ""]
    return [LETTERS.index(c) for c in text], [[c in after for c in LETTERS] for after in allowed]
