"""The short way for an ordinary eager call: the engine itself, without the registered operator around it.

What the operator's dispatch costs is several times what a short sequence takes. Whatever looks into a call while it
runs (a compiler, a tracer, a transform, a dispatch mode, a tensor subclass) is given the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holdfast.language import Program

from .engine import Checked
from .inputs import Inputs
from .tensors import PLAIN, flat, form, formed


class Run(NamedTuple):
    """How a call is run, as the way back needs it too.

    Attributes:
        program: the program.
        name: the engine's.
        engine: what runs it.
        trace: whether values are traced.
        differentiably: the way back where it must itself be differentiable, through the operators: of a program, an
            engine, what it ran on and saved, arriving gradients, whether values are traced, whether that of x counts.
    """

    program: Program
    name: str
    engine: Checked
    trace: bool
    differentiably: Callable[
        [str, str, Inputs, Sequence[Tensor], Sequence[Tensor | None], bool, bool], Sequence[Tensor | None]
    ]


def possible(tensors: Iterable[Tensor]) -> bool:
    """Whether nothing looks into the call."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and torch._C._get_tracing_state() is None
        and PLAIN.issuperset(map(type, tensors))
    )


def beyond_operators(gradient: Tensor) -> bool:
    """Whether an arriving gradient carries a tangent, or is a whole batch of gradients (`is_grads_batched`)."""
    if torch._C._functorch.is_legacy_batchedtensor(gradient):
        return True
    forward_ad = torch.autograd.forward_ad
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(gradient).tangent is not None


def run(call: Run, inputs: Inputs, save: bool) -> Sequence[Tensor]:
    """The visible results of a run."""
    if not save:  # nothing requires a gradient, or none is recorded
        visible, _ = _run_as_given(inputs.x.device.type, call.engine.forward, call.program, inputs, call.trace, False)
        return visible
    found: Sequence[Tensor] = _Recurrence.apply(call, inputs, inputs.x, *inputs.state, *inputs.home, *inputs.weights)
    return found


def _run_as_given(kind: str, run: Callable[..., Any], *given: Any) -> Any:
    """Run an engine in the dtype of what it is given: autocast has done its part before."""
    if not torch.is_autocast_enabled(kind):  # each call of a short sequence asks
        return run(*given)
    with torch.autocast(kind, enabled=False):
        return run(*given)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Run, inputs: Inputs, *differentiable: Tensor) -> tuple[Tensor, ...]:
        run = call.engine.forward
        visible, saved = _run_as_given(inputs.x.device.type, run, call.program, inputs, call.trace, True)
        # Of the tensors it keeps none beside those that are saved where PyTorch sees them.
        ctx.call, ctx.form = call, form(inputs)
        ctx.save_for_backward(*flat(inputs), *saved)
        ctx.set_materialize_grads(False)
        return tuple(visible)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        call: Run = ctx.call
        inputs, saved = formed(ctx.form, ctx.saved_tensors)
        need_x = ctx.needs_input_grad[2]
        arrived = [g for g in gradients if g is not None]
        if torch.is_grad_enabled() or not possible(arrived) or any(map(beyond_operators, arrived)):
            text = call.program.text()
            return None, None, *call.differentiably(text, call.name, inputs, saved, gradients, call.trace, need_x)
        end = 1 + len(inputs.state)
        output, final, traced = gradients[0], gradients[1:end], gradients[end:]
        given = call.program, inputs, saved, output, final, traced, call.trace, need_x
        found = _run_as_given(inputs.x.device.type, call.engine.backward, *given)
        return None, None, found.x, *found.state, *found.home, *found.weights
