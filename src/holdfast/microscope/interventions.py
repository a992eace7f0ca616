"""Interventions: hold a gate or a unit, and see what becomes of the output."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from holdfast.layers.holding import hold

from .recording import MicroscopeError, prepared, recurrent_layers


def clamp(model: nn.Module, layer: str, name: str, value: float, units: Sequence[int] | None = None) -> nn.Module:
    """A copy of a model, in evaluation, in which a gate or state of some units is held at a value.

    Nothing else is changed: what the value would have been is still computed, and nobody reads it. The copy is a model
    like any other: it can be clamped again, recorded, evaluated.

    >>> import torch, holdfast
    >>> from holdfast import microscope
    >>> layer, x = holdfast.LSTM(3, 4), torch.randn(9, 2, 3)
    >>> keeping = clamp(clamp(layer, "l0", "f", 1.0), "l0", "i", 0.0)  # keeps what it has, and takes nothing in
    >>> bool((microscope.record(keeping, x)["l0"].states["c"] == 0).all())
    True

    Args:
        model: any module with recurrent layers, ours or PyTorch's.
        layer: its place, as in a recording: "rnn.l0", "encoder.l1_reverse", or "l0" where the model is the layer.
        name: a gate, a state, or another value that the cell's equations name: "f", "c".
        value: what it is held at.
        units: the numbers of the units; by default all.

    Raises:
        MicroscopeError: there is no such layer, value or unit.
    """
    ours = prepared(model)
    module, _, place = layer.rpartition(".")
    known = dict(recurrent_layers(ours))
    if module not in known:
        places = [".".join(filter(None, (name, suffix[1:]))) for name, one in known.items() for suffix in one._suffixes]
        raise MicroscopeError(f"there is no layer {layer!r}; there are {', '.join(places)}")
    try:
        hold(known[module], place, name, value, units)
    except ValueError as error:
        raise MicroscopeError(str(error)) from None
    return ours
