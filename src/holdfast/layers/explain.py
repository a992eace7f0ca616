"""What a layer computes and what will run it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from holdfast.engines import llvm, operator
from holdfast.engines.choose import STEPWISE, Choice, choose
from holdfast.language import equations, latex

from .options import autocast_dtype, autocast_is_on
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
    >>> print(holdfast.explain(holdfast.RNN(3, 5)))  # doctest: +ELLIPSIS
    RNN(3, 5)
    <BLANKLINE>
      h[t] = tanh(W_h x[t] + U_h h[t-1] + b_h)
    <BLANKLINE>
    parameters  50
    engine      llvm: compiled for this machine from the equations above (...)

    Args:
        layer: one of our layers, or single-step cells.
        x: an input it is to be run on: the choice of engine depends on its device and dtype, and on whether it is a
            PackedSequence. Without it those of the weights count.

    Raises:
        NotImplementedError: the layer asks for an engine by name that cannot serve such a call.
    """
    if not isinstance(layer, Recurrent | RecurrentCell):
        raise TypeError(
            f"layer must be a holdfast layer, got {type(layer).__name__}; holdfast.convert turns PyTorch's into ours"
        )
    if x is not None and not isinstance(x, Tensor | PackedSequence):
        raise TypeError(f"x must be a tensor or a PackedSequence, got {type(x).__name__}")
    program = layer.program
    engine, reason = _choice(layer, program.text(), x)
    return Explanation(
        layer=repr(layer),
        equations=equations(program),
        latex=latex(program),
        parameters=sum(p.numel() for p in layer.parameters()),
        engine=engine,
        reason=reason,
        program=program.text(),
    )


def _choice(layer: Recurrent | RecurrentCell, program: str, x: Tensor | PackedSequence | None) -> Choice:
    """The engine for a call, and the reason with what was compiled."""
    like = next(layer.parameters()) if x is None else x.data if isinstance(x, PackedSequence) else x
    dtype = autocast_dtype(like) if autocast_is_on(like.device) else like.dtype
    engine, reason = choose(layer.engine, program, like.device, dtype, lengths=isinstance(x, PackedSequence))
    if operator.differentiates():
        why = "no fused kernel goes through a transform of torch.func that differentiates, or through forward mode"
        return Choice("reference", f"{STEPWISE}; {why}")
    if engine == "llvm":
        reason = f"{reason} ({llvm.describe()})"
    return Choice(engine, reason)
