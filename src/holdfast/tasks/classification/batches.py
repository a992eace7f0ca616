"""Batches of ragged sequences, those of like length together."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from holdfast.data import Sequences

Array = np.ndarray[Any, Any]

_POOL = 50  # batches, of whose sequences those of like length come together


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
        whole = batch_size * size
        draw = np.random.default_rng(seed)
        order = draw.permutation(len(data))
        if len(order) < whole:  # fewer than a batch: some stand in it more than once
            order = np.resize(order, whole)
        order = order[: len(order) // whole * whole]
        lengths = np.minimum(data.lengths, longest)
        pools = [order[k : k + _POOL * whole] for k in range(0, len(order), _POOL * whole)]
        rows = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")].reshape(-1, whole) for pool in pools])
        self.rows = draw.permutation(rows)[:, rank * batch_size : (rank + 1) * batch_size]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: Any) -> Any:
        which = self.rows[k]
        return side_by_side([self.data.of(i) for i in which], self.data.said[which], self.longest)


def in_order(data: Sequences, longest: int, tokens: int = 1 << 15) -> list[Array]:
    """All sequences once, those of like length together, as many at a time as have about so many steps."""
    lengths = np.minimum(data.lengths, longest)
    order = np.argsort(lengths, kind="stable")
    found, begin = [], 0
    for k in range(1, len(order) + 1):
        if k == len(order) or (k + 1 - begin) * lengths[order[k]] > tokens:
            found.append(order[begin:k])
            begin = k
    return found
