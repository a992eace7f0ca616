"""Showing every value of a step: what a look at a single step needs."""

from __future__ import annotations

from dataclasses import replace

from holdfast.language import Program, parse
from holdfast.language.outline import outline

from .recurrent import Recurrent


def series_of(node: int) -> str:
    """What the series of a node of the program is called in a trace."""
    return f"_{node}"


def show_steps(layer: Recurrent) -> Program:
    """Let the traces of a layer, in evaluation, show every value that its cell's diagram has, in place of the gates.

    >>> import torch, holdfast
    >>> layer = holdfast.GRU(3, 5).eval()
    >>> program = show_steps(layer)
    >>> z = dict(program.names)["z"]
    >>> layer.trace(torch.randn(7, 2, 3)).layers[0].gates[series_of(z)].shape
    torch.Size([7, 2, 5])

    Args:
        layer: the layer, which is changed; make a copy of one that is to go on as it is.

    Returns:
        The program whose nodes the series are named by.
    """
    program = parse(layer._texts[False, True])
    widths = program.widths
    shown = [box.node for box in outline(program) if widths[box.node] == "units"]
    program = replace(program, shown=tuple((series_of(node), node) for node in shown))
    layer._texts[False, True] = program.text()
    layer._shown = tuple(name for name, _ in program.shown)
    return program
