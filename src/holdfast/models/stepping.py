"""A model's layers one step at a time: by compiled streams on the CPU, by whole calls of one step elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from holdfast.layers import Recurrent
from holdfast.layers.tracing import State


class Steps(Protocol):
    """A layer that runs one time step at a time and remembers its state."""

    state: State

    def step(self, x: Tensor, /) -> Tensor:
        """The output, (B, H), of a step, (B, I)."""

    def reset(self, rows: Sequence[int] | Tensor | None = None, /) -> None:
        """Return to the first state, of some sequences or of all."""


def steps_of(layer: Recurrent, batch_size: int) -> Steps:
    """What runs a layer one step at a time, where the layer is.

    >>> import holdfast
    >>> steps_of(holdfast.LSTM(3, 5), 2).step(torch.zeros(2, 3)).shape
    torch.Size([2, 5])
    """
    if next(layer.parameters()).device.type == "cpu":
        return cast(Steps, layer.stream(batch_size))
    return _Called(layer, batch_size)


class _Called:
    """A layer that is called with one step at a time, in evaluation, without gradients."""

    def __init__(self, layer: Recurrent, batch_size: int) -> None:
        if layer.bidirectional:
            raise ValueError("a bidirectional layer cannot stream: its second direction begins at the end")
        self._layer, self._batch_size = layer, batch_size
        self._device = next(layer.parameters()).device
        self._state: State | None = None
        self._begins = torch.ones(batch_size, dtype=torch.bool, device=self._device)  # the sequences that begin anew

    @torch.no_grad()
    def step(self, x: Tensor) -> Tensor:
        layer, training = self._layer, self._layer.training
        layer.eval()
        try:
            output, self._state = layer(x[None], self._state, reset=self._begins[None])
        finally:
            layer.train(training)
        self._begins = torch.zeros_like(self._begins)
        found: Tensor = output[0]
        return found

    @property
    def state(self) -> State:
        if self._state is None:
            raise ValueError("there is no state before the first step")
        return self._state

    @state.setter
    def state(self, value: State) -> None:
        self._state = value.to(self._device) if isinstance(value, Tensor) else tuple(v.to(self._device) for v in value)
        self._begins = torch.zeros_like(self._begins)

    def reset(self, rows: Sequence[int] | Tensor | None = None) -> None:
        if rows is None:
            self._state = None
            self._begins = torch.ones(self._batch_size, dtype=torch.bool, device=self._device)
        else:
            self._begins[torch.as_tensor(rows, device=self._device)] = True
