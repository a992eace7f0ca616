"""Batches of music: parts of pieces side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from holdfast.data.music import Pieces

from ..lengths import drawn, in_order
from .forms import Form

Array = np.ndarray[Any, Any]

_STEPS = 8192  # with their padding, that are measured at a time


class Batch(NamedTuple):
    """Parts of pieces side by side.

    Attributes:
        before: what stands one place before, (T, B, …).
        after: what comes, (T, B, …).
        there: where a part has not ended, (T, B).
    """

    before: Tensor
    after: Tensor
    there: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(tensor.to(device) for tensor in self))

    def blocks(self) -> Iterator[Batch]:
        """The same in parts that follow each other in time, each of which can be measured at once."""
        steps = max(1, _STEPS // self.there.shape[1])
        yield from (Batch(*parts) for parts in zip(*(tensor.split(steps) for tensor in self)))


def batch_of(form: Form, parts: Sequence[tuple[Array, int, int]]) -> Batch:
    """Parts side by side: each is a piece, where it begins and where it ends."""
    lengths = torch.tensor([end - begin for _, begin, end in parts])
    before = form.together([form.before(*part) for part in parts])
    after = form.together([piece[begin:end] for piece, begin, end in parts])
    return Batch(before, after, torch.arange(len(after))[:, None] < lengths)


def windows(lengths: Array, longest: int, draw: np.random.Generator) -> Array:
    """Parts of pieces that are no longer than so much and cover all of them, (S, 3): the piece, its begin and end.

    A piece that is longer is cut at places that are drawn.

    >>> windows(np.array([3, 2]), 4, np.random.default_rng(0)).tolist()
    [[0, 0, 3], [1, 0, 2]]
    """
    found = []
    for k, length in enumerate(lengths.tolist()):
        first = longest if length <= longest else int(draw.integers(1, longest + 1))
        cuts = [0, *range(first, length, longest), length]
        found += [(k, begin, end) for begin, end in pairwise(cuts)]
    return np.array(found, np.int64).reshape(-1, 3)


class Epoch(Sequence[Batch]):
    """The batches of an epoch, made when they are asked for; each process takes its own columns.

    Args:
        form: of the pieces.
        part: what is learned from.
        longest: steps of a window.
        batch_size: for each process.
        transpose: semitones by which a window is moved at most.
        seed: of the cuts, the order and the semitones.
        rank, size: of this process.
    """

    def __init__(
        self,
        form: Form,
        part: Pieces,
        longest: int,
        batch_size: int,
        transpose: int,
        seed: int,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self._form, self._part, self._transpose, self._seed = form, part, transpose, seed
        self._windows = windows(part.lengths, longest, np.random.default_rng(seed))
        rows = drawn(self._windows[:, 2] - self._windows[:, 1], batch_size * size, seed)
        self._rows = rows[:, rank * batch_size : (rank + 1) * batch_size]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, k: Any) -> Any:
        return batch_of(self._form, [self._moved(int(row)) for row in self._rows[k]])

    def _moved(self, row: int) -> tuple[Array, int, int]:
        """A window, moved by as many semitones as its draw says, or as many of them as there is room for."""
        number, begin, end = self._windows[row].tolist()
        first = max(0, begin - 1)  # with what stands before
        piece = self._part.of(number)[first:end]
        by = int(np.random.default_rng([self._seed, row]).integers(-self._transpose, self._transpose + 1))
        down, up = self._form.room(piece)
        moved = self._form.transposed(piece, min(up, max(-down, by)))
        return moved, begin - first, end - first


def in_batches(form: Form, part: Pieces, which: Array) -> Iterator[tuple[Array, Batch]]:
    """Whole pieces, those of like length side by side; with their numbers."""
    for some in in_order(part.lengths[which], _STEPS):
        pieces = [part.of(int(k)) for k in which[some]]
        yield which[some], batch_of(form, [(piece, 0, len(piece)) for piece in pieces])
