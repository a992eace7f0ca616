"""Whole sequences on the compiled kernels: what is done around them, forward and backward.

A sequence runs in spans of steps. The matrix products over all steps of a span stand right before or after the kernel's
run over it, so that what goes between them stays in the cache, and backward only the gradients of one span are ever in
memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language import Program
from holdfast.language.symbols import LAYER_NORM_EPSILON

from ..gradients import Gradients
from ..inputs import Inputs
from ..steps import lowering
from ..steps.around import input_bias, steps_again
from ..tensors import Signature, forget_signatures
from . import machine, threads
from .call import Call, Plan
from .frame import ALIGNED
from .kernels import backward_step, forward_step, vectors_wanted
from .learned import Learned, Parts, projected
from .memory import empty
from .precision import Precision, of
from .rows import Rows, Span, longest

WITHIN_FEATURES = 8  # so few features are always multiplied within the step
WITHIN_BATCH = 16  # and any number of them, from so many sequences on, twice as many beside a faster library
WITHIN_BATCH_SMALL = 4  # or from so many, where the weights are small and there are several gates


class ForwardPlan(Plan):
    """How runs forward of one kind go.

    Attributes:
        step: the step forward.
        projection: where W x is computed; see `_projection`.
        traced: how many values are traced beside the output.
        kept: what each step leaves for the way back.
        exact_gates: whether what is computed ahead of the steps has room of its own: where gates are kept in bfloat16.
    """

    def __init__(self, signature: Signature, trace: bool, save: bool, vectors: str) -> None:
        program, precision = signature.program, of(signature.dtype)
        self.projection = _projection(signature, machine.host(vectors))
        self.step, kernel = forward_step(
            program, trace, save, signature.form.reset, self.projection, precision, vectors
        )
        super().__init__(signature, self.step.program, kernel, signature.form.reverse)
        self.others = len(program.states) - 1
        self.traced = self.others + len(self.low.shown) if trace else 0
        self.kept = _kept(self.step, self.hidden, self.output, program.heads, precision)
        self.exact_gates = precision.half and self.projection != "within"
        self.gates_width = len(self.low.gates) * self.hidden
        self.beyond = precision.pitch(signature.shape[2]) - signature.shape[2]
        self.whole = None if self.rows is None else self.spans(self.rows)

    def spans(self, rows: Rows) -> list[Span]:
        """The spans of a run whose steps are not run again."""
        steps = (
            rows.steps
            if self.projection == "within"
            else rows.cached(self.gates_width, self.kernel.size, self.kernel.target.library)
        )
        return rows.spans(max(1, steps), self.backward)


class BackwardPlan(Plan):
    """How runs backward of one kind go.

    Attributes:
        step: the step forward that was run.
        back: the step backward.
        width: of a row of the gradients of the gates' parts.
    """

    def __init__(self, signature: Signature, trace: bool, output: bool, traced: tuple[bool, ...], vectors: str) -> None:
        program, precision = signature.program, of(signature.dtype)
        self.step, self.back, kernel = backward_step(
            program, trace, signature.form.reset, output, traced, precision, vectors
        )
        super().__init__(signature, self.step.program, kernel, not signature.form.reverse)
        self.width = self.back.slots * self.pitch(self.hidden)
        self.parts = Parts(self, self.step, self.back)
        self.whole = None if self.rows is None else self.spans(self.rows)

    def spans(self, rows: Rows) -> list[Span]:
        """The spans of a run whose steps are not run again."""
        # In bfloat16 the gradients of weights are a library's products, which cannot be added up in float32.
        steps = (
            rows.steps
            if self.kernel.precision.half
            else rows.cached(self.width, self.kernel.size, self.kernel.target.library)
        )
        return rows.spans(max(1, steps), self.backward)


# A plan depends on the number of threads and on the vectors asked for too.


@functools.lru_cache(maxsize=1024)
def _forward_plan(signature: Signature, trace: bool, save: bool, threads: int, vectors: str) -> ForwardPlan:
    return ForwardPlan(signature, trace, save, vectors)


@functools.lru_cache(maxsize=1024)
def _backward_plan(
    signature: Signature, trace: bool, output: bool, traced: tuple[bool, ...], threads: int, vectors: str
) -> BackwardPlan:
    return BackwardPlan(signature, trace, output, traced, vectors)


def forget_plans() -> None:
    """Plan all calls anew, for who has changed what plans are made by."""
    forget_signatures()
    vectors_wanted.cache_clear()
    _forward_plan.cache_clear()
    _backward_plan.cache_clear()


class _Ahead:
    """A run forward, as far as it is the same whatever becomes of it.

    Attributes:
        plan: how it goes.
        rows: how its sequences lie.
        call: the kernel's arguments.
        final: where the final state will be.
    """

    def __init__(self, plan: ForwardPlan, inputs: Inputs) -> None:
        x = inputs.x
        self.plan, self.x = plan, x
        self.rows = plan.rows or Rows(plan.steps, plan.batch, inputs.lengths)
        self.call = call = Call(plan, inputs, self.rows)
        self.final = call.states(inputs.state if inputs.reset is None else _first_states(call, inputs))
        self.packed = self.rows.packed(x) if self.rows.ragged else x.contiguous()
        call.array("x", F.pad(self.packed, (0, plan.beyond)) if plan.beyond else self.packed)
        self.bias = input_bias(plan.program, plan.step.joined, call.weights)
        if self.bias is not None:
            call.array("bias", self.bias)

    def visible(self, steps: int) -> list[Tensor]:
        """Room for the output and the traced values of so many steps, where the kernel writes them."""
        plan, shape = self.plan, (steps, self.plan.batch)
        series = [_series(self.x, (*shape, plan.output), self.rows.ragged)]
        series += [_series(self.x, (*shape, plan.hidden), self.rows.ragged) for _ in range(plan.traced)]
        self.show(series)
        return series

    def show(self, visible: Sequence[Tensor], first: int = 0) -> None:
        """Where the kernel writes the visible values of the steps from one on."""
        row, others = first * self.plan.batch, self.plan.others
        y, *traced = visible
        self.call.array("y", y, row)
        for k, series in enumerate(traced):
            self.call.array(f"trace:{k}" if k < others else f"shown:{k - others}", series, row)

    def kept(self, *rows: int) -> dict[str, Tensor]:
        """Room for what so many rows leave for the way back, by name; (rows, slots·width) each."""
        found = {name: empty(dtype, (*rows, width)) for name, width, dtype in self.plan.kept}
        if self.plan.kernel.precision.half:
            for name, tensor in found.items():
                if name != "kept_rows":
                    self.call.blank(tensor, self.plan.output if name == "kept_output" else self.plan.hidden)
        return found

    def gates(self, rows: int) -> Tensor:
        """Room for the gates of so many rows, where W x is computed ahead of the steps."""
        return empty(self.plan.dtype, (rows, self.plan.gates_width))

    def project(self, x: Tensor, gates: Tensor) -> None:
        """W x + b, or its layer norm, of some rows, by PyTorch's products."""
        weights, dtype = self.call.weights, self.plan.dtype
        weight = weights["weight_ih"]
        if "weight_ln_x" in weights:
            product = projected(weight, x, self.plan.kernel.target).to(dtype)
            gain = weights["weight_ln_x"]
            gates.copy_(F.layer_norm(product, product.shape[-1:], gain, self.bias, LAYER_NORM_EPSILON))
        elif self.bias is None:
            torch.mm(x, weight.t(), out=gates)
        else:
            torch.addmm(self.bias, x, weight.t(), out=gates)

    def over(self, span: Span, gates: Tensor | None, begin: bool, end: bool) -> None:
        """Run over a span, whose gates have this room if W x is computed ahead of its steps."""
        if gates is not None and self.plan.projection != "within":
            self.call.array("ahead" if self.plan.exact_gates else "gates", gates, span.begin)
            if self.plan.projection == "outside":
                self.project(self.packed.view(-1, self.packed.shape[-1])[span.rows], gates)
        self.call.run(span.first, span.last, begin, end)


def forward(signature: Signature, inputs: Inputs, trace: bool, save: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The visible results of a run, and what `backward` needs; as the reference engine's."""
    again = save and signature.program.recompute
    plan = _forward_plan(signature, trace, save and not again, threads.count(), vectors_wanted())
    run = _Ahead(plan, inputs)
    rows, call = run.rows, run.call
    y, *traced = run.visible(plan.steps)
    saved: dict[str, Tensor] = {}
    if again:
        saved = {"carried": empty(torch.uint8, _carried_shape(signature.program, inputs))}
        spans = rows.spans(steps_again(plan.batch), plan.backward)
    else:
        if save:
            saved = run.kept(plan.steps, plan.batch)
            for name, tensor in saved.items():
                call.array(name, tensor)
        spans = plan.spans(rows) if plan.whole is None else plan.whole
    room = None
    if plan.projection != "within":
        if "gates" in saved and not plan.exact_gates:
            room = saved["gates"].view(-1, plan.gates_width)
        else:
            held = run.gates(longest(spans))
    for number, span in enumerate(spans if rows.count else ()):
        if again and number:
            saved["carried"][span.first // steps_again(plan.batch)] = call.carried
        part = None
        if plan.projection != "within":
            part = held[: span.end - span.begin] if room is None else room[span.rows]
        run.over(span, part, number == 0, number + 1 == len(spans))
    final = run.final if rows.count else [s.clone() for s in inputs.state]
    if not plan.exact:
        final = [s.to(inputs.x.dtype) for s in final]
    return [y, *final, *traced], [*saved.values()]


def _projection(signature: Signature, target: machine.Target) -> str:
    """Where W x is computed.

    Within the step its results need no way through memory, but the weight is read in every step: that pays where all
    weights of a step stay in the processor's own cache, or where many sequences share what is read. A layer norm over
    all gates is PyTorch's, and so is a product with a large weight where PyTorch's library is faster.
    """
    program, (_, batch, features) = signature.program, signature.shape
    gates, size = len(program.gates) * signature.hidden, signature.dtype.itemsize
    of_input, of_state = gates * features * size, gates * signature.output // program.heads * size
    library = signature.dtype != torch.bfloat16 and target.library
    if program.layer_norm or (library and of_input > machine.own_cache()):
        return "outside"
    small = of_input + of_state <= machine.own_cache()
    enough = WITHIN_BATCH_SMALL if small and len(program.gates) > 1 else WITHIN_BATCH * (2 if library else 1)
    if features <= WITHIN_FEATURES or batch >= enough:
        return "within"
    return "outside" if library and not small else "ahead"


def _series(x: Tensor, shape: tuple[int, ...], ragged: bool) -> Tensor:
    """Room for a visible series; past a length there are zeros."""
    series = empty(x.dtype, shape)
    return series.zero_() if ragged else series


def _first_states(call: Call, inputs: Inputs) -> list[Tensor]:
    """Tell the kernel after which steps a sequence returns home; the first states, home where a boundary precedes."""
    boundaries = inputs.boundaries()
    assert boundaries is not None
    nothing = torch.zeros_like(boundaries[:1])
    after = torch.cat([nothing, boundaries[:-1]] if inputs.reverse else [boundaries[1:], nothing])
    call.table("resets", after.view(torch.uint8))
    home = inputs.home or [s.new_zeros(s.shape[-1]) for s in inputs.state]
    for name, value in zip(call.plan.program.states, home):
        call.array(f"home:{name}", value.to(call.plan.dtype).contiguous())
    if inputs.reverse:
        return list(inputs.state)  # a boundary lies between two steps: none precedes the last
    return [torch.where(boundaries[0].unsqueeze(-1), h, s) for h, s in zip(home, inputs.state)]


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
    x, arrives = inputs.x, tuple([g is not None for g in traced])
    plan = _backward_plan(signature, trace, output is not None, arrives, threads.count(), vectors_wanted())
    rows = plan.rows or Rows(plan.steps, plan.batch, inputs.lengths)
    call = Call(plan, inputs, rows)
    again = _Again(signature, inputs, trace, saved[0]) if signature.program.recompute else None
    kept = {} if again else {name: t.flatten(0, 1) for name, t in zip(("gates", *plan.step.slots), saved)}
    for name, tensor in kept.items():
        call.array(name, tensor)
    if output is not None:
        call.array("dy", output.contiguous())
    for k, gradient in enumerate(traced):
        if gradient is not None:
            call.array(f"dtraced:{k}", gradient.contiguous())
    arrived = [torch.zeros_like(s) if g is None else g for g, s in zip(final, inputs.state)]
    to_state = call.states(arrived)
    sums = None
    if plan.back.sums:
        sums = x.new_zeros(call.sizes.threads, len(plan.back.sums), plan.hidden, dtype=plan.dtype)
        call.array("sums", sums)
    home: list[Tensor] = []
    if inputs.reset is not None:
        home = [to_state[0].new_zeros(call.sizes.threads, s.shape[-1]) for s in inputs.state]
        boundaries = inputs.boundaries()
        assert boundaries is not None
        call.table("resets", boundaries.contiguous().view(torch.uint8))
        for name, total in zip(plan.low.states, home):
            call.array(f"home:{name}", total)
    if again:
        spans = rows.spans(again.steps, plan.backward)
    else:
        spans = plan.spans(rows) if plan.whole is None else plan.whole
    most = longest(spans)
    d = call.blank(empty(x.dtype, (most, plan.width)), plan.hidden)
    through = plan.parts.of_projection is not None
    dprojected = call.blank(empty(x.dtype, (most, plan.pitch(plan.output))), plan.output) if through else None
    learned = Learned(plan.parts, call)
    flat = rows.packed(x)
    to_x = empty(flat.dtype, flat.shape) if need_x else None
    for number, span in enumerate(spans):
        call.array("d", d, span.begin)
        part, count = span.rows, span.end - span.begin
        if dprojected is not None:
            call.array("dprojected", dprojected, span.begin)
        of_span = again.over(span) if again else {name: tensor[part] for name, tensor in kept.items()}
        if again:
            for name, tensor in of_span.items():
                call.array(name, tensor, span.begin)
        call.run(span.first, span.last, number == 0, number + 1 == len(spans))
        of_projection = None if dprojected is None else dprojected[:count]
        learned.add(d[:count], of_projection, flat[part], of_span, None if to_x is None else to_x[part])
    if not spans:
        to_state = [s.clone() for s in arrived]
    if not plan.exact:
        to_state = [s.to(x.dtype) for s in to_state]
    return Gradients(
        None if to_x is None else rows.padded(to_x, x.shape),
        to_state,
        [total.sum(0).to(x.dtype) for total in home[: len(inputs.home)]],
        learned.finished(sums),
    )


class _Again:
    """A run forward that kept the states between its spans only: each span is run again for its way back.

    Args:
        signature, inputs, trace: as of the run.
        carried: the states before each span but the first, as bytes, (spans, ·).

    Attributes:
        steps: of a span, at most.
    """

    def __init__(self, signature: Signature, inputs: Inputs, trace: bool, carried: Tensor) -> None:
        plan = _forward_plan(signature, trace, True, threads.count(), vectors_wanted())
        self.run = run = _Ahead(plan, inputs)
        self.steps, self.before = steps_again(plan.batch), carried
        most = min(run.rows.steps, self.steps)
        self.kept = run.kept(most * plan.batch)
        self.visible = run.visible(most)
        self.gates = run.gates(most * plan.batch) if plan.exact_gates else self.kept["gates"]
        run.call.run(0, 0, True, False)  # no step: it packs the weights, and reads the first states
        self.first = run.call.carried.clone()
        self.reverse, self.end = inputs.reverse, run.rows.steps

    def over(self, span: Span) -> dict[str, Tensor]:
        """What the steps of a span leave for the way back, by name, (N, ·); room that the next span has, too."""
        run = self.run
        begins = span.last == self.end if self.reverse else span.first == 0
        run.call.carried.copy_(self.first if begins else self.before[span.first // self.steps])
        run.show(self.visible, span.first)
        kept = {name: tensor[: span.end - span.begin] for name, tensor in self.kept.items()}
        for name, tensor in kept.items():
            run.call.array(name, tensor, span.begin)
        run.over(span, self.gates[: span.end - span.begin], False, False)
        return kept


def _kept(
    low: lowering.Forward, hidden: Any, output: Any, heads: int, precision: Precision
) -> list[tuple[str, Any, torch.dtype]]:
    """What each step leaves for the way back: name, how many numbers, and which."""
    widths = {"kept": precision.pitch(hidden, heads), "kept_output": precision.pitch(output, heads), "kept_rows": 1}
    slots = {"gates": len(low.program.gates), **low.slots}
    exact = {"kept_rows": precision.dtype}
    return [
        (name, count * widths.get(name, widths["kept"]), exact.get(name, precision.stored))
        for name, count in slots.items()
    ]


def _carried_shape(program: Program, inputs: Inputs) -> tuple[Any, Any]:
    """Room for the states between the spans that are run again: how many spans at most, and the bytes of each."""
    steps, batch = inputs.x.shape[:2]
    precision = of(inputs.x.dtype)
    widths = {name: s.shape[-1] for name, s in zip(program.states, inputs.state)}
    each = [2 * batch * width * precision.size for width in widths.values()]
    if precision.half:  # the factors of matrix products too
        operands = {program.nodes[group.operand] for group in program.groups}
        factors = [widths[node.label] for node in operands if node.op == "state"]
        each += [2 * batch * precision.pitch(width, program.heads) * 2 for width in factors]
    # Two more than there may be: torch.compile would make a case of its own of none and of one.
    return steps // steps_again(batch) + 2, sum(-(-count // ALIGNED) * ALIGNED for count in each)


def saved_shapes(program: Program, inputs: Inputs, trace: bool) -> list[tuple[tuple[Any, ...], torch.dtype]]:
    """Shape and dtype of each tensor that `forward` saves for `backward`."""
    if program.recompute:
        return [(_carried_shape(program, inputs), torch.uint8)]
    ahead = lowering.forward(program, trace, True, inputs.reset is not None, "outside")
    steps, batch = inputs.x.shape[:2]
    hidden, output = inputs.weights[0].shape[0] // len(program.gates), inputs.state[0].shape[-1]
    kept = _kept(ahead, hidden, output, program.heads, of(inputs.x.dtype))
    return [((steps, batch, width), dtype) for _, width, dtype in kept]
