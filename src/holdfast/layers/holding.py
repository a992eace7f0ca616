"""Holding a gate or a state of some units of a layer: what an experiment on a trained layer needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from holdfast.language.holding import FREE, HELD, holding_name

from .recurrent import Recurrent


@torch.no_grad()
def hold(layer: Recurrent, place: str, name: str, value: float, units: Sequence[int] | None = None) -> None:
    """Hold a gate or a state of one layer and direction at a value, in place: all that reads it reads that value.

    >>> import holdfast
    >>> layer = holdfast.LSTM(3, 4)
    >>> hold(layer, "l0", "f", 1.0, units=[2])
    >>> layer.trace(torch.randn(5, 1, 3)).layers[0].gates["f"][:, 0, 2]
    tensor([1., 1., 1., 1., 1.], grad_fn=<SelectBackward0>)

    Args:
        layer: the layer; what is held stays held when an option of it is set.
        place: "l0", "l0_reverse", "l1" …
        name: of the gate, state or other value that the cell's equations name.
        value: what it is held at.
        units: which units; by default all.

    Raises:
        ValueError: there is no such place, value or unit.
    """
    suffixes = [suffix.removeprefix("_") for suffix in layer._suffixes]
    if place not in suffixes:
        raise ValueError(f"there is no layer {place!r}; there are {', '.join(suffixes)}")
    wanted = range(layer.hidden_size) if units is None else units
    wrong = [unit for unit in wanted if not 0 <= unit < layer.hidden_size]
    if wrong:
        raise ValueError(f"units must be from 0 to {layer.hidden_size - 1}; got {wrong[0]}")
    layer._make_holdable(name)
    for suffix, weights in zip(layer._suffixes, layer._all_weights):
        own = f"{holding_name(name)}{suffix}"
        if own in weights:
            continue
        like = getattr(layer, weights[0])
        rows = torch.stack([like.new_ones(layer.hidden_size), like.new_zeros(layer.hidden_size)])  # free, held
        layer.register_parameter(own, nn.Parameter(rows, requires_grad=False))
        weights.append(own)
    rows = layer.get_parameter(f"{holding_name(name)}_{place}")
    for row, number in ((FREE, 0.0), (HELD, value)):
        rows[(FREE, HELD).index(row), list(wanted)] = number
