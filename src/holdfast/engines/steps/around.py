"""What every engine that runs steps does around them, in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from holdfast.language import Program
from holdfast.language.program import Group

STEPS_AGAIN, ROWS_AGAIN = 16, 256  # of a span that is run again for its way back: the least of each


def steps_again(batch: int) -> Any:
    """Steps of a span that is run again: few, for all that they leave is in memory, but rows enough for a product.

    The batch may be a symbol, while a program is traced.
    """
    return torch.sym_max(STEPS_AGAIN, ROWS_AGAIN // torch.sym_max(1, batch))


def rows_of(low: Program, group: Group) -> list[int]:
    """Which of the gates of its weight a group multiplies."""
    order = next(w.gates for w in low.weights if w.name == group.weight)
    return [order.index(gate) for gate in group.gates]


def input_bias(program: Program, joined: frozenset[str], weights: Mapping[str, Tensor]) -> Tensor | None:
    """b_ih, and b_hh with it where a gate's two parts are used only as their sum."""
    bias = weights.get("bias_ih")
    if bias is None or not joined:
        return bias
    if len(joined) == len(program.gates):
        return bias + weights["bias_hh"]
    hidden = len(bias) // len(program.gates)
    pairs = zip(program.gates, bias.split(hidden), weights["bias_hh"].split(hidden))
    return torch.cat([own + other if gate in joined else own for gate, own, other in pairs])
