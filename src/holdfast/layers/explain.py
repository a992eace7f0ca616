"""What a layer computes and what will run it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from holdfast.engines import operator
from holdfast.engines.choose import choose
from holdfast.language import equations, latex

from .recurrent import Recurrent
from .single import RecurrentCell


@dataclass(frozen=True)
class Explanation:
    """What `explain` found; printed, it is a page to read.

    Attributes:
        layer: the layer as it prints itself.
        equations: the step's equations as text, one a line.
        latex: the same in LaTeX.
        parameters: how many numbers the layer learns.
        engine: the engine that will run.
        reason: why that one.
        program: the traced step as text: what the engine is given.
    """

    layer: str
    equations: list[str]
    latex: str
    parameters: int
    engine: str
    reason: str
    program: str

    def __str__(self) -> str:
        lines = [self.layer, "", *(f"  {line}" for line in self.equations), ""]
        lines.append(f"parameters  {self.parameters:,}")
        lines.append(f"engine      {self.engine}: {self.reason}")
        return "\n".join(lines)

    def _repr_latex_(self) -> str:
        """The equations typeset, in a notebook."""
        return f"$${self.latex}$$"


def explain(layer: Recurrent | RecurrentCell, x: Tensor | PackedSequence | None = None) -> Explanation:
    """A layer's equations, its number of parameters, and the engine that will run it, with the reason.

    >>> import holdfast
    >>> print(holdfast.explain(holdfast.RNN(3, 5)))
    RNN(3, 5)
    <BLANKLINE>
      h[t] = tanh(W_h x[t] + U_h h[t-1] + b_h)
    <BLANKLINE>
    parameters  50
    engine      reference: PyTorch operations, step by step: the only engine there is so far

    Args:
        layer: one of our layers, or single-step cells.
        x: an input it is to be run on, where the choice of engine may depend on it.
    """
    if not isinstance(layer, Recurrent | RecurrentCell):
        raise TypeError(
            f"layer must be a holdfast layer, got {type(layer).__name__}; holdfast.convert turns PyTorch's into ours"
        )
    if x is not None and not isinstance(x, Tensor | PackedSequence):
        raise TypeError(f"x must be a tensor or a PackedSequence, got {type(x).__name__}")
    program = layer.program
    engine, reason = choose(layer.engine)
    if operator.differentiates():
        engine, reason = "reference", "under a transform of torch.func or forward mode, which no operator goes through"
    return Explanation(
        layer=repr(layer),
        equations=equations(program),
        latex=latex(program),
        parameters=sum(p.numel() for p in layer.parameters()),
        engine=engine,
        reason=reason,
        program=program.text(),
    )
