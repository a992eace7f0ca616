"""The two calls of a layer that are timed: inference, and a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import holdfast

Run = Callable[[], Any]  # gives the output, or several tensors of which the output is the first
Call = Callable[[], list[Tensor]]


def call(layer: nn.Module, x: Tensor, gradient: Tensor, run: Run | None = None) -> Call:
    """What is timed of a layer: in training mode a training step, in evaluation mode inference.

    Args:
        layer: ours or PyTorch's.
        x: the input; if it requires a gradient, a training step yields it.
        gradient: what arrives at the output.
        run: what is called; by default the layer, with x.
    """

    def plain() -> Tensor:
        output: Tensor = layer(x)[0]
        return output

    if not layer.training:
        return inference(run or plain)
    return training(run or plain, [*([x] if x.requires_grad else []), *layer.parameters()], gradient)


def inference(run: Run) -> Call:
    """What a run gives, in inference mode."""

    def called() -> list[Tensor]:
        with torch.inference_mode():
            return _listed(run())

    return called


def training(run: Run, leaves: Sequence[Tensor], gradient: Tensor) -> Call:
    """What a run gives, and the gradients of leaves, for a gradient that arrives at the output."""

    def called() -> list[Tensor]:
        results = _listed(run())
        gradients = torch.autograd.grad(results[0], leaves, gradient)
        return [*(r.detach() for r in results), *gradients]

    return called


def _listed(results: Tensor | list[Tensor]) -> list[Tensor]:
    return results if isinstance(results, list) else [results]


def engine_of(layer: holdfast.Recurrent, x: Tensor) -> str:
    """The engine that a call takes, in training or in inference as the layer's mode says."""
    with torch.inference_mode(not layer.training):
        return holdfast.explain(layer, x).engine


def phase_of(training: bool) -> str:
    """What a row is called.

    >>> phase_of(True)
    'training'
    """
    return "training" if training else "inference"
