"""Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 1999)."""

from __future__ import annotations

from holdfast.language import Cell, clip, layer_norm, parameter
from holdfast.language.cell import Gates, States
from holdfast.language.symbols import Value

from .options import ACTIVATIONS, GATE_ACTIVATIONS, checked, flag


class LSTM(Cell):
    """The LSTM cell and its classic options.

    Args:
        peephole: the gates see the memory: i and f the old one, o the new one (Gers 2002).
        coupled: what is not written is kept: f = 1 - i (Greff 2015).
        cell_clip: a bound on the memory, or None.
        gate_activation: the squashing of the gates i, f, o.
        activation: the squashing of the candidate and of the memory that is shown.
    """

    states = ("h", "c")
    shows = {"g": "g"}  # also where activation="identity"

    def __init__(
        self,
        peephole: bool = False,
        coupled: bool = False,
        cell_clip: float | None = None,
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
    ) -> None:
        if cell_clip is not None and (isinstance(cell_clip, bool | str) or not cell_clip > 0):
            raise ValueError(f"cell_clip must be a positive number or None, got {cell_clip!r}")
        self.peephole = flag("peephole", peephole)
        self.coupled = flag("coupled", coupled)
        self.cell_clip = cell_clip
        self.gate_activation = checked("gate_activation", gate_activation, GATE_ACTIVATIONS)
        self.activation = checked("activation", activation, ACTIVATIONS)
        self.gates = ("i", "g", "o") if coupled else ("i", "f", "g", "o")

    @property
    def shown(self) -> tuple[str, ...]:
        return ("i", "f", "g", "o")

    def step(self, gate: Gates, state: States) -> tuple[Value, Value]:
        gated, squash = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        if self.peephole:
            p = parameter("weight_ch", "io" if self.coupled else "ifo")

        i = gated(gate.i + p.i * state.c if self.peephole else gate.i)  # how much of the candidate to write
        if self.coupled:
            f = 1 - i  # how much of the memory to keep
        else:
            f = gated(gate.f + p.f * state.c if self.peephole else gate.f)
        g = squash(gate.g)  # the candidate
        c = f * state.c + i * g  # the memory
        if self.cell_clip is not None:
            c = clip(c, -self.cell_clip, self.cell_clip)
        o = gated(gate.o + p.o * c if self.peephole else gate.o)  # how much of the memory to show
        shown = c
        if self.layer_norm:
            shown = layer_norm(c, parameter("weight_ln_c", initial=1), parameter("bias_ln_c", initial=0))
        h = o * squash(shown)
        return h, c
