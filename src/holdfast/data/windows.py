"""Batches for truncated back-propagation: a stream of tokens, cut into lanes that run side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .sources import DataError


class Windows:
    """One epoch of training: lanes of equal length, cut into windows that follow each other in each lane.

    Column b of a window continues column b of the window before, so that the state can be carried on. Every token of a
    lane but its first is a target exactly once. The tokens that do not fill a lane are left out, fewer than `batch` at
    the end and `offset` at the start.

    >>> import numpy as np
    >>> windows = Windows(np.arange(10), batch=2, steps=3)
    >>> [inputs.T.tolist() for inputs, targets in windows]
    [[[0, 1, 2], [5, 6, 7]], [[3], [8]]]

    Args:
        ids: the tokens, (N,); a memory map is read only where a window lies.
        batch: B, how many lanes.
        steps: T, the length of a window; the last one is shorter where it does not divide.
        offset: where the first lane begins, from 0 to steps - 1: another one in each epoch gives other windows.

    Raises:
        DataError: there are too few tokens for one window at any offset, or an argument is out of range.
    """

    def __init__(self, ids: np.ndarray[Any, Any], batch: int, steps: int, offset: int = 0) -> None:
        _positive(batch=batch, steps=steps)
        if not 0 <= offset < steps:
            raise DataError(f"offset must lie from 0 to {steps - 1} (steps - 1), got {offset}")
        # The same whatever the offset: a text that does for the first epoch does for all.
        needed = batch * (steps + 1) + steps - 1
        if len(ids) < needed:
            raise DataError(
                f"the text has {len(ids):,} tokens, but windows of {steps} steps in {batch} lanes need {needed:,}: "
                "give more text, or a smaller batch_size or window"
            )
        length = (len(ids) - offset) // batch
        # asarray: a plain view of a memory map, whose own slices cost several times as much
        self._lanes = np.asarray(ids)[offset : offset + batch * length].reshape(batch, length)
        self._steps = steps

    def __len__(self) -> int:
        return -(-(self._lanes.shape[1] - 1) // self._steps)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        """Window k: the inputs and the targets, both (T, B), int64."""
        if not -len(self) <= k < len(self):
            raise IndexError(f"window {k} of {len(self)}")
        start = (k % len(self)) * self._steps
        block = self._lanes[:, start : start + self._steps + 1].T  # (T + 1, B)
        return _tensor(block[:-1]), _tensor(block[1:])


def evaluation_windows(ids: np.ndarray[Any, Any], batch: int, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Windows for evaluation, in which every token but the very first is a target exactly once.

    The lanes' lengths differ by at most one; where a lane has ended, the weight is 0. Column b of a window continues
    column b of the window before. The first target of a lane is predicted from one token alone, so fewer lanes measure
    better, and more run faster.

    >>> import numpy as np
    >>> for inputs, targets, weights in evaluation_windows(np.arange(6), batch=2, steps=2):
    ...     print(inputs.T.tolist(), targets.T.tolist(), weights.T.tolist())
    [[0, 1], [2, 3]] [[1, 2], [3, 4]] [[1.0, 1.0], [1.0, 1.0]]
    [[2], [4]] [[3], [5]] [[0.0], [1.0]]

    Args:
        ids: the tokens, (N,).
        batch: B, how many lanes.
        steps: T, the length of a window; the last one is shorter where it does not divide.

    Yields:
        Inputs and targets, (T, B), int64, and the targets' weights, (T, B), float32: 1, or 0 for padding.

    Raises:
        DataError: there are fewer than two tokens, or an argument is out of range.
    """
    _positive(batch=batch, steps=steps)
    if len(ids) < 2:
        raise DataError(f"the text has {len(ids)} tokens, but an evaluation needs 2: one to start from, one to predict")
    return _evaluated(np.asarray(ids), batch, steps)


def _evaluated(ids: np.ndarray[Any, Any], batch: int, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    last = len(ids) - 1
    borders = np.arange(batch + 1) * last // batch  # lane b predicts the tokens after borders[b] … borders[b + 1] - 1
    lengths = np.diff(borders)  # (B,)
    longest = int(lengths[-1])  # borders are rounded down, so no lane is longer than the last, and none leaves the text
    for start in range(0, longest, steps):
        step = np.arange(start, min(start + steps, longest))[:, None]  # (T, 1)
        at = borders[:-1] + step  # (T, B)
        yield _tensor(ids[at]), _tensor(ids[at + 1]), torch.from_numpy((step < lengths).astype(np.float32))


def _tensor(block: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.array(block, dtype=np.int64, order="C"))  # (T, B)


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise DataError(f"{name} must be a whole number above 0, got {size!r}")
