"""What a layer computes and what will run it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from holdfast.engines import llvm, operator, triton
from holdfast.engines.choose import STEPWISE, Choice, choose
from holdfast.language import equations, latex

from .options import autocast_dtype, autocast_is_on
from .recurrent import Recurrent
from .single import RecurrentCell
from .stream import Stream

NOISE_STEPS = 200  # on which a stream is tried


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
        deviation: of a stream with int8 weights, how far its outputs lie from those with the layer's own: the largest
            difference as a share of the largest output. Otherwise None.
    """

    layer: str
    equations: list[str]
    latex: str
    parameters: int
    engine: str
    reason: str
    program: str
    deviation: float | None = None

    def __str__(self) -> str:
        lines = [self.layer, "", *(f"  {line}" for line in self.equations), ""]
        lines.append(f"parameters  {self.parameters:,}")
        lines.append(f"engine      {self.engine}: {self.reason}")
        return "\n".join(lines)

    def _repr_latex_(self) -> str:
        """The equations typeset, in a notebook."""
        return f"$${self.latex}$$"


def explain(layer: Recurrent | RecurrentCell | Stream, x: Tensor | PackedSequence | None = None) -> Explanation:
    """A layer's equations, its number of parameters, and the engine that will run it, with the reason.

    Of a stream with int8 weights it says, too, how far that takes its outputs from the layer's own.

    >>> import holdfast
    >>> print(holdfast.explain(holdfast.RNN(3, 5)))  # doctest: +ELLIPSIS
    RNN(3, 5)
    <BLANKLINE>
      h[t] = tanh(W_h x[t] + U_h h[t-1] + b_h)
    <BLANKLINE>
    parameters  50
    engine      llvm: compiled for this machine from the equations above (...)

    Args:
        layer: one of our layers, or single-step cells, or a stream.
        x: an input it is to be run on: the choice of engine depends on its device and dtype, and on whether it is a
            PackedSequence. Without it those of the weights count. For a stream with int8 weights, what both kinds of
            weight are tried on, (T, B, I); without it, noise.

    Raises:
        NotImplementedError: the layer asks for an engine by name that cannot serve such a call.
    """
    if isinstance(layer, Stream):
        return _of_stream(layer, x)
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


def _of_stream(stream: Stream, x: Tensor | PackedSequence | None) -> Explanation:
    """What a stream computes; with int8 weights, on what is given or on noise, how far it is from the exact one."""
    found = explain(stream.layer)
    reason = f"one step at a time, all layers in one call ({llvm.vectors()}, 1 thread)"
    if not stream.int8:
        return replace(found, layer=repr(stream), engine="llvm", reason=reason)
    on = f"{NOISE_STEPS} steps of noise" if x is None else "what was given"
    if x is None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(NOISE_STEPS, 1, stream.layer.input_size, generator=generator)
    if not isinstance(x, Tensor) or x.dim() != 3:
        raise ValueError("x must be a tensor (T, B, I) to try a stream with int8 weights on")
    exact, coarse = (
        torch.stack([tried.step(row) for row in x.float()])
        for tried in (stream.layer.stream(x.shape[1], int8=int8) for int8 in (False, True))
    )
    deviation = ((exact - coarse).abs().max() / exact.abs().max()).item()
    reason += f"; weights in int8, a scale a row: over {on} its outputs are off by up to {deviation:.2%} of the largest"
    return replace(found, layer=repr(stream), engine="llvm", reason=reason, deviation=deviation)


def _choice(layer: Recurrent | RecurrentCell, program: str, x: Tensor | PackedSequence | None) -> Choice:
    """The engine for a call, and the reason with what was compiled."""
    like = next(layer.parameters()) if x is None else x.data if isinstance(x, PackedSequence) else x
    dtype = autocast_dtype(like) if autocast_is_on(like.device) else like.dtype
    ragged = isinstance(x, PackedSequence)
    engine, reason = choose(layer.engine, program, like.device, dtype, layer.hidden_size, lengths=ragged)
    if operator.differentiates():
        why = "no fused kernel goes through a transform of torch.func that differentiates, or through forward mode"
        return Choice("reference", f"{STEPWISE}; {why}")
    if engine == "llvm":
        reason = f"{reason} ({llvm.describe(dtype)})"
    if engine == "triton":
        reason = f"{reason} ({triton.describe()})"
    return Choice(engine, reason)
