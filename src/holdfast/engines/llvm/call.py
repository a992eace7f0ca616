"""One run of a kernel, and what of it is the same in all calls of one kind."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.language import Program

from ..inputs import Inputs
from ..tensors import Signature
from . import threads
from .frame import Compiled, Frame, Sizes, shares_units
from .kernels import factors, names_of
from .rows import Rows


class Plan:
    """How calls of one kind run: what depends on the program and on how the tensors are, not on what they hold.

    Attributes:
        signature: of the calls.
        program, low: the program, and its lowered form that the step was made of.
        kernel: the compiled step.
        backward: whether time runs backwards.
        exact: whether all tensors are in the dtype that is computed with.
        hidden, output: H and P.
        rows: how the sequences lie, if that does not depend on their lengths.
    """

    def __init__(self, signature: Signature, low: Program, kernel: Compiled, backward: bool) -> None:
        self.signature, self.low, self.kernel, self.backward = signature, low, kernel, backward
        self.program = program = signature.program
        self.dtype = kernel.precision.dtype
        self.exact = kernel.precision.stored == self.dtype
        self.names = names_of(program)
        self.hidden, self.output = signature.hidden, signature.output
        self.steps, self.batch, features = signature.shape
        self.widths = self.steps, self.batch, features, self.hidden, self.output, program.heads
        size = kernel.precision.stored.itemsize
        read_in_each_step = sum(math.prod(signature.weights[name]) * size for name in kernel.read_in_each_step)
        self.shared = shares_units(self.batch, threads.count(), read_in_each_step)
        self.rows = None if signature.form.lengths else Rows(self.steps, self.batch, None)
        self.frame = None if self.rows is None else self.frame_for(self.rows)
        arrays = kernel.arrays
        parameters = [(f"parameter:{p.name}", p.name) for p in low.parameters]
        masks = [(f"mask:{m.name}", k) for k, m in enumerate(low.masks)]
        self.learned = [*kernel.sources, *((arrays[array], name) for array, name in parameters if array in arrays)]
        self.masks = [(arrays[array], k) for array, k in masks if array in arrays]
        self.first = [arrays[f"first:{name}"] for name in low.states]
        self.final = [arrays[f"final:{name}"] for name in low.states]

    def frame_for(self, rows: Rows) -> Frame:
        """The kernel's arguments for so many rows, as far as they do not change."""
        per_row = math.prod(self.signature.weights["weight_hh"]) + 20 * self.hidden
        if self.shared:
            team = threads.team(self.batch * per_row, threads.SMALL_STEP)
        else:
            team = threads.team(rows.count * per_row, threads.SMALL)
        return self.kernel.frame(Sizes(*self.widths, team, self.shared and team > 1))

    def named(self, weights: Sequence[Tensor]) -> dict[str, Tensor]:
        """The learned tensors by name, as they are computed with."""
        if not all(map(Tensor.is_contiguous, weights)):
            weights = [w.contiguous() for w in weights]
        if not self.exact:
            as_they_are = factors(self.program)
            weights = [w if n in as_they_are else w.to(self.dtype) for n, w in zip(self.names, weights)]
        return dict(zip(self.names, weights))

    def pitch(self, width: int) -> int:
        """The room of so many numbers in a row of what the kernel keeps."""
        return self.kernel.precision.pitch(width, self.program.heads)


class Call:
    """One run of a kernel: its arguments, filled in piece by piece."""

    def __init__(self, plan: Plan, inputs: Inputs, rows: Rows) -> None:
        self.plan, self.kernel = plan, plan.kernel
        self.weights = plan.named(inputs.weights)
        self.frame = plan.frame or plan.frame_for(rows)
        self.sizes = self.frame.sizes
        self.arguments, self.memory = self.frame.arguments()
        self.alive: dict[int, Tensor] = {}  # what the arguments point to
        self.arguments[self.kernel.place["back"]] = plan.backward
        self.fill([(place, self.weights[name]) for place, name in plan.learned])
        if plan.masks:
            self.fill([(place, inputs.masks[k].contiguous()) for place, k in plan.masks])
        if rows.ragged:
            for name in ("start", "order", "lengths"):
                self.table(name, getattr(rows, name))

    @property
    def carried(self) -> Tensor:
        """The bytes of all states, between two runs."""
        found: Tensor = self.memory[self.frame.carried]
        return found

    def fill(self, arguments: Iterable[tuple[int, Tensor]]) -> None:
        """Where the tensors of some arguments lie."""
        for place, tensor in arguments:
            self.alive[place] = tensor
            self.arguments[place] = tensor.data_ptr()

    def table(self, name: str, tensor: Tensor) -> None:
        """Where a table of the arguments lies."""
        self.fill([(self.kernel.place[name], tensor)])

    def array(self, name: str, tensor: Tensor, first_row: int = 0) -> None:
        """Where an array of the step lies, if the step has it; its rows may be those from some row on."""
        place = self.kernel.arrays.get(name)
        if place is not None:
            self.alive[place] = tensor
            before = first_row * self.arguments[place + 1] * tensor.element_size() if first_row else 0
            self.arguments[place] = tensor.data_ptr() - before

    def states(self, first: Sequence[Tensor]) -> list[Tensor]:
        """What the first step starts from; returns where the final state will be."""
        if not self.plan.exact:
            first = [value.to(self.plan.dtype) for value in first]
        first = [value.contiguous() for value in first]
        final = [torch.empty_like(value) for value in first]
        self.fill(zip(self.plan.first, first))
        self.fill(zip(self.plan.final, final))
        return final

    def run(self, first: int, last: int, begin: bool, end: bool) -> None:
        """Run over some steps: the first of the run, those between, the last of the run."""
        arguments: Any = self.arguments
        arguments[:5] = last - first, begin, end, last - 1 if self.plan.backward else first, begin
        self.kernel.run(ctypes.addressof(arguments), self.sizes.threads)

    def blank(self, kept: Tensor, width: int) -> Tensor:
        """With zeros between the slots of what the kernel keeps: a matrix product reads them with its factor."""
        pitch = self.plan.pitch(width)
        if pitch > width:
            kept.unflatten(-1, (-1, pitch))[..., width:] = 0
        return kept
