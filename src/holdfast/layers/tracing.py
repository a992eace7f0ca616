"""What a traced call returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

State = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class LayerTrace:
    """What one layer did in one direction.

    Attributes:
        name: "l0", "l0_reverse", "l1" …
        gates: each gate at every step, by name; laid out like the layer's output.
        states: each state at every step, by name; laid out like the layer's output.
    """

    name: str
    gates: dict[str, Tensor]
    states: dict[str, Tensor]


@dataclass(frozen=True)
class Trace:
    """What a layer did, differentiable.

    Attributes:
        output: the output of the call.
        state: the final state of the call.
        layers: one record for each layer and direction, in PyTorch's order.
    """

    output: Tensor
    state: State
    layers: list[LayerTrace]
