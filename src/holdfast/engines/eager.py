"""The short way for an ordinary eager call: the engine itself, without the registered operator around it.

What the operator's dispatch costs is several times what a short sequence takes. Whatever looks into a call while it
runs (a compiler, a tracer, a transform, a dispatch mode, a tensor subclass) is given the operator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holdfast.language import Program

from .engine import Engine
from .inputs import Inputs
from .tensors import PLAIN


class Run(NamedTuple):
    """A call, as the way back needs it; of its tensors it holds none, which are saved where PyTorch sees them.

    Attributes:
        program: the program.
        engine: what runs it.
        reverse: as in `Inputs`.
        counts: how many states, home states, weights and masks there are.
        trace: whether values are traced.
        differentiably: the way back where it must itself be differentiable, through the operators.
    """

    program: Program
    engine: Engine
    reverse: bool
    counts: tuple[int, int, int, int]
    trace: bool
    differentiably: Callable[[Inputs, Sequence[Tensor], Sequence[Tensor | None], bool], Sequence[Tensor | None]]

    def inputs(self, tensors: Sequence[Any]) -> tuple[Inputs, Sequence[Tensor]]:
        """What the run was given, from its tensors as they were saved, and those that follow."""
        x, *given = tensors
        parts, start = [], 0
        for count in self.counts:
            parts.append(given[start : start + count])
            start += count
        state, home, weights, masks = parts
        lengths, reset, *others = given[start:]
        return Inputs(x, state, home, weights, masks, lengths, reset, self.reverse), others


def possible(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing looks into the call."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and torch._C._get_tracing_state() is None
        and all(type(t) in PLAIN for t in tensors)
    )


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
    found: Sequence[Tensor] = _Recurrence.apply(call, inputs, inputs.x, *inputs.state, *inputs.home, *inputs.weights)
    return found


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Run, inputs: Inputs, *differentiable: Tensor) -> tuple[Tensor, ...]:
        with _as_given(inputs):
            visible, saved = call.engine.forward(call.program, inputs, call.trace, True)
        ctx.call = call
        ctx.save_for_backward(*differentiable, *inputs.masks, inputs.lengths, inputs.reset, *saved)
        ctx.set_materialize_grads(False)
        return tuple(visible)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        call: Run = ctx.call
        (inputs, saved), need_x = call.inputs(ctx.saved_tensors), ctx.needs_input_grad[2]
        arrived = [g for g in gradients if g is not None]
        if torch.is_grad_enabled() or not possible(arrived) or any(map(beyond_operators, arrived)):
            return None, None, *call.differentiably(inputs, saved, gradients, need_x)
        states = call.counts[0]
        output, final, traced = gradients[0], gradients[1 : 1 + states], gradients[1 + states :]
        with _as_given(inputs):
            found = call.engine.backward(call.program, inputs, saved, output, final, traced, call.trace, need_x)
        return None, None, found.x, *found.state, *found.home, *found.weights
