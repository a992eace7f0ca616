"""The two calls of a layer that are timed: inference, and a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import holdfast

Run = Callable[[], Any]  # gives the output, or several tensors of which the output is the first
Call = Callable[[], list[Tensor]]


def inference(run: Run) -> Call:
    """What a run gives, in inference mode."""

    def call() -> list[Tensor]:
        with torch.inference_mode():
            return _listed(run())

    return call


def training(run: Run, leaves: Sequence[Tensor], gradient: Tensor) -> Call:
    """What a run gives, and the gradients of leaves, for a gradient that arrives at the output."""

    def call() -> list[Tensor]:
        results = _listed(run())
        gradients = torch.autograd.grad(results[0], leaves, gradient)
        return [*(r.detach() for r in results), *gradients]

    return call


def _listed(results: Tensor | list[Tensor]) -> list[Tensor]:
    return results if isinstance(results, list) else [results]


def engine_of(layer: holdfast.Recurrent, x: Tensor, training: bool) -> str:
    """The engine that a call takes."""
    with torch.inference_mode(not training):
        return holdfast.explain(layer, x).engine
