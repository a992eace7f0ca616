"""What a run back over a sequence gives."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Gradients:
    """The gradients of everything a run reads that can have one.

    Attributes:
        x: (T, B, I), or None if it was not wanted.
        state: one a state.
        home: one a state, or empty.
        weights: one a learned tensor.
    """

    x: Tensor | None
    state: list[Tensor]
    home: list[Tensor]
    weights: list[Tensor]
