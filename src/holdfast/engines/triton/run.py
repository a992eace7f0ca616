"""Whole sequences on the Triton kernels: what is done around them, forward and backward.

Nothing here waits for the device: lengths stay there, and sequences that have ended are masked.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language import Program
from holdfast.language.symbols import LAYER_NORM_EPSILON

from ..gradients import Gradients
from ..inputs import Inputs
from ..reference.forward_run import accumulation_dtype
from ..steps import lowering
from ..steps.around import input_bias, steps_again
from ..tensors import Signature
from .emit import Form, emit
from .kernels import Call, Kernel, device_of, divide, form_of
from .learned import Learned


class _Sizes:
    """The sizes of a run, and what its tensors are."""

    def __init__(self, program: Program, inputs: Inputs) -> None:
        self.steps, self.batch = inputs.x.shape[:2]
        self.hidden = inputs.weights[0].shape[0] // len(program.gates)
        self.output = inputs.state[0].shape[-1]
        self.stored = inputs.x.dtype
        self.dtype = accumulation_dtype(inputs.x.dtype)
        self.widths = {name: s.shape[-1] for name, s in zip(program.states, inputs.state)}
        self.heads = program.heads
        self.form = form_of(self.stored, inputs.x.device, inputs.lengths is not None, self.batch)

    def call(self, kernel: Kernel, inputs: Inputs) -> Call:
        """A run of a step's kernel."""
        about = device_of(inputs.x.device)
        division = divide(self.batch, self.hidden, self.heads, kernel.source, self.form, about)
        like = inputs.x.new_empty(self.batch, 1, dtype=self.dtype)
        return Call(kernel, division, self.widths, self.hidden, self.output, self.heads, like)


@functools.lru_cache(maxsize=512)
def _forward_kernel(
    program: Program, trace: bool, save: bool, resets: bool, form: Form
) -> tuple[lowering.Forward, Kernel]:
    ahead = lowering.forward(program, trace, save, resets, "outside", form.half)
    slots = {"gates": len(program.gates), "ahead": len(program.gates), **ahead.slots}
    return ahead, Kernel(emit(ahead.step, ahead.program, slots, form))


@functools.lru_cache(maxsize=512)
def _backward_kernel(
    program: Program, trace: bool, resets: bool, output: bool, traced: tuple[bool, ...], form: Form
) -> tuple[lowering.Forward, lowering.Backward, Kernel]:
    ahead, back = lowering.backward(program, trace, resets, output, traced)
    slots = {"gates": len(program.gates), **ahead.slots, "d": back.slots, "sums": len(back.sums)}
    return ahead, back, Kernel(emit(back.step, ahead.program, slots, form))


def _given(call: Call, low: Program, weights: Mapping[str, Tensor], inputs: Inputs, part: slice) -> None:
    """Weights, parameters, masks and lengths, as some steps of the sequence see them."""
    call.tensors |= weights
    call.tensors |= {f"parameter:{p.name}": weights[p.name] for p in low.parameters}
    for mask, drawn in zip(low.masks, inputs.masks):
        call.tensors[f"mask:{mask.name}"] = (drawn[part] if mask.per == "step" else drawn).contiguous()
    if inputs.lengths is not None:
        call.tensors["lengths"] = (inputs.lengths - part.start).contiguous()


def _without_padding(inputs: Inputs) -> Tensor:
    """x with zeros in the padding, whatever it holds there."""
    alive = inputs.alive()
    return inputs.x.contiguous() if alive is None else torch.where(alive.unsqueeze(-1), inputs.x, 0)


def _spans(steps: int, of: int, back: bool) -> list[slice]:
    """The steps in spans, in the order of the run."""
    found = [slice(first, min(first + of, steps)) for first in range(0, steps, max(1, of))]
    return found[::-1] if back else found


class _Ahead:
    """A run forward, span by span.

    Attributes:
        low: the step.
        call: the kernels with what they are given.
        traced: how many series are traced.
    """

    def __init__(self, program: Program, inputs: Inputs, trace: bool, save: bool) -> None:
        self.program, self.inputs, self.sizes = program, inputs, _Sizes(program, inputs)
        resets = inputs.reset is not None
        self.low, kernel = _forward_kernel(program, trace, save, resets, self.sizes.form)
        self.call = self.sizes.call(kernel, inputs)
        self.others = len(program.states) - 1
        self.traced = self.others + len(self.low.program.shown) if trace else 0
        self.weights = {n: w.contiguous() for n, w in inputs.named_weights(program).items()}
        self.bias = input_bias(program, self.low.joined, self.weights)
        self.x = _without_padding(inputs)
        first = list(inputs.state)
        if resets:
            first = self.home()
        for name, state in zip(program.states, first):
            self.call.state(name).copy_(state)

    def home(self) -> list[Tensor]:
        """Note after which steps a sequence returns home; the first states, home where a boundary precedes."""
        inputs, boundaries = self.inputs, self.inputs.boundaries()
        assert boundaries is not None
        nothing = torch.zeros_like(boundaries[:1])
        self.after = torch.cat([nothing, boundaries[:-1]] if inputs.reverse else [boundaries[1:], nothing])
        home = inputs.home or [s.new_zeros(s.shape[-1]) for s in inputs.state]
        self.call.tensors |= {f"home:{name}": h.contiguous() for name, h in zip(self.program.states, home)}
        if inputs.reverse:
            return list(inputs.state)  # a boundary lies between two steps: none precedes the last
        return [torch.where(boundaries[0].unsqueeze(-1), h, s) for h, s in zip(home, inputs.state)]

    def visible(self, steps: int) -> list[Tensor]:
        """Room for the output and the traced values of so many steps."""
        sizes, x = self.sizes, self.inputs.x
        y = x.new_empty(steps, sizes.batch, sizes.output)
        return [y, *(x.new_empty(steps, sizes.batch, sizes.hidden) for _ in range(self.traced))]

    def kept(self, steps: int) -> dict[str, Tensor]:
        """Room for what so many steps leave for the way back, by name."""
        sizes = self.sizes
        return {
            name: self.x.new_empty(steps, sizes.batch, width, dtype=dtype)
            for name, width, dtype in _kept(self.low, sizes.hidden, sizes.output, sizes.stored)
        }

    def over(self, part: slice, visible: Sequence[Tensor], kept: Mapping[str, Tensor]) -> None:
        """Run over a span; what it gives goes to tensors that begin with its first step."""
        call = self.call
        _given(call, self.low.program, self.weights, self.inputs, part)
        call.tensors |= kept
        gates = self.input_parts(self.x[part])
        if self.sizes.form.half:  # what is computed ahead has room of its own where series are coarser
            call.tensors["ahead"] = gates
        elif "gates" in kept:
            kept["gates"].copy_(gates)
        else:
            call.tensors["gates"] = gates
        y, *traced = visible
        call.tensors["y"] = y
        for k, series in enumerate(traced):
            call.tensors[f"trace:{k}" if k < self.others else f"shown:{k - self.others}"] = series
        if self.inputs.reset is not None:
            call.tensors["resets"] = self.after[part].to(torch.uint8).contiguous()
        call.run(part.stop - part.start, self.inputs.reverse)

    def input_parts(self, x: Tensor) -> Tensor:
        """W x + b for all gates, or LN(W x) + b, in the dtype that is computed with: (T, B, GH)."""
        dtype = self.sizes.dtype
        product = F.linear(x, self.weights["weight_ih"]).to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        if self.program.layer_norm:
            gain = self.weights["weight_ln_x"].to(dtype)
            return F.layer_norm(product, product.shape[-1:], gain, bias, LAYER_NORM_EPSILON)
        return product if bias is None else product.add_(bias)

    def final(self) -> list[Tensor]:
        """The state after the run."""
        return [self.call.state(name).to(self.sizes.stored, copy=True) for name in self.program.states]


def forward(signature: Signature, inputs: Inputs, trace: bool, save: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The visible results of a run, and what `backward` needs; as the reference engine's."""
    program = signature.program
    again = save and program.recompute
    run = _Ahead(program, inputs, trace, save and not again)
    steps = run.sizes.steps
    visible = run.visible(steps)
    if again:
        saved = {name: inputs.x.new_empty(s, dtype=d) for name, s, d in _carried(program, inputs)}
        length = steps_again(run.sizes.batch)
        for part in _spans(steps, length, inputs.reverse):
            for name, room in saved.items():
                room[part.start // length] = run.call.state(name)
            run.over(part, [series[part] for series in visible], {})
    else:
        saved = run.kept(steps) if save else {}
        run.over(slice(0, steps), visible, saved)
    y, *traced = visible
    return [y, *run.final(), *traced], list(saved.values())


def backward(
    signature: Signature,
    inputs: Inputs,
    saved: Sequence[Tensor],
    output: Tensor | None,
    final: Sequence[Tensor | None],
    traced: Sequence[Tensor | None],
    trace: bool,
    need_x: bool,
) -> Gradients:
    """Back through a run; as the reference engine's."""
    program, resets = signature.program, inputs.reset is not None
    arrives = tuple(g is not None for g in traced)
    sizes = _Sizes(program, inputs)
    ahead, back, kernel = _backward_kernel(program, trace, resets, output is not None, arrives, sizes.form)
    low, call = ahead.program, sizes.call(kernel, inputs)
    weights = {n: w.contiguous() for n, w in inputs.named_weights(program).items()}
    x = _without_padding(inputs)
    for name, gradient in zip(program.states, final):
        if gradient is None:
            call.state(name).zero_()
        else:
            call.state(name).copy_(gradient)
    # Each sequence has sums of its own, so that no program waits for another and the order is always the same.
    sums = x.new_zeros(sizes.batch, len(back.sums), sizes.hidden, dtype=sizes.dtype)
    call.tensors["sums"] = sums
    home = [x.new_zeros(sizes.batch, s.shape[-1], dtype=sizes.dtype) for s in inputs.state] if resets else []
    call.tensors |= {f"home:{name}": total for name, total in zip(program.states, home)}
    boundaries = inputs.boundaries()

    again = _Ahead(program, inputs, trace, True) if program.recompute else None
    kept = dict(zip(("gates", *ahead.slots), saved))
    length = steps_again(sizes.batch) if again else max(1, sizes.steps)
    learned = Learned(program, ahead, back, weights, sizes.hidden, sizes.output, sizes.dtype)
    to_x = torch.empty_like(x) if need_x else None
    for part in _spans(sizes.steps, length, not inputs.reverse):
        steps = part.stop - part.start
        _given(call, low, weights, inputs, part)
        of_part = kept
        if again:
            of_part = again.kept(steps)
            for name, state in zip(program.states, saved):
                again.call.state(name).copy_(state[part.start // length])
            again.over(part, again.visible(steps), of_part)
        call.tensors |= of_part
        if output is not None:
            call.tensors["dy"] = output[part].contiguous()
        for k, gradient in enumerate(traced):
            if gradient is not None:
                call.tensors[f"dtraced:{k}"] = gradient[part].contiguous()
        if boundaries is not None:
            call.tensors["resets"] = boundaries[part].to(torch.uint8).contiguous()
        d = call.tensors["d"] = x.new_empty(steps, sizes.batch, back.slots, sizes.hidden)
        reaches = any(store.array == "dprojected" for store in back.step.stores)
        projected = x.new_empty(steps, sizes.batch, sizes.output if reaches else 0)
        call.tensors["dprojected"] = projected
        call.run(steps, not inputs.reverse)
        gradient = learned.add(
            d.flatten(0, 1),
            projected.flatten(0, 1) if reaches else None,
            x[part].flatten(0, 1),
            {name: series.flatten(0, 1) for name, series in of_part.items()},
        )
        if to_x is not None:
            to_x[part] = (gradient @ weights["weight_ih"]).view_as(x[part])
    return Gradients(
        to_x,
        [call.state(name).to(sizes.stored, copy=True) for name in program.states],
        [total.sum(0).to(sizes.stored) for total in home[: len(inputs.home)]],
        learned.finished(sums.sum(0)),
    )


def _kept(low: lowering.Forward, hidden: Any, output: Any, stored: torch.dtype) -> list[tuple[str, Any, torch.dtype]]:
    """What each step leaves for the way back: name, how many numbers, and which."""
    widths = {"kept_output": output, "kept_rows": 1}
    exact = {"kept_rows": accumulation_dtype(stored)}
    slots = {"gates": len(low.program.gates), **low.slots}
    return [(name, count * widths.get(name, hidden), exact.get(name, stored)) for name, count in slots.items()]


def _carried(program: Program, inputs: Inputs) -> list[tuple[str, tuple[Any, ...], torch.dtype]]:
    """Room for the states before the spans that are run again: name, shape and dtype."""
    steps, batch = inputs.x.shape[:2]
    # Two more than there may be: torch.compile would make a case of its own of none and of one.
    spans, dtype = steps // steps_again(batch) + 2, accumulation_dtype(inputs.x.dtype)
    return [(name, (spans, batch, s.shape[-1]), dtype) for name, s in zip(program.states, inputs.state)]


def saved_shapes(program: Program, inputs: Inputs, trace: bool) -> list[tuple[tuple[Any, ...], torch.dtype]]:
    """Shape and dtype of each tensor that `forward` saves for `backward`."""
    if program.recompute:
        return [(shape, dtype) for _, shape, dtype in _carried(program, inputs)]
    ahead = lowering.forward(program, trace, True, inputs.reset is not None, "outside")
    steps, batch = inputs.x.shape[:2]
    hidden, output = inputs.weights[0].shape[0] // len(program.gates), inputs.state[0].shape[-1]
    return [((steps, batch, width), dtype) for _, width, dtype in _kept(ahead, hidden, output, inputs.x.dtype)]
