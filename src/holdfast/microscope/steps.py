"""Every value of every step, as the cell's equations and its diagram name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from holdfast.language import Program
from holdfast.language.operations import OPERATIONS
from holdfast.layers.showing import series_of, show_steps

from .recording import prepared, recorded, recurrent_layers

_NEW = {*OPERATIONS, "project", "input"}  # what is computed in a step; states before it and weights are not


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
        return {name: node for name, node in found.items() if node in self.values and program.nodes[node].op in _NEW}

    def shares(self) -> dict[str, int]:
        """The named values that are shares by definition: what a sigmoid gives, and what is left of it."""
        return {name: node for name, node in self.named().items() if self._is_share(node)}

    def _is_share(self, node: int) -> bool:
        nodes = self.program.nodes
        op, args = nodes[node].op, nodes[node].args
        if op == "sub":  # 1 - another share
            return nodes[args[0]].op == "const" and float(nodes[args[0]].label) == 1 and self._is_share(args[1])
        return op in ("sigmoid", "hard_sigmoid")

    def keeping(self) -> str:
        """The gate that says what share of a state is kept: state = gate ⊙ state before + …; empty if there is none."""
        nodes = self.program.nodes
        gates = {node: name for name, node in self.shares().items()}
        for state, result in zip(self.program.states, self.program.results):
            total = nodes[result].args[0] if nodes[result].op == "clip" else result
            for term in nodes[total].args if nodes[total].op == "add" else ():
                factors = nodes[term].args if nodes[term].op == "mul" else ()
                if any((nodes[k].op, nodes[k].label) == ("state", state) for k in factors):
                    return next((gates[k] for k in factors if k in gates), "")
        return ""


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
