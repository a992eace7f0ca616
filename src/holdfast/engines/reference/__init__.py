"""The reference engine: a program run step by step in PyTorch operations, on any device.

`run` is differentiable to any order and under every transform of torch.func. `forward` and `backward` do the same for
the registered operator: without recording, and back through the derivative that the language gives. Half-precision
inputs are multiplied in half precision; states and everything between products are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.language import Program

from ..gradients import Gradients
from ..inputs import Inputs
from ..tensors import Signature
from .backward_run import Backward, kept_nodes
from .forward_run import Forward, accumulation_dtype

__all__ = ["backward", "forward", "run", "saved_shapes"]


def run(program: Program, inputs: Inputs, trace: bool) -> list[Tensor]:
    """Run a program over a sequence, differentiably.

    Args:
        program: the traced cell.
        inputs: what it runs on.
        trace: whether the states and the shown values of every step are wanted.

    Returns:
        The output (T, B, P), the final states, and in a trace the states after the first and the shown values, each
        (T, B, H); all series are 0 past a length.
    """
    return _visible_and_kept(program, inputs, trace, [])[0]


def _visible_and_kept(
    program: Program, inputs: Inputs, trace: bool, keep: Sequence[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """What `run` returns, and the values of some nodes at every step."""
    traced = [*program.results[1:], *(index for _, index in program.shown)] if trace else []
    done = Forward(program, inputs).run([*traced, *keep])
    seen = [series.to(inputs.x.dtype) for series in done.kept[: len(traced)]]
    alive = inputs.alive()
    if alive is not None:
        seen = [torch.where(alive.unsqueeze(-1), series, 0) for series in seen]
    # A mask, or a value that is passed on as it came, is in the inputs' dtype.
    kept = [series.to(accumulation_dtype(inputs.x.dtype)) for series in done.kept[len(traced) :]]
    return [done.output, *done.final, *seen], kept


def saved_shapes(program: Program, inputs: Inputs, trace: bool) -> list[tuple[tuple[Any, ...], torch.dtype]]:
    """Shape and dtype of each tensor that `forward` saves for `backward`."""
    if program.recompute:
        return []
    steps, batch = inputs.x.shape[:2]
    hidden = inputs.weights[0].shape[0] // len(program.gates)
    dtype = accumulation_dtype(inputs.x.dtype)
    output = inputs.state[0].shape[-1]
    widths = (output if program.widths[i] == "output" else hidden for i in kept_nodes(program, trace))
    return [((steps, batch, width), dtype) for width in widths]


def forward(signature: Signature, inputs: Inputs, trace: bool, save: bool) -> tuple[list[Tensor], list[Tensor]]:
    """What `run` returns, and what `backward` needs."""
    program = signature.program
    save = save and not program.recompute
    return _visible_and_kept(program, inputs, trace, kept_nodes(program, trace) if save else [])


def backward(
    signature: Signature,
    inputs: Inputs,
    saved: Sequence[Tensor],
    output: Tensor | None,
    final: Sequence[Tensor | None],
    traced: Sequence[Tensor | None],
    trace: bool,
    need_x: bool,
) -> Gradients:
    """Back through a run, by the derivative of its step.

    Args:
        signature: of the run.
        inputs: what the run was given.
        saved: what `forward` saved.
        output: the gradient that arrives at the output, (T, B, P); None for zero, as everywhere here.
        final: the gradients that arrive at the final state.
        traced: the gradients that arrive at the traced values.
        trace: whether values were traced.
        need_x: whether the gradient of x is wanted.
    """
    program = signature.program
    if program.recompute:
        saved = _visible_and_kept(program, inputs, trace, kept_nodes(program, trace))[1]
    return Backward(program, inputs, saved, trace).run(output, final, traced, need_x)
