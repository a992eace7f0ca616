"""Every value of every step, as the cell's equations and its diagram name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from holdfast.language import Program
from holdfast.layers.showing import series_of, show_steps

from .recording import prepared, recorded, recurrent_layers


@dataclass(frozen=True)
class LayerSteps:
    """What one layer computed.

    Attributes:
        program: its traced cell.
        values: by the node of the program, each (T, B, H): states before the step, sums, gates, all between, and the
            new states; an output that is projected has the width of the projection.
    """

    program: Program
    values: dict[int, Tensor]

    def named(self) -> dict[str, int]:
        """The nodes that a reader would ask for first: the states, and then what else the cell's author named."""
        program = self.program
        found = {**dict(zip(program.states, program.results)), **dict(program.names)}
        return {name: node for name, node in found.items() if node in self.values and self._is_new(node)}

    def _is_new(self, node: int) -> bool:
        return self.program.nodes[node].op != "state"


@dataclass(frozen=True)
class Steps:
    """What a model's recurrent layers computed.

    Attributes:
        output: what the model returned.
        layers: by the layer's place in the model.
    """

    output: Any
    layers: dict[str, LayerSteps]


def record_steps(model: nn.Module, *inputs: Any, **named: Any) -> Steps:
    """Run a model in evaluation and keep every value of every step of its recurrent layers.

    >>> import torch, holdfast
    >>> steps = record_steps(holdfast.LSTM(3, 5), torch.randn(7, 1, 3)).layers["l0"]
    >>> nodes = steps.named()
    >>> list(nodes)
    ['h', 'c', 'i', 'f', 'g', 'o']
    >>> steps.values[nodes["c"]].shape
    torch.Size([7, 1, 5])

    Args:
        model: any module with recurrent layers, ours or PyTorch's; it is left as it is.
        inputs, named: what it is called with.
    """
    ours = prepared(model)
    programs = {place: show_steps(layer) for place, layer in recurrent_layers(ours)}
    recording = recorded(ours, *inputs, **named)
    layers = {}
    for name, trace in recording.layers.items():
        program = programs[name.rpartition(".")[0]]
        values = {node: trace.gates[series_of(node)] for _, node in program.shown}
        for state, node in zip(program.states, program.results):
            values[node] = trace.states[state]
        layers[name] = LayerSteps(program, values)
    return Steps(recording.output, layers)
