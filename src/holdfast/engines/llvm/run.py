"""Whole sequences on the compiled kernels: what is done around them, forward and backward.

A sequence runs in spans of steps. The matrix products over all steps of a span stand right before or after the kernel's
run over it, so that what goes between them stays in the cache, and backward only the gradients of one span are ever in
memory.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.language import Program
from holdfast.language.program import MAIN_WEIGHT, Group
from holdfast.language.symbols import LAYER_NORM_EPSILON

from ..gradients import Gradients
from ..inputs import Inputs
from ..parameters import names
from ..steps import lowering
from ..steps.around import input_bias, rows_of, steps_again
from . import machine, threads
from .frame import ALIGNED, Compiled, Sizes, Source, shares_units
from .halves import TILE_ROWS
from .matmul import matmul
from .memory import empty
from .precision import Precision, of
from .tile_matmul import UNITS, tile_matmul

WITHIN_FEATURES = 8  # so few features are always multiplied within the step
WITHIN_BATCH = 16  # and any number of them, from so many sequences on, twice as many beside a faster library
WITHIN_BATCH_SMALL = 4  # or from so many, where the weights are small and there are several gates
SPAN_BYTES = 4 << 20  # of the gates in a span of steps: a part of the processor's last cache
SPAN_ROWS = 1024  # and never fewer rows: a matrix product must be worth the packing of its weight


class Span(NamedTuple):
    """Some steps: the first one, the one after the last, and likewise their packed rows."""

    first: int
    last: int
    begin: int
    end: int

    @property
    def rows(self) -> slice:
        """Its packed rows."""
        return slice(self.begin, self.end)


class Rows:
    """How the sequences of a batch lie one after the other: packed, the longest first.

    Attributes:
        count: how many steps there are in all.
        steps: how many steps the longest has.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.steps, self.batch = inputs.x.shape[:2]
        self.count = self.steps * self.batch
        self.ragged = inputs.lengths is not None
        if inputs.lengths is not None:
            self.lengths, self.order = torch.sort(inputs.lengths, descending=True, stable=True)
            running = self.lengths.unsqueeze(0) > torch.arange(self.steps).unsqueeze(1)  # (T, B)
            self.start = F.pad(running.sum(1).cumsum(0), (1, 0))  # (T + 1,)
            self.starts = self.start.tolist()
            time, place = running.nonzero(as_tuple=True)
            self.index = time * self.batch + self.order[place]  # the caller's row of each packed one
            self.count = self.starts[-1]
            self.steps = int(self.lengths[0]) if self.batch else 0

    def packed(self, series: Tensor) -> Tensor:
        """(T, B, ·) as (count, ·), without the padding."""
        flat = series.reshape(-1, series.shape[-1])
        return flat.index_select(0, self.index) if self.ragged else flat.contiguous()

    def padded(self, packed: Tensor, shape: Sequence[int]) -> Tensor:
        """(count, ·) as (T, B, ·), zero in the padding."""
        if not self.ragged:
            return packed.view(shape)
        series = packed.new_zeros(shape)
        series.view(-1, shape[-1]).index_copy_(0, self.index, packed)
        return series

    def cached(self, width: int, size: int) -> int:
        """Steps of a span whose rows, of so many numbers of so many bytes, should stay in the cache."""
        return max(1, max(SPAN_ROWS, SPAN_BYTES // (width * size)) // max(1, self.batch))

    def spans(self, steps: int, back: bool) -> list[Span]:
        """Spans of so many steps, in the order of the run.

        Args:
            steps: of each, at most.
            back: whether time runs backwards.
        """
        firsts = range(0, self.steps, steps)
        pairs = ((first, min(first + steps, self.steps)) for first in (reversed(firsts) if back else firsts))
        if self.ragged:
            return [Span(first, last, self.starts[first], self.starts[last]) for first, last in pairs]
        return [Span(first, last, first * self.batch, last * self.batch) for first, last in pairs]


class Call:
    """One run of a kernel: its arguments, filled in piece by piece."""

    def __init__(
        self, kernel: Compiled, program: Program, low: Program, inputs: Inputs, rows: Rows, back: bool
    ) -> None:
        self.kernel, self.program, self.rows, self.back = kernel, low, rows, back
        self.dtype = kernel.precision.dtype
        factors = _factors(program)  # what is not one of these is computed with
        self.weights = {
            n: w.contiguous() if n in factors else w.to(self.dtype).contiguous()
            for n, w in zip(names_of(program), inputs.weights)
        }
        self.hidden = inputs.weights[0].shape[0] // len(program.gates)
        self.output = inputs.state[0].shape[-1]
        steps, batch = inputs.x.shape[:2]
        per_row = self.weights["weight_hh"].numel() + 20 * self.hidden
        read_in_each_step = sum(self.weights[name].nbytes for name in kernel.read_in_each_step)
        shared = shares_units(batch, threads.count(), read_in_each_step)
        if shared:
            team = threads.team(batch * per_row, threads.SMALL_STEP)
        else:
            team = threads.team(rows.count * per_row, threads.SMALL)
        sizes = (steps, batch, inputs.x.shape[2], self.hidden, self.output, program.heads)
        self.sizes = Sizes(*sizes, team, shared and team > 1)
        frame = kernel.frame(self.sizes)
        self.arguments, memory = frame.arguments()
        self.alive: list[Any] = [frame, memory]  # what the arguments point to
        self.carried = memory[frame.carried]  # the bytes of all states, between two runs
        self.arguments[kernel.place["back"]] = int(back)
        if rows.ragged:
            for name in ("start", "order", "lengths"):
                self.point(name, getattr(rows, name))

    def pitch(self, width: int) -> int:
        """The room of so many numbers in a row of what the kernel keeps."""
        return self.kernel.precision.pitch(width, self.sizes.heads)

    def blank(self, kept: Tensor, width: int) -> None:
        """Zeros between the slots of what the kernel keeps: a matrix product reads them with its factor."""
        if self.pitch(width) > width:
            kept.unflatten(1, (-1, self.pitch(width)))[..., width:] = 0

    def point(self, name: str, tensor: Tensor) -> None:
        """Where a table of the arguments lies."""
        self.alive.append(tensor)
        self.arguments[self.kernel.place[name]] = tensor.data_ptr()

    def array(self, name: str, tensor: Tensor, first_row: int = 0) -> None:
        """Where an array of the step lies, if the step has it; its rows may be those from some row on."""
        place = self.kernel.place.get(name + ".at")
        if place is not None:
            self.alive.append(tensor)
            at = tensor.data_ptr()
            row = self.arguments[place + 1] * tensor.element_size()
            self.arguments[place] = at - first_row * row

    def given(self, masks: Sequence[Tensor]) -> None:
        """Parameters and masks."""
        for p in self.program.parameters:
            self.array(f"parameter:{p.name}", self.weights[p.name])
        for m, tensor in zip(self.program.masks, masks):
            self.array(f"mask:{m.name}", tensor.contiguous())

    def states(self, first: Sequence[Tensor]) -> list[Tensor]:
        """What the first step starts from; returns where the final state will be."""
        final = []
        for name, value in zip(self.program.states, first):
            value = value.to(self.dtype).contiguous()
            end = torch.empty_like(value)
            self.array("first:" + name, value)
            self.array("final:" + name, end)
            final.append(end)
        return final

    def products(self) -> None:
        """Where the weights of the products lie."""
        for number, name in self.kernel.sources:
            tensor = self.weights[name]
            self.alive.append(tensor)
            self.arguments[number] = tensor.data_ptr()

    def run(self, first: int, last: int, begin: bool, end: bool) -> None:
        """Run over some steps: the first of the run, those between, the last of the run."""
        arguments = self.arguments
        arguments[0] = last - first
        arguments[1] = begin
        arguments[2] = end
        arguments[3] = last - 1 if self.back else first
        arguments[4] = begin
        self.kernel.run(ctypes.addressof(arguments), self.sizes.threads)


@functools.lru_cache(maxsize=512)
def names_of(program: Program) -> list[str]:
    """The names of a program's learned tensors."""
    return names(program)


@functools.lru_cache(maxsize=512)
def _factors(program: Program) -> frozenset[str]:
    """The names of the learned tensors that are factors of matrix products."""
    return frozenset({"weight_ih", "weight_hr", *(w.name for w in program.weights)})


@functools.lru_cache(maxsize=512)
def _forward_kernel(
    program: Program, trace: bool, save: bool, resets: bool, projection: str, precision: Precision, vectors: str
) -> tuple[lowering.Forward, Compiled]:
    ahead = lowering.forward(program, trace, save, resets, projection, precision.half)
    return ahead, forward_kernel(ahead, machine.host(vectors), precision)


def forward_kernel(
    ahead: lowering.Forward, target: machine.Target, precision: Precision, raw: bool = False
) -> Compiled:
    """A forward step, compiled."""
    low = ahead.program

    def weights(sizes: Sizes) -> dict[str, Source]:
        h, inner = sizes.hidden, sizes.output // sizes.heads
        found = {"projection": Source([0], [0], 1, h)}
        found["input"] = Source([0], [k * h * sizes.input for k in range(len(low.gates))], 1, sizes.input)
        for k, group in enumerate(low.groups):
            found[f"group {k}"] = Source([0], [row * h * inner for row in rows_of(low, group)], 1, inner)
        return found

    slots = {"gates": len(low.gates), "ahead": len(low.gates), **ahead.slots}
    return Compiled(ahead.step, slots, weights, _weights(low), target, precision, raw)


def _weights(low: Program) -> dict[str, str]:
    """The name of the learned tensor of each product, forward or backward."""
    found = {"input": "weight_ih", "projection": "weight_hr", "unproject": "weight_hr"}
    for k, group in enumerate(low.groups):
        found |= {f"group {k}": group.weight, f"back {k}": group.weight}
    return found


@functools.lru_cache(maxsize=512)
def _backward_kernel(
    program: Program,
    trace: bool,
    resets: bool,
    output: bool,
    traced: tuple[bool, ...],
    precision: Precision,
    vectors: str,
) -> tuple[lowering.Forward, lowering.Backward, Compiled]:
    ahead, back = lowering.backward(program, trace, resets, output, traced)
    low = ahead.program

    def weights(sizes: Sizes) -> dict[str, Source]:
        h, inner = sizes.hidden, sizes.output // sizes.heads
        found = {"unproject": Source([0], [0], h, 1)}
        for k, group in enumerate(low.groups):
            segments = [row * h * inner for row in rows_of(low, group)]
            found[f"back {k}"] = Source(segments, [0], inner, 1, h // sizes.heads * inner - inner)
        return found

    slots = {"gates": len(low.gates), **ahead.slots, "d": back.slots, "sums": len(back.sums)}
    return ahead, back, Compiled(back.step, slots, weights, _weights(low), machine.host(vectors), precision)


def vectors_wanted() -> str:
    """The vector units that are asked for by name; empty for the best."""
    return os.environ.get(machine.VARIABLE, "")


class _Ahead:
    """A run forward, as far as it is the same whatever becomes of it.

    Attributes:
        low: the step.
        call: the kernel's arguments.
        final: where the final state will be.
    """

    def __init__(self, program: Program, inputs: Inputs, trace: bool, save: bool) -> None:
        x, resets = inputs.x, inputs.reset is not None
        self.x, self.others = x, len(program.states) - 1
        self.projection = _projection(program, inputs)
        precision = of(x.dtype)
        self.low, kernel = _forward_kernel(program, trace, save, resets, self.projection, precision, vectors_wanted())
        self.traced = self.others + len(self.low.program.shown) if trace else 0
        self.rows = Rows(inputs)
        self.call = call = Call(kernel, program, self.low.program, inputs, self.rows, inputs.reverse)
        call.given(inputs.masks)
        call.products()
        self.final = call.states(_first_states(call, inputs) if resets else inputs.state)
        self.flat = self.rows.packed(x)
        self.bias = input_bias(program, self.low.joined, call.weights)
        beyond = precision.pitch(x.shape[2]) - x.shape[2]
        # What is computed ahead of the steps has room of its own where the gates are kept in bfloat16.
        self.exact_gates = precision.half and self.projection != "within"
        call.array("x", F.pad(self.flat, (0, beyond)) if beyond else self.flat)
        if self.bias is not None:
            call.array("bias", self.bias)

    def visible(self, steps: int, first: int = 0) -> list[Tensor]:
        """Room for the output and the traced values of so many steps, where the kernel writes them."""
        call, shape = self.call, (steps, self.x.shape[1])
        y = _series(self.x, (*shape, call.output), self.rows.ragged)
        traced = [_series(self.x, (*shape, call.hidden), self.rows.ragged) for _ in range(self.traced)]
        self.show([y, *traced])
        return [y, *traced]

    def show(self, visible: Sequence[Tensor], first: int = 0) -> None:
        """Where the kernel writes the visible values of the steps from one on."""
        row = first * self.x.shape[1]
        y, *traced = visible
        self.call.array("y", y, row)
        for k, series in enumerate(traced):
            self.call.array(f"trace:{k}" if k < self.others else f"shown:{k - self.others}", series, row)

    def kept(self, rows: int) -> dict[str, Tensor]:
        """Room for what so many rows leave for the way back, by name; (rows, slots·width) each."""
        call = self.call
        precision, heads = call.kernel.precision, call.sizes.heads
        found = {
            name: empty(dtype, (rows, width))
            for name, width, dtype in _kept(self.low, call.hidden, call.output, heads, precision)
        }
        for name, tensor in found.items():
            if name != "kept_rows":
                call.blank(tensor, call.output if name == "kept_output" else call.hidden)
        return found

    def gates(self, rows: int) -> Tensor:
        """Room for the gates of so many rows, where W x is computed ahead of the steps."""
        return empty(self.call.dtype, (rows, len(self.low.program.gates) * self.call.hidden))

    def project(self, x: Tensor, gates: Tensor) -> None:
        """W x + b, or its layer norm, of some rows, by PyTorch's products."""
        call = self.call
        weight = call.weights["weight_ih"]
        if "weight_ln_x" in call.weights:
            product = _projected(weight, x, call.kernel.target).to(call.dtype)
            gain = call.weights["weight_ln_x"]
            gates.copy_(F.layer_norm(product, product.shape[-1:], gain, self.bias, LAYER_NORM_EPSILON))
        elif self.bias is None:
            torch.mm(x, weight.t(), out=gates)
        else:
            torch.addmm(self.bias, x, weight.t(), out=gates)

    def over(self, span: Span, gates: Tensor | None, begin: bool, end: bool) -> None:
        """Run over a span, whose gates have this room if W x is computed ahead of its steps."""
        call = self.call
        if gates is not None and self.projection != "within":
            call.array("ahead" if self.exact_gates else "gates", gates, span.begin)
            if self.projection == "outside":
                self.project(self.flat[span.rows], gates)
        call.run(span.first, span.last, begin, end)


def forward(program: Program, inputs: Inputs, trace: bool, save: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The visible results of a run, and what `backward` needs; as the reference engine's."""
    again = save and program.recompute
    run = _Ahead(program, inputs, trace, save and not again)
    rows, (steps, batch) = run.rows, inputs.x.shape[:2]
    y, *traced = run.visible(steps)
    saved: dict[str, Tensor] = {}
    if again:
        saved = {"carried": empty(torch.uint8, _carried_shape(program, inputs))}
        spans = rows.spans(steps_again(batch), inputs.reverse)
    else:
        saved = run.kept(steps * batch) if save else {}
        for name, tensor in saved.items():
            run.call.array(name, tensor)
        width = len(run.low.program.gates) * run.call.hidden
        whole = run.projection == "within"
        spans = rows.spans(max(1, rows.steps) if whole else rows.cached(width, run.call.kernel.size), inputs.reverse)
    most = max((span.end - span.begin for span in spans), default=0)
    gates = None if run.exact_gates else saved.get("gates")
    held = run.gates(most) if gates is None and run.projection != "within" else None
    for number, span in enumerate(spans if rows.count else ()):
        if again and number:
            saved["carried"][span.first // steps_again(batch)] = run.call.carried
        part = gates[span.rows] if gates is not None else None if held is None else held[: span.end - span.begin]
        run.over(span, part, number == 0, number + 1 == len(spans))
    final = [s.to(inputs.x.dtype) for s in run.final] if rows.count else [s.clone() for s in inputs.state]
    shaped = [t if name == "carried" else t.view(steps, batch, t.shape[-1]) for name, t in saved.items()]
    return [y, *final, *traced], shaped


def _projection(program: Program, inputs: Inputs) -> str:
    """Where W x is computed.

    Within the step its results need no way through memory, but the weight is read in every step: that pays where all
    weights of a step stay in the processor's own cache, or where many sequences share what is read. A layer norm over
    all gates is PyTorch's, and so is a product with a large weight where PyTorch's library is faster.
    """
    w, u = inputs.weights[:2]
    library = w.dtype != torch.bfloat16 and machine.host(vectors_wanted()).library
    if program.layer_norm or (library and w.nbytes > machine.own_cache()):
        return "outside"
    batch, features = inputs.x.shape[1:]
    small = w.nbytes + u.nbytes <= machine.own_cache()
    enough = WITHIN_BATCH_SMALL if small and len(program.gates) > 1 else WITHIN_BATCH * (2 if library else 1)
    if features <= WITHIN_FEATURES or batch >= enough:
        return "within"
    return "outside" if library and not small else "ahead"


def _series(x: Tensor, shape: tuple[int, ...], ragged: bool) -> Tensor:
    """Room for a visible series; past a length there are zeros."""
    series = empty(x.dtype, shape)
    return series.zero_() if ragged else series


def _projected(weight: Tensor, x: Tensor, target: machine.Target) -> Tensor:
    """W x for all gates and all rows of x."""
    product = empty(x.dtype, (x.shape[0], weight.shape[0]))
    matmul(product, x, weight.t().contiguous(), False, target)  # turning W takes less than reading it the wrong way
    return product


def _first_states(call: Call, inputs: Inputs) -> list[Tensor]:
    """Tell the kernel after which steps a sequence returns home; the first states, home where a boundary precedes."""
    boundaries = inputs.boundaries()
    assert boundaries is not None
    nothing = torch.zeros_like(boundaries[:1])
    after = torch.cat([nothing, boundaries[:-1]] if inputs.reverse else [boundaries[1:], nothing])
    call.point("resets", after.view(torch.uint8))
    home = inputs.home or [s.new_zeros(s.shape[-1]) for s in inputs.state]
    for name, value in zip(call.program.states, home):
        call.array(f"home:{name}", value.to(call.dtype).contiguous())
    if inputs.reverse:
        return list(inputs.state)  # a boundary lies between two steps: none precedes the last
    return [torch.where(boundaries[0].unsqueeze(-1), h, s) for h, s in zip(home, inputs.state)]


def backward(
    program: Program,
    inputs: Inputs,
    saved: Sequence[Tensor],
    output: Tensor | None,
    final: Sequence[Tensor | None],
    traced: Sequence[Tensor | None],
    trace: bool,
    need_x: bool,
) -> Gradients:
    """Back through a run; as the reference engine's."""
    x, resets = inputs.x, inputs.reset is not None
    arrives = tuple(g is not None for g in traced)
    precision = of(x.dtype)
    ahead, back, kernel = _backward_kernel(
        program, trace, resets, output is not None, arrives, precision, vectors_wanted()
    )
    low = ahead.program
    rows = Rows(inputs)
    call = Call(kernel, program, low, inputs, rows, not inputs.reverse)
    hidden, wide = call.hidden, call.output
    call.given(inputs.masks)
    call.products()
    again = _Again(program, inputs, trace, saved[0]) if program.recompute else None
    kept = {} if again else {name: t.flatten(0, 1) for name, t in zip(("gates", *ahead.slots), saved)}
    for name, tensor in kept.items():
        call.array(name, tensor)
    if output is not None:
        call.array("dy", output.contiguous())
    for k, gradient in enumerate(traced):
        if gradient is not None:
            call.array(f"dtraced:{k}", gradient.contiguous())
    to_state = call.states([torch.zeros_like(s) if g is None else g for g, s in zip(final, inputs.state)])
    sums = x.new_zeros(call.sizes.threads, len(back.sums), hidden, dtype=call.dtype)
    call.array("sums", sums)
    home = [to_state[0].new_zeros(call.sizes.threads, s.shape[-1]) for s in inputs.state] if resets else []
    if resets:
        boundaries = inputs.boundaries()
        assert boundaries is not None
        call.point("resets", boundaries.contiguous().view(torch.uint8))
        for name, total in zip(low.states, home):
            call.array(f"home:{name}", total)

    width = back.slots * call.pitch(hidden)
    # In bfloat16 the gradients of weights are a library's products, which cannot be added up in float32.
    span_steps = again.steps if again else max(1, rows.steps) if precision.half else rows.cached(width, kernel.size)
    spans = rows.spans(span_steps, call.back)
    most = max((span.end - span.begin for span in spans), default=0)
    d, projected = empty(x.dtype, (most, width)), empty(x.dtype, (most, call.pitch(wide)))
    call.blank(d, hidden)
    call.blank(projected, wide)
    learned = _Learned(program, ahead, back, call)
    flat = rows.packed(x)
    to_x = empty(flat.dtype, flat.shape) if need_x else None
    for number, span in enumerate(spans):
        call.array("d", d, span.begin)
        call.array("dprojected", projected, span.begin)
        part, count = span.rows, span.end - span.begin
        of_span = again.over(span) if again else {name: tensor[part] for name, tensor in kept.items()}
        if again:
            for name, tensor in of_span.items():
                call.array(name, tensor, span.begin)
        call.run(span.first, span.last, number == 0, number + 1 == len(spans))
        learned.add(d[:count], projected[:count], flat[part], of_span, None if to_x is None else to_x[part])
    if not spans:
        to_state = [torch.zeros_like(s) if g is None else g.clone() for g, s in zip(final, inputs.state)]
    return Gradients(
        None if to_x is None else rows.padded(to_x, x.shape),
        [s.to(x.dtype) for s in to_state],
        [total.sum(0).to(x.dtype) for total in home[: len(inputs.home)]],
        learned.finished(sums.sum(0)),
    )


class _Again:
    """A run forward that kept the states between its spans only: each span is run again for its way back.

    Args:
        program, inputs, trace: as of the run.
        carried: the states before each span but the first, as bytes, (spans, ·).

    Attributes:
        steps: of a span, at most.
    """

    def __init__(self, program: Program, inputs: Inputs, trace: bool, carried: Tensor) -> None:
        self.run = run = _Ahead(program, inputs, trace, True)
        batch = inputs.x.shape[1]
        self.steps, self.before = steps_again(batch), carried
        most = min(run.rows.steps, self.steps)
        self.kept = run.kept(most * batch)
        self.visible = run.visible(most)
        self.gates = run.gates(most * batch) if run.exact_gates else self.kept["gates"]
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


class _Learned:
    """The gradients of what is learned, gathered span by span."""

    def __init__(
        self,
        program: Program,
        ahead: lowering.Forward,
        back: lowering.Backward,
        call: Call,
    ) -> None:
        self.program, self.ahead, self.back, self.call = program, ahead, back, call
        self.low, self.hidden, self.output = ahead.program, call.hidden, call.output
        self.pitch = call.pitch(call.hidden)  # of a slot of the gradients
        self.place = {k.node: k for k in ahead.kept}
        self.found: dict[str, Tensor] = {}
        self.sums: dict[tuple[str, int], Tensor] = {}  # products in tiles: of which weight, from which row on
        self.totals: Tensor | None = None  # the gradients summed over all steps, (slots·H,)
        self.shown = next((n.args[0] for n in self.low.nodes if n.op == "project"), None)
        self.through_projection = any(s.array == "dprojected" for s in back.step.stores)
        self.parts = [part for group in self.low.groups for part in self.divided(group)]
        self.begun: set[tuple[str, int]] = set()  # the weights, by their first row, that something was added to

    def divided(self, group: Group) -> list[tuple[Group, slice, slice]]:
        """A group's gates in runs: of each the rows of its weight and the columns of the gradients."""
        order = next(w.gates for w in self.low.weights if w.name == group.weight)
        runs: list[list[int]] = []  # first gate in the weight, first slot, how many
        for gate, n in zip(group.gates, group.nodes):
            row, slot = order.index(gate), self.back.products.get(n)
            if slot is None:
                continue
            if runs and (row, slot) == (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]):
                runs[-1][2] += 1
            else:
                runs.append([row, slot, 1])
        h, p = self.hidden, self.pitch
        return [(group, slice(r * h, (r + n) * h), slice(s * p, (s + n) * p)) for r, s, n in runs]

    def gradient(self, name: str) -> Tensor:
        """The gradient of a weight so far."""
        if name not in self.found:
            self.found[name] = torch.zeros_like(self.call.weights[name], dtype=self.call.dtype)
        return self.found[name]

    def add_product(self, name: str, rows: slice, a: Tensor, b: Tensor) -> None:
        """Add a product to some rows of a weight's gradient; the first one is written over whatever is there."""
        again = (name, rows.start) in self.begun
        self.begun.add((name, rows.start))
        if self.call.kernel.precision.half:
            self.add_half_product(name, rows, a, b, again)
        else:
            matmul(self.room(name)[rows], a, b, again, self.call.kernel.target)

    def add_half_product(self, name: str, rows: slice, a: Tensor, b: Tensor, again: bool) -> None:
        """As `add_product`, of bfloat16 numbers; the rows of the product may have gaps, as the slots of `a` have."""
        target = self.call.kernel.target
        if target.tiles and b.shape[1] >= UNITS:
            if not again:
                whole = -(-b.shape[1] // TILE_ROWS) * TILE_ROWS
                self.sums[name, rows.start] = empty(torch.float32, (a.shape[0], whole))
            tile_matmul(self.sums[name, rows.start], a.t(), b, again, target)
        else:
            self.put(name, rows, torch.mm(a, b), again)

    def put(self, name: str, rows: slice, product: Tensor, again: bool) -> None:
        """Write a product to some rows of a weight's gradient, or add it, without what lies between its slots."""
        weight = self.call.weights[name]
        product = product[:, : weight.shape[1]]
        if product.shape[0] > rows.stop - rows.start:
            width = self.output if name == "weight_hr" else self.hidden
            product = product.unflatten(0, (-1, self.call.pitch(width)))[:, :width]
        product = product.to(weight.dtype).reshape(-1, weight.shape[1])
        if name not in self.found and product.shape == weight.shape:
            self.found[name] = product
        else:
            room = self.room(name)[rows]
            room.add_(product) if again else room.copy_(product)

    def room(self, name: str) -> Tensor:
        """The gradient of a weight so far, as sums; where nothing is yet, it need not be blank if all will be."""
        if name not in self.found:
            weight = self.call.weights[name]
            written = sum(w.stop - w.start for group, w, _ in self.parts if group.weight == name)
            whole = name in ("weight_ih", "weight_hr") or written >= weight.shape[0]
            fresh = torch.empty_like if whole else torch.zeros_like
            self.found[name] = fresh(weight, dtype=self.call.dtype)
        elif self.found[name].dtype != self.call.dtype:  # one product, in bfloat16
            self.found[name] = self.found[name].to(self.call.dtype)
        return self.found[name]

    def add(self, d: Tensor, projected: Tensor, x: Tensor, kept: Mapping[str, Tensor], to_x: Tensor | None) -> None:
        """Add a span.

        Args:
            d: the gradients of the gates' parts, (N, slots·H).
            projected: that of the projected output, (N, P).
            x: the input, (N, I).
            kept: what was kept of the span, by name, (N, ·).
            to_x: where the gradient of x goes.
        """
        for group, of_weight, of_d in self.parts:
            operand = self.series(group.operand, kept)
            if self.low.heads == 1:
                self.add_product(group.weight, of_weight, d[:, of_d].t(), operand)
            else:
                self.gradient(group.weight)[of_weight] += self.of_heads(self.unpadded(d[:, of_d]), operand)
        if self.shown is not None and self.through_projection:
            self.add_product("weight_hr", slice(0, self.output), projected.t(), self.series(self.shown, kept))
        if self.program.bias:
            total = d.sum(0).to(self.call.dtype)  # PyTorch sums bfloat16 numbers in float32, slowly if asked to say so
            self.totals = total if self.totals is None else self.totals.add_(total)
        self.through_input(d[:, : len(self.low.gates) * self.pitch], x, to_x)

    def unpadded(self, gradient: Tensor) -> Tensor:
        """Some slots of the gradients without what lies between them."""
        if self.pitch == self.hidden:
            return gradient
        return gradient.unflatten(-1, (-1, self.pitch))[..., : self.hidden].flatten(-2)

    def padded(self, gates: Tensor, dimension: int) -> Tensor:
        """What a dimension holds for all gates, with zeros between them as between slots."""
        if self.pitch == self.hidden:
            return gates
        room = gates.unflatten(dimension, (-1, self.hidden))  # (…, G, H, …)
        after = (0, 0) * (gates.dim() - 1 - dimension)  # nothing is added to what follows
        return F.pad(room, (*after, 0, self.pitch - self.hidden)).flatten(dimension, dimension + 1)

    def series(self, node: int, kept: Mapping[str, Tensor]) -> Tensor:
        """A kept value, (N, ·)."""
        place = self.place[node]
        width = self.output if place.array == "kept_output" else self.hidden
        begin = place.slot * self.call.pitch(width)
        return kept[place.array][:, begin : begin + width]

    def of_heads(self, gradient: Tensor, operand: Tensor) -> Tensor:
        """The gradient of some rows of a recurrent weight that falls into blocks."""
        heads = self.low.heads
        split = gradient.unflatten(-1, (-1, heads, self.hidden // heads))
        return torch.einsum("tgnh,tnp->gnhp", split, operand.unflatten(-1, (heads, -1))).flatten(0, 2)

    def through_input(self, gradient: Tensor, x: Tensor, to_x: Tensor | None) -> None:
        """Back through the input projection."""
        weight = self.call.weights["weight_ih"]
        if self.program.layer_norm:
            product = _projected(weight, x, self.call.kernel.target).to(self.call.dtype)
            shape, gain = list(product.shape[-1:]), self.call.weights["weight_ln_x"]
            _, mean, scale = torch.native_layer_norm(product, shape, gain, None, LAYER_NORM_EPSILON)
            gradient, to_gain, _ = torch.ops.aten.native_layer_norm_backward(
                self.unpadded(gradient).to(self.call.dtype).contiguous(),
                *(product, shape, mean, scale, gain, None, [True, True, False]),
            )
            self.gradient("weight_ln_x").add_(to_gain)
            gradient = self.padded(gradient, 1).to(x.dtype)
        self.add_product("weight_ih", slice(0, weight.shape[0]), gradient.t(), x)
        if to_x is not None:
            matmul(to_x, gradient, self.padded(weight, 0), False, self.call.kernel.target)

    def finished(self, sums: Tensor) -> list[Tensor]:
        """All gradients, in the order of the weights."""
        hidden, gates = self.hidden, self.low.gates
        for p in self.low.parameters:
            target = self.gradient(p.name).view(-1, hidden)
            for k, label in enumerate(p.labels):
                if label in self.back.sums:
                    target[k] = sums[self.back.sums[label]]
        if self.program.bias and self.totals is not None:
            totals = self.totals.view(-1, self.pitch)[:, :hidden]
            self.found["bias_ih"] = totals[: len(gates)].reshape(-1)
            if len(self.ahead.joined) == len(gates):
                self.found["bias_hh"] = self.found["bias_ih"].clone()
            else:
                recurrent = self.gradient("bias_hh").view(-1, hidden)
                for n, slot in self.back.products.items():
                    weight, gate = self.low.nodes[n].label.split()
                    if weight == MAIN_WEIGHT and gate in self.ahead.joined:
                        recurrent[gates.index(gate)] = totals[slot]
        for (name, start), product in self.sums.items():
            height = self.output if name == "weight_hr" else product.shape[0] // self.pitch * self.hidden
            self.put(name, slice(start, start + height), product, again=False)
        dtype = self.call.kernel.precision.stored
        return [self.gradient(name).to(dtype) for name in names_of(self.program)]


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
