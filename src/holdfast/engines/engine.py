"""What every engine offers, and the door to it: an engine reads only tensors that were looked at before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from holdfast.language import Program

from .gradients import Gradients
from .inputs import Inputs
from .tensors import Signature, checked, checked_gradients, checked_saved


class Engine(Protocol):
    """What an engine offers; its results share no memory with what it was given."""

    def forward(
        self, signature: Signature, inputs: Inputs, trace: bool, save: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The visible results and what is saved."""

    def backward(
        self,
        signature: Signature,
        inputs: Inputs,
        saved: Sequence[Tensor],
        output: Tensor | None,
        final: Sequence[Tensor | None],
        traced: Sequence[Tensor | None],
        trace: bool,
        need_x: bool,
    ) -> Gradients:
        """The gradients of what was given."""

    def saved_shapes(self, program: Program, inputs: Inputs, trace: bool) -> list[tuple[tuple[Any, ...], Any]]:
        """Shape and dtype of each tensor that `forward` saves for `backward`."""


class Checked:
    """An engine behind its door: kernels know addresses only, so no tensor gets to one unseen.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.saved_shapes = engine.saved_shapes

    def forward(self, program: Program, inputs: Inputs, trace: bool, save: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The engine's."""
        return self._engine.forward(*checked(program, inputs), trace, save)

    def backward(
        self,
        program: Program,
        inputs: Inputs,
        saved: Sequence[Tensor],
        output: Tensor | None,
        final: Sequence[Tensor | None],
        traced: Sequence[Tensor | None],
        trace: bool,
        need_x: bool,
    ) -> Gradients:
        """The engine's."""
        signature, inputs = checked(program, inputs)
        kinds = signature.saved.get((self, trace))
        if kinds is None:
            shapes = self.saved_shapes(program, inputs, trace)
            kinds = signature.saved[self, trace] = [signature.kind(tuple(shape), dtype) for shape, dtype in shapes]
        saved = checked_saved(saved, kinds)
        output, final, traced = checked_gradients(signature, output, final, traced, trace)
        return self._engine.backward(signature, inputs, saved, output, final, traced, trace, need_x)
