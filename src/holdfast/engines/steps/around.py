"""What every engine that runs steps does around them, in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from holdfast.language import Program
from holdfast.language.program import Group


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
