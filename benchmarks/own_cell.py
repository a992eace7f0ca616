"""A user's own cell of the size of an LSTM."""

from __future__ import annotations

import holdfast
from holdfast.language import Value, sigmoid, tanh
from holdfast.language.cell import Gates, States


class MovingAverage(holdfast.Cell):
    """Four gates and a memory like an LSTM's, but the memory is a moving average, and h may keep what it was."""

    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def step(self, gate: Gates, state: States) -> tuple[Value, Value]:
        """The equations."""
        i = sigmoid(gate.i)  # how much of the candidate counts
        f = sigmoid(gate.f)  # how slowly the memory moves
        g = tanh(gate.g)  # the candidate
        o = sigmoid(gate.o)  # how much of the memory to show, in place of what was shown
        c = f * state.c + (1 - f) * i * g
        h = o * tanh(c) + (1 - o) * state.h
        return h, c
