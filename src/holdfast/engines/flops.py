"""How many floating-point operations the registered operators count for, in `torch.utils.flop_counter`.

Counted are the matrix products, two operations for each multiplication and addition, as PyTorch counts its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.flop_counter import flop_registry, register_flop_formula

from holdfast.language import parse

from . import parameters

# T steps, B sequences.
_Shape = Sequence[int]


def _products(x: _Shape, weights: Sequence[_Shape], text: str) -> tuple[int, int]:
    """The operations of W x over all steps, and those of all other products."""
    program = parse(text)
    sizes = dict(zip(parameters.names(program), weights))
    steps, batch = x[0], x[1]

    def cost(name: str) -> int:
        rows, depth = sizes[name]
        return 2 * steps * batch * rows * depth

    others = [weight.name for weight in program.weights] + (["weight_hr"] if program.projection else [])
    return cost("weight_ih"), sum(map(cost, others))


@register_flop_formula(torch.ops.holdfast.recurrence)
def _forward(
    x: _Shape,
    state: Any,
    home: Any,
    weights: Sequence[_Shape],
    masks: Any,
    lengths: Any,
    reset: Any,
    program: str,
    *settings: Any,
    out_shape: Any = None,
    **named: Any,
) -> int:
    return sum(_products(x, weights, program))


@register_flop_formula(torch.ops.holdfast.recurrence_backward)
def _backward(
    gradients: Any,
    given: Any,
    x: _Shape,
    state: Any,
    home: Any,
    weights: Sequence[_Shape],
    masks: Any,
    lengths: Any,
    reset: Any,
    saved: Any,
    program: str,
    engine: str,
    reverse: bool,
    trace: bool,
    need_x: bool,
    *,
    out_shape: Any = None,
    **named: Any,
) -> int:
    """Each product has two derivatives, by the weight and by what it multiplies."""
    along, others = _products(x, weights, program)
    again = along + others if parse(program).recompute else 0
    return along * (1 + need_x) + 2 * others + again


_FORMULAS = {
    operator: flop_registry[operator]
    for operator in (torch.ops.holdfast.recurrence, torch.ops.holdfast.recurrence_backward)
}


def teach_counters() -> None:
    """Give the formulas to the counters at work, which copied PyTorch's registry when they were made."""
    for mode in _get_current_dispatch_mode_stack():
        counter: Any = getattr(mode, "counter", None)
        if hasattr(counter, "flop_registry"):
            counter.flop_registry = _FORMULAS | counter.flop_registry
