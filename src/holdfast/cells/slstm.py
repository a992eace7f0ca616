"""The sLSTM: exponential gates with a normaliser and a stabiliser (Beck et al., xLSTM, 2024)."""

from __future__ import annotations

from holdfast.language import Cell, exp, layer_norm, maximum, minimum, parameter, softplus, where
from holdfast.language.cell import Gates, States
from holdfast.language.symbols import Value

from .options import ACTIVATIONS, GATE_ACTIVATIONS, checked

# kept - m exceeds 0 only while n = 0, where m follows the input gate alone; there is no past then to be weighted, but
# its weight must stay finite: exp(80) is, in float32.
OVERFLOW = 80.0


class SLSTM(Cell):
    """The sLSTM cell: the memory is a weighted mean of the candidates, with weights that may grow exponentially.

    The true memory is c·exp(m) and the true normaliser n·exp(m). Keeping the stabiliser m apart changes no result and
    avoids overflow. While nothing is remembered yet (n = 0), m starts from the input gate.

    With layer norm, the quotient c / n is normalised: c alone has no scale of its own.

    Args:
        forget_gate: "sigmoid" or "exp", the two forms of the paper.
        gate_activation: the squashing of the output gate.
        activation: the squashing of the candidate.
    """

    gates = ("i", "f", "g", "o")
    states = ("h", "c", "n", "m")
    shows = {"g": "g"}  # also where activation="identity"

    def __init__(
        self, forget_gate: str = "sigmoid", gate_activation: str = "sigmoid", activation: str = "tanh"
    ) -> None:
        self.forget_gate = checked("forget_gate", forget_gate, {"sigmoid": None, "exp": None})
        self.gate_activation = checked("gate_activation", gate_activation, GATE_ACTIVATIONS)
        self.activation = checked("activation", activation, ACTIVATIONS)

    def step(self, gate: Gates, state: States) -> tuple[Value, Value, Value, Value]:
        gated, squash = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        log_f = gate.f if self.forget_gate == "exp" else -softplus(-gate.f)
        log_i = gate.i
        kept = log_f + state.m
        m = where(state.n == 0, log_i, maximum(kept, log_i))  # the stabiliser
        i = exp(log_i - m)  # the candidate's weight
        f = exp(minimum(kept - m, OVERFLOW))  # the past's weight
        g = squash(gate.g)  # the candidate
        o = gated(gate.o)  # how much to show
        c = f * state.c + i * g  # the weighted sum
        n = f * state.n + i  # the sum of the weights
        shown = c / n
        if self.layer_norm:
            shown = layer_norm(shown, parameter("weight_ln_c", initial=1), parameter("bias_ln_c", initial=0))
        h = o * shown
        return h, c, n, m
