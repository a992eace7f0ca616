"""The plain recurrent network (Elman 1990)."""

from __future__ import annotations

from holdfast.language import Cell
from holdfast.language.cell import Gates, States
from holdfast.language.symbols import Value

from .options import ACTIVATIONS, checked


class RNN(Cell):
    """h = tanh(W x + U h + b), or another activation."""

    gates = ("h",)
    states = ("h",)
    shows = {"h": "h"}  # also where activation="identity"

    def __init__(self, activation: str = "tanh") -> None:
        self.activation = checked("activation", activation, ACTIVATIONS)

    def step(self, gate: Gates, state: States) -> Value:
        squash = ACTIVATIONS[self.activation]
        h = squash(gate.h)
        return h
