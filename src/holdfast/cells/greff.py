"""The eight variants of "LSTM: A Search Space Odyssey" (Greff et al. 2015), each one change away from the LSTM with
peepholes, which that paper calls vanilla."""

from __future__ import annotations

from holdfast.language import Cell, parameter, recur, sigmoid, tanh
from holdfast.language.cell import Gates, States
from holdfast.language.symbols import Value

from .lstm import LSTM


class NIG(Cell):
    """No input gate: i = 1."""

    gates = ("f", "g", "o")
    states = ("h", "c")

    def step(self, gate: Gates, state: States) -> tuple[Value, Value]:
        p = parameter("weight_ch", "fo")
        f = sigmoid(gate.f + p.f * state.c)
        g = tanh(gate.g)
        c = f * state.c + g
        o = sigmoid(gate.o + p.o * c)
        h = o * tanh(c)
        return h, c


class NFG(Cell):
    """No forget gate: f = 1, the LSTM of 1997."""

    gates = ("i", "g", "o")
    states = ("h", "c")

    def step(self, gate: Gates, state: States) -> tuple[Value, Value]:
        p = parameter("weight_ch", "io")
        i = sigmoid(gate.i + p.i * state.c)
        g = tanh(gate.g)
        c = state.c + i * g
        o = sigmoid(gate.o + p.o * c)
        h = o * tanh(c)
        return h, c


class NOG(Cell):
    """No output gate: o = 1."""

    gates = ("i", "f", "g")
    states = ("h", "c")

    def step(self, gate: Gates, state: States) -> tuple[Value, Value]:
        p = parameter("weight_ch", "if")
        i = sigmoid(gate.i + p.i * state.c)
        f = sigmoid(gate.f + p.f * state.c)
        g = tanh(gate.g)
        c = f * state.c + i * g
        h = tanh(c)
        return h, c


class _Peephole(Cell):
    """The vanilla LSTM, with room for another squashing of the candidate and of the memory that is shown."""

    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def squash_candidate(self, x: Value) -> Value:
        return tanh(x)

    def squash_memory(self, c: Value) -> Value:
        return tanh(c)

    def step(self, gate: Gates, state: States) -> tuple[Value, Value]:
        p = parameter("weight_ch", "ifo")
        i = sigmoid(gate.i + p.i * state.c)
        f = sigmoid(gate.f + p.f * state.c)
        g = self.squash_candidate(gate.g)
        c = f * state.c + i * g
        o = sigmoid(gate.o + p.o * c)
        h = o * self.squash_memory(c)
        return h, c


class NIAF(_Peephole):
    """No input activation function: g = W x + U h + b."""

    shows = {"g": "g"}

    def squash_candidate(self, x: Value) -> Value:
        return x


class NOAF(_Peephole):
    """No output activation function: h = o ⊙ c."""

    def squash_memory(self, c: Value) -> Value:
        return c


class NP(LSTM):
    """No peepholes: the LSTM that everybody uses today."""

    def __init__(self) -> None:
        super().__init__(peephole=False)


class CIFG(LSTM):
    """Coupled input and forget gate: f = 1 - i, with peepholes."""

    def __init__(self) -> None:
        super().__init__(peephole=True, coupled=True)


class FGR(Cell):
    """Full gate recurrence: each gate also sees all gates of the step before, through nine more weights."""

    gates = ("i", "f", "g", "o")
    states = ("h", "c", "i", "f", "o")

    def step(self, gate: Gates, state: States) -> tuple[Value, ...]:
        p = parameter("weight_ch", "ifo")

        def past(name: str) -> Value:
            return (
                recur(name, state.i, "weight_gi")
                + recur(name, state.f, "weight_gf")
                + recur(name, state.o, "weight_go")
            )

        i = sigmoid(gate.i + p.i * state.c + past("i"))
        f = sigmoid(gate.f + p.f * state.c + past("f"))
        g = tanh(gate.g)
        c = f * state.c + i * g
        o = sigmoid(gate.o + p.o * c + past("o"))
        h = o * tanh(c)
        return h, c, i, f, o
