"""The short way for an ordinary eager call: the engine itself, without the registered operator around it.

What the operator's dispatch costs is several times what a short sequence takes. Whatever looks into a call while it
runs (a compiler, a tracer, a transform, a dispatch mode, a tensor subclass) is given the operator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from holdfast.language import Program

from .gradients import Gradients
from .inputs import Inputs


class Engine(Protocol):
    """What an engine offers for a run without the operator: its results share no memory with what it was given."""

    def forward(self, program: Program, inputs: Inputs, trace: bool, save: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The visible results and what is saved."""

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
        """The gradients of what was given."""


class Run(NamedTuple):
    """A call, as the way back needs it.

    Attributes:
        program: the program.
        engine: what runs it.
        masks, lengths, reset, reverse: as in `Inputs`.
        counts: how many states, home states and weights there are.
        trace: whether values are traced.
        differentiably: the way back where it must itself be differentiable, through the operators.
    """

    program: Program
    engine: Engine
    masks: Sequence[Tensor]
    lengths: Tensor | None
    reset: Tensor | None
    reverse: bool
    counts: tuple[int, int, int]
    trace: bool
    differentiably: Callable[[Inputs, Sequence[Tensor], Sequence[Tensor | None], bool], Sequence[Tensor | None]]

    def inputs(self, tensors: Sequence[Tensor]) -> Inputs:
        """What the run was given, from its differentiable tensors."""
        states, homes, _ = self.counts
        return Inputs(
            tensors[0],
            tensors[1 : 1 + states],
            tensors[1 + states : 1 + states + homes],
            tensors[1 + states + homes :],
            self.masks,
            self.lengths,
            self.reset,
            self.reverse,
        )


def possible(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing looks into the call."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and torch._C._get_tracing_state() is None
        and all(type(t) in _PLAIN for t in tensors)
    )


_PLAIN = (Tensor, torch.nn.Parameter)


def beyond_operators(gradient: Tensor) -> bool:
    """Whether an arriving gradient carries a tangent, or is a whole batch of gradients (`is_grads_batched`)."""
    if torch._C._functorch.is_legacy_batchedtensor(gradient):
        return True
    forward_ad = torch.autograd.forward_ad
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(gradient).tangent is not None


def _as_given(inputs: Inputs) -> contextlib.AbstractContextManager[object]:
    """An engine computes in the dtype of what it is given: autocast has done its part before."""
    kind = inputs.x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext()


def run(call: Run, inputs: Inputs, save: bool) -> Sequence[Tensor]:
    """The visible results of a run."""
    if not save:
        with torch.no_grad(), _as_given(inputs):
            return call.engine.forward(call.program, inputs, call.trace, False)[0]
    found: Sequence[Tensor] = _Recurrence.apply(call, inputs.x, *inputs.state, *inputs.home, *inputs.weights)
    return found


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Run, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = call.inputs(tensors)
        with _as_given(inputs):
            visible, saved = call.engine.forward(call.program, inputs, call.trace, True)
        ctx.call = call
        ctx.given = len(tensors)
        ctx.save_for_backward(*tensors, *saved)
        ctx.set_materialize_grads(False)
        return tuple(visible)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        call: Run = ctx.call
        kept = ctx.saved_tensors
        inputs, saved, need_x = call.inputs(kept[: ctx.given]), kept[ctx.given :], ctx.needs_input_grad[1]
        arrived = [g for g in gradients if g is not None]
        if torch.is_grad_enabled() or not possible(arrived) or any(map(beyond_operators, arrived)):
            return None, *call.differentiably(inputs, saved, gradients, need_x)
        states = call.counts[0]
        output, final, traced = gradients[0], gradients[1 : 1 + states], gradients[1 + states :]
        with _as_given(inputs):
            found = call.engine.backward(call.program, inputs, saved, output, final, traced, call.trace, need_x)
        return None, found.x, *found.state, *found.home, *found.weights
