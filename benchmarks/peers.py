"""The same layer twice: ours and PyTorch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import holdfast

from .shapes import Shape

CELLS: dict[str, tuple[type[holdfast.Recurrent], type[nn.RNNBase]]] = {
    "LSTM": (holdfast.LSTM, nn.LSTM),
    "GRU": (holdfast.GRU, nn.GRU),
    "RNN": (holdfast.RNN, nn.RNN),
}


def theirs(cell: str, shape: Shape) -> nn.RNNBase:
    """PyTorch's layer."""
    kind: Any = CELLS[cell][1]
    layer: nn.RNNBase = kind(shape.inputs, shape.hidden)
    return layer


def ours(cell: str, shape: Shape, engine: str, like: nn.Module | None = None, **options: Any) -> holdfast.Recurrent:
    """Our layer, with another one's weights."""
    kind: Any = CELLS[cell][0]
    layer: holdfast.Recurrent = kind(shape.inputs, shape.hidden, engine=engine, **options)
    if like is not None:
        layer.load_state_dict(like.state_dict())
    return layer


def drawn_input(shape: Shape, requires_grad: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """An input, and a gradient that arrives at the output."""
    x = torch.randn(shape.steps, shape.batch, shape.inputs, requires_grad=requires_grad)
    return x, torch.randn(shape.steps, shape.batch, shape.hidden)
