"""Batches of ragged sequences."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from holdfast.data import Sequences

from ..lengths import drawn, in_order

Array = np.ndarray[Any, Any]

_STEPS = 1 << 15  # that are read at a time, where there is nothing to learn


class Batch(NamedTuple):
    """Sequences side by side.

    Attributes:
        x: tokens (T, B), or series (T, B, C); 0 past a length.
        lengths: (B,).
        said: of each its class or its number, (B,).
    """

    x: Tensor
    lengths: Tensor
    said: Tensor


def shortened(sequence: Array, longest: int) -> Array:
    """At most so many steps: of a longer sequence its first and its last half.

    >>> shortened(np.arange(10), 5).tolist()
    [0, 1, 7, 8, 9]
    """
    if len(sequence) <= longest:
        return sequence
    head = longest // 2
    return np.concatenate([sequence[:head], sequence[len(sequence) - (longest - head) :]])


def side_by_side(some: Several[Array], said: Array, longest: int) -> Batch:
    """A batch of sequences."""
    cut = [shortened(each, longest) for each in some]
    lengths = np.array([len(each) for each in cut])
    series = cut[0].ndim == 2
    shape = (lengths.max(), len(cut), *cut[0].shape[1:])
    x = np.zeros(shape, np.float32 if series else np.int64)  # (T, B, …)
    for column, each in enumerate(cut):
        x[: len(each), column] = each
    return Batch(torch.from_numpy(x), torch.from_numpy(lengths), torch.from_numpy(np.asarray(said)))


class Epoch(Several[Batch]):
    """The batches of an epoch, made when they are asked for; each process takes its own columns.

    Args:
        data: what is learned from.
        batch_size: for each process.
        longest: steps that are read of a sequence.
        seed: of the order.
        rank, size: of this process.
    """

    def __init__(self, data: Sequences, batch_size: int, longest: int, seed: int, rank: int = 0, size: int = 1) -> None:
        self.data, self.longest = data, longest
        rows = drawn(np.minimum(data.lengths, longest), batch_size * size, seed)
        self.rows = rows[:, rank * batch_size : (rank + 1) * batch_size]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: Any) -> Any:
        which = self.rows[k]
        return side_by_side([self.data.of(i) for i in which], self.data.said[which], self.longest)


def read_together(data: Sequences, longest: int) -> list[Array]:
    """All sequences once, those of like length together, as many as are read at a time where nothing is learned."""
    return in_order(np.minimum(data.lengths, longest), _STEPS)
