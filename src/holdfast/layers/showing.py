"""Showing every value of a step: what a look at a single step needs."""

from __future__ import annotations

from holdfast.language import Program, parse
from holdfast.language.outline import series_of

from .recurrent import Recurrent

__all__ = ["series_of", "show_steps"]


def show_steps(layer: Recurrent) -> Program:
    """Let the traces of a layer show every value that its cell's diagram has, in place of the gates.

    >>> import torch, holdfast
    >>> layer = holdfast.GRU(3, 5).eval()
    >>> program = show_steps(layer)
    >>> z = dict(program.names)["z"]
    >>> layer.trace(torch.randn(7, 2, 3)).layers[0].gates[series_of(z)].shape
    torch.Size([7, 2, 5])

    Args:
        layer: the layer, which is changed; make a copy of one that is to go on as it is.

    Returns:
        The program in evaluation, whose nodes the series are named by. An option that is set later may change it.
    """
    layer._show_every_value()
    return parse(layer._texts[False, True])
