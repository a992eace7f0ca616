"""Batches of pairs: sources and targets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from holdfast.data.pairs import TextPairs

from ..lengths import drawn

Array = np.ndarray[Any, Any]


class Batch(NamedTuple):
    """Pairs side by side.

    Attributes:
        source: tokens, (S, B); past a length 0.
        lengths: of the sources, (B,).
        before: each target after an end, (T, B).
        after: each target with the end after it, (T, B).
        there: where those are, (T, B).
    """

    source: Tensor
    lengths: Tensor
    before: Tensor
    after: Tensor
    there: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(tensor.to(device) for tensor in self))


def side_by_side(sources: Sequence[Array], targets: Sequence[Array], end: int) -> Batch:
    """A batch of pairs of tokens; the number of the end is that of no token."""
    lengths = torch.tensor([len(each) + 1 for each in targets])
    before = sources_together([np.concatenate([[end], each]) for each in targets])[0]
    after, _ = sources_together([np.concatenate([each, [end]]) for each in targets])
    source, source_lengths = sources_together(sources)
    return Batch(source, source_lengths, before, after, torch.arange(len(before))[:, None] < lengths)


def sources_together(sources: Sequence[Array]) -> tuple[Tensor, Tensor]:
    """Sequences side by side, (S, B), and their lengths, (B,).

    >>> sources_together([np.array([3, 1]), np.array([2])])[0].tolist()
    [[3, 2], [1, 0]]
    """
    found = [torch.from_numpy(np.asarray(each, np.int64)) for each in sources]
    return torch.nn.utils.rnn.pad_sequence(found), torch.tensor([len(each) for each in found])


class Epoch(Sequence[Batch]):
    """The batches of an epoch, made when they are asked for; each process takes its own columns.

    Args:
        part: what is learned from.
        which: the pairs of it that are, (S,).
        end: the token that ends a target.
        batch_size: for each process.
        seed: of the order.
        rank, size: of this process.
    """

    def __init__(
        self, part: TextPairs, which: Array, end: int, batch_size: int, seed: int, rank: int = 0, size: int = 1
    ) -> None:
        self._part, self._end = part, end
        # By the sum: from batches of targets of one length, which have less padding, a model learns slower.
        ours, theirs = part.lengths
        rows = which[drawn((ours + theirs)[which], batch_size * size, seed)]
        self._rows = rows[:, rank * batch_size : (rank + 1) * batch_size]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, k: Any) -> Any:
        return batch_of(self._part, self._rows[k], self._end)


def batch_of(part: TextPairs, which: Sequence[int] | Array, end: int) -> Batch:
    """Some pairs side by side."""
    return side_by_side([part.source(int(k)) for k in which], [part.target(int(k)) for k in which], end)


def learnable(part: TextPairs, longest: int) -> Array:
    """Which pairs are not too long on either side, (S,)."""
    ours, theirs = part.lengths
    found: Array = np.flatnonzero(np.maximum(ours, theirs) <= longest)
    return found
