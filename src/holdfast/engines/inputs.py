"""What a run over one sequence is given, in one direction of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.language import Program

from . import parameters


class Inputs(NamedTuple):
    """Everything a run reads.

    Attributes:
        x: the input, (T, B, I).
        state: the state before the first step, one tensor a state, each (B, H); h is (B, P) under a projection.
        home: the state that a reset returns to, one (H,) a state; empty for zeros.
        weights: the learned tensors, in the order of `parameters.specs`.
        masks: the drawn masks, in the program's order: (T, B, H), or (B, H) for one that holds all along.
        lengths: the length of each sequence, (B,), on x's device; None if all are T long.
        reset: (T, B) bool: whether a boundary lies before that step; None for no boundary.
        reverse: whether time runs backwards.
    """

    x: Tensor
    state: Sequence[Tensor]
    home: Sequence[Tensor]
    weights: Sequence[Tensor]
    masks: Sequence[Tensor]
    lengths: Tensor | None
    reset: Tensor | None
    reverse: bool

    def named_weights(self, program: Program) -> dict[str, Tensor]:
        """The learned tensors by name."""
        return dict(zip(parameters.names(program), self.weights))

    def alive(self) -> Tensor | None:
        """(T, B) bool: which steps belong to their sequence; None if all do."""
        if self.lengths is None:
            return None
        steps = torch.arange(self.x.shape[0], device=self.x.device)
        return steps.unsqueeze(1) < self.lengths.unsqueeze(0)

    def boundaries(self) -> Tensor | None:
        """(T, B) bool: before which steps, in the order of the run, the state returns home; never in padding."""
        if self.reset is None:
            return None
        alive = self.alive()
        reset = self.reset if alive is None else self.reset & alive
        if self.reverse:  # the boundary between t-1 and t is crossed on the way to t-1
            reset = torch.cat([reset[1:], torch.zeros_like(reset[:1])])
        return reset


def check_lengths(lengths: Tensor | None, steps: int) -> None:
    """Refuse lengths that do not fit, whatever transform wraps them.

    On a GPU the check is made there, without waiting for it.
    """
    if lengths is None:
        return
    while torch._C._functorch.is_functorch_wrapped_tensor(lengths):
        lengths = torch._C._functorch.get_unwrapped(lengths)
    right = (lengths >= 0) & (lengths <= steps)
    if lengths.device.type == "cpu":
        if not bool(right.all()):
            wrong = lengths[~right].tolist()
            raise ValueError(
                f"lengths must lie between 0 and the number of steps, {steps}; got {wrong[0]}"
                + (f" and {len(wrong) - 1} more that do not" if len(wrong) > 1 else "")
            )
    else:
        torch._assert_async(right.all(), f"lengths must lie between 0 and the number of steps, {steps}")
