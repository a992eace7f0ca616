"""What single units are like over a recording: how long they keep, how often gates are shut, whether they live."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.layers import LayerTrace

from .recording import MicroscopeError

LOW, HIGH = 0.1, 0.9  # beyond these a gate counts as shut or open
STILL = 1e-3  # a unit whose h never moves by more is dead
NORMALISING = "n"  # the state of an sLSTM by which its memory is divided
KEEPING = ("f", "z")  # the gates that say how much of a state is kept, of an LSTM and of a GRU


@dataclass(frozen=True)
class Saturation:
    """How often a gate was shut or open.

    Attributes:
        low: the share of steps at which it was under 0.1, for each unit, (H,).
        high: the share at which it was over 0.9.
    """

    low: Tensor
    high: Tensor


def time_constants(seen: LayerTrace, gate: str = "") -> Tensor:
    """How many steps each unit keeps its memory: -1 / ln f, f the geometric mean of its forget gate, (H,).

    After so many steps a part 1/e of the memory is left.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> layer = holdfast.LSTM(3, 4)
    >>> with torch.no_grad():
    ...     for name, weight in layer.named_parameters():
    ...         _ = weight.zero_()
    ...     _ = layer.bias_ih_l0[4:8].fill_(3.0)
    >>> seen = microscope.record(layer, torch.randn(7, 2, 3))
    >>> f = torch.sigmoid(torch.tensor(3.0))
    >>> torch.allclose(time_constants(seen["l0"]).float(), -1 / f.log())
    True

    Args:
        seen: a layer of a recording.
        gate: the gate that says how much is kept; by default f, or a GRU's z.
    """
    wanted = gate or keeping_gate(seen)
    if wanted not in seen.gates:
        raise MicroscopeError(f"a gate that keeps is needed; there are {', '.join(seen.gates) or 'none'}")
    lost = -seen.gates[wanted].double().log().mean((0, 1))
    return torch.where(lost == 0, torch.inf, 1 / lost)  # 1 / -0.0 would be -inf


def keeping_gate(seen: LayerTrace) -> str:
    """The gate that says how much of a state is kept; empty if the layer has none.

    The f of an sLSTM is none: it is rescaled at every step, and the memory is divided by another state that f acts on.
    """
    if NORMALISING in seen.states:
        return ""
    return next((name for name in KEEPING if name in seen.gates), "")


def saturation(seen: LayerTrace) -> dict[str, Saturation]:
    """How often each gate of each unit was shut or open, by the gate's name; what leaves 0 … 1 is no gate.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> seen = microscope.record(holdfast.LSTM(3, 4), torch.randn(7, 2, 3))
    >>> sorted(saturation(seen["l0"])), saturation(seen["l0"])["f"].low.shape
    (['f', 'i', 'o'], torch.Size([4]))
    """
    return {
        name: Saturation((gate < LOW).double().mean((0, 1)), (gate > HIGH).double().mean((0, 1)))
        for name, gate in seen.gates.items()
        if gate.min() >= 0 and gate.max() <= 1
    }


def dead_units(seen: LayerTrace) -> list[int]:
    """The units whose output hardly ever changes.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> layer = holdfast.LSTM(3, 4)
    >>> with torch.no_grad():
    ...     _ = layer.bias_ih_l0[12 + 2].fill_(-100.0)  # the output gate of unit 2
    >>> dead_units(microscope.record(layer, torch.randn(7, 2, 3))["l0"])
    [2]
    """
    h = next(iter(seen.states.values()))
    moved = h.amax((0, 1)) - h.amin((0, 1))
    return (moved < STILL).nonzero().flatten().tolist()
