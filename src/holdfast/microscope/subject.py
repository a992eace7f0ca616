"""What is looked at: a model, one input, and how the input reads to a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .horizon import Horizon, memory_horizon
from .recording import MicroscopeError


@dataclass(frozen=True)
class Subject:
    """A model and one sequence.

    Attributes:
        title: what it is.
        model: any module with recurrent layers.
        inputs: what it is called with, a batch of one.
        pieces: the text of each step, where the input is text.
        values: the numbers of each step, (T, C), where it is numbers.
        columns: the names of those numbers.
        horizon: the memory horizon of what the model says at a step; None where there is none.
        guesses: from what the model returned to the likeliest next pieces of each step, with their probabilities.
        other: the same model on other text; None where it cannot be typed.
        note: what a reader must know of the input.
    """

    title: str
    model: nn.Module
    inputs: tuple[Any, ...]
    pieces: Sequence[str] = ()
    values: Tensor | None = None
    columns: Sequence[str] = ()
    horizon: Callable[[int], Horizon] | None = None
    guesses: Callable[[Any], list[list[tuple[str, float]]]] | None = None
    other: Callable[[str], Subject] | None = None
    note: str = ""

    @property
    def steps(self) -> int:
        """How many steps the sequence has."""
        return len(self.pieces) if self.values is None else len(self.values)


def subject_of(
    model: nn.Module,
    x: Tensor,
    columns: Sequence[str] = (),
    read: Callable[[Any], Tensor] | None = None,
    title: str = "",
) -> Subject:
    """Any model on one sequence of numbers.

    >>> import torch, holdfast
    >>> subject = subject_of(holdfast.LSTM(2, 5), torch.randn(30, 1, 2), ["speed", "height"])
    >>> subject.steps, subject.values.shape
    (30, torch.Size([30, 2]))

    Args:
        model: any module with recurrent layers.
        x: what it is called with: one sequence, (T, 1, C), (1, T, C) or (T, C).
        columns: the names of the C numbers.
        read: from what the model returns to one number, for the memory horizon at a step, to which the sequence is
            cut; without it there is none.
        title: what it is; by default the name of the model's class.

    Raises:
        MicroscopeError: x is not one sequence of numbers, or has another number of columns.
    """
    if not isinstance(x, Tensor) or x.dim() not in (2, 3) or not x.is_floating_point():
        raise MicroscopeError(f"x must be a tensor of numbers, (T, 1, C); got {_described(x)}")
    if x.dim() == 3 and 1 not in x.shape[:2]:
        raise MicroscopeError(f"x must be one sequence; got a batch of {_described(x)}")
    time = 1 if x.dim() == 3 and x.shape[0] == 1 and x.shape[1] != 1 else 0
    values = (x if x.dim() == 2 else x.squeeze(1 - time)).detach()  # (T, C)
    names = list(columns) or [str(k) for k in range(values.shape[1])]
    if len(names) != values.shape[1]:
        raise MicroscopeError(f"columns must name the {values.shape[1]} numbers of a step; got {len(names)}")

    def horizon(step: int) -> Horizon:
        assert read is not None
        return memory_horizon(model, x.narrow(time, 0, step + 1), read=read)

    return Subject(
        title or type(model).__name__, model, (x,), values=values, columns=names, horizon=horizon if read else None
    )


def _described(x: Any) -> str:
    return f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
