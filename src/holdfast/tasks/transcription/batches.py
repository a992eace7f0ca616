"""Batches of recordings: their frames side by side, and what is said in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from holdfast.data.audio import Mel, Recordings, disturbed

from ..lengths import drawn

Array = np.ndarray[Any, Any]


class Batch(NamedTuple):
    """Recordings side by side.

    Attributes:
        frames: (T, B, C); 0 past a length.
        lengths: of the frames, (B,).
        said: the numbers of the symbols, from 1 on, (B, S); 0 past a length.
        said_lengths: (B,).
    """

    frames: Tensor
    lengths: Tensor
    said: Tensor
    said_lengths: Tensor


def side_by_side(frames: Sequence[Tensor], said: Sequence[Sequence[int]]) -> Batch:
    """A batch of recordings, whose frames are (T, C) each."""
    return Batch(
        torch.nn.utils.rnn.pad_sequence(list(frames)),  # (T, B, C)
        torch.tensor([len(each) for each in frames]),
        torch.nn.utils.rnn.pad_sequence([torch.tensor([*each], dtype=torch.int64) for each in said], batch_first=True),
        torch.tensor([len(each) for each in said]),
    )


def numbers_of(text: str, numbers: Mapping[str, int]) -> list[int]:
    """The numbers of the symbols of a text."""
    return [numbers[symbol] for symbol in text]


class Epoch(Sequence[Batch]):
    """The batches of an epoch, made when they are asked for; each process takes its own columns.

    Args:
        data: what is learned from.
        which: the recordings of it that are, (S,).
        mel: makes frames of sound.
        symbols: which there are.
        batch_size: for each process.
        seed: of the order, and of what is changed.
        augment: whether recordings are changed a little.
        rank, size: of this process.
    """

    def __init__(
        self,
        data: Recordings,
        which: Array,
        mel: Mel,
        symbols: Sequence[str],
        batch_size: int,
        seed: int,
        augment: bool,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self._data, self._mel, self._seed, self._augment = data, mel, seed, augment
        self._numbers = {symbol: k for k, symbol in enumerate(symbols, 1)}
        rows = which[drawn(data.lengths[which], batch_size * size, seed)]
        self._rows = rows[:, rank * batch_size : (rank + 1) * batch_size]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, k: Any) -> Any:
        which = self._rows[k]
        frames = [self._frames(int(i)) for i in which]
        return side_by_side(frames, [numbers_of(self._data.text(i), self._numbers) for i in which])

    def _frames(self, k: int) -> Tensor:
        samples = self._data.of(k)
        if self._augment:
            samples = disturbed(samples, np.random.default_rng([self._seed, k]))
        return self._mel(torch.from_numpy(samples))
