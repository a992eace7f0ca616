"""The gated recurrent unit (Cho 2014)."""

from __future__ import annotations

from holdfast.language import Cell, recur
from holdfast.language.cell import Gates, States
from holdfast.language.symbols import Value

from .options import ACTIVATIONS, GATE_ACTIVATIONS, checked, flag


class GRU(Cell):
    """The GRU cell.

    Args:
        reset_after: where the reset gate acts: on the recurrent product U h (PyTorch, cuDNN), or, if False, on h before
            the product (the original).
        gate_activation: the squashing of the gates r and z.
        activation: the squashing of the candidate.
    """

    gates = ("r", "z", "n")
    states = ("h",)
    shows = {"n": "n"}  # also where activation="identity"

    def __init__(self, reset_after: bool = True, gate_activation: str = "sigmoid", activation: str = "tanh") -> None:
        self.reset_after = flag("reset_after", reset_after)
        self.gate_activation = checked("gate_activation", gate_activation, GATE_ACTIVATIONS)
        self.activation = checked("activation", activation, ACTIVATIONS)

    def step(self, gate: Gates, state: States) -> Value:
        gated, squash = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        r = gated(gate.r)  # how much of the past the candidate sees
        z = gated(gate.z)  # how much of the past to keep
        if self.reset_after:
            n = squash(gate.n.input + r * gate.n.recurrent)  # the candidate
        else:
            n = squash(gate.n.input + recur(gate.n, r * state.h))
        h = (1 - z) * n + z * state.h
        return h
