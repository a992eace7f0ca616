"""One step at a time: all layers of a stack in one compiled call, for as long as a stream lasts."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from holdfast.language import Program

from ..parameters import Sizes as Widths
from ..steps import lowering
from ..tensors import check_in_place
from . import machine
from .frame import Compiled, Sizes
from .int8 import packed
from .kernels import forward_kernel, names_of, vectors_wanted
from .precision import Precision

RAW_BATCH = 4  # up to so many sequences the weights are read where they lie; for more they are packed in every step

_CHAIN = """
define void @chain(ptr %table, i64 %count) {
entry:
  br label %head
head:
  %k = phi i64 [ 0, %entry ], [ %more, %body ]
  %left = icmp slt i64 %k, %count
  br i1 %left, label %body, label %out
body:
  %place = shl i64 %k, 1
  %at = getelementptr i64, ptr %table, i64 %place
  %run = load ptr, ptr %at
  %next = getelementptr i64, ptr %at, i64 1
  %arguments = load ptr, ptr %next
  call void %run(ptr %arguments, i64 1)
  %more = add i64 %k, 1
  br label %head
out:
  ret void
}
"""


@functools.lru_cache(maxsize=8)
def _chain(target: machine.Target) -> Any:
    """A compiled function that runs one kernel after the other."""
    address = machine.compiled(f'target triple = "{target.triple}"\n{_CHAIN}', target, "chain")
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)


@functools.lru_cache(maxsize=128)
def _kernel(program: Program, precision: Precision, raw: bool, vectors: str) -> tuple[lowering.Forward, Compiled]:
    ahead = lowering.forward(program, False, False, False, "stream")
    return ahead, forward_kernel(ahead, machine.host(vectors), precision, raw)


class _Layer:
    """One layer of a stream: the arguments of its kernel for even and odd steps, and its states."""

    def __init__(
        self, program: Program, features: int, hidden: int, output: int, batch: int, precision: Precision
    ) -> None:
        self.raw = batch <= RAW_BATCH or precision.int8
        self.program = program
        self.ahead, self.kernel = _kernel(program, precision, self.raw, vectors_wanted())
        self.low = self.ahead.program
        self.hidden = hidden
        self.sizes = Sizes(2, batch, features, hidden, output, program.heads, 1, False)
        self.frame = self.kernel.frame(self.sizes)
        first, self.memory = self.frame.arguments()
        self.arguments = [first, type(first).from_buffer_copy(first)]
        for odd, arguments in enumerate(self.arguments):
            arguments[self.kernel.place["steps"]] = 1
            arguments[self.kernel.place["begin"]] = 0
            arguments[self.kernel.place["first"]] = odd
            arguments[self.kernel.place["pack"]] = int(not self.raw)
        dtype = np.float64 if precision.size == 8 else np.float32
        self.y = np.zeros((batch, output), dtype)
        self.point("y", self.y.ctypes.data, batch)
        memory = self.memory.numpy()
        self.rings = []
        for name in program.states:
            width = output if name == program.states[0] else hidden
            begin = next(o for n, o in self.frame.inside if n == self.kernel.place[f"state:{name}.at"])
            ring = memory[begin : begin + 2 * batch * width * self.y.itemsize].view(dtype)
            self.rings.append(ring.reshape(2, batch, width))
            self.rings[-1][:] = 0

    def point(self, name: str, address: int, rows: int = 0) -> None:
        """Where an array lies that has one step of some rows; in an odd step they are counted from a step earlier."""
        place = self.kernel.place.get(f"{name}.at")
        if place is not None:
            for odd, arguments in enumerate(self.arguments):
                arguments[place] = address - odd * rows * arguments[place + 1] * self.kernel.size

    def bind(self, weights: Sequence[Any]) -> None:
        """Read the weights from where they lie now."""
        given = self.given = dict(zip(names_of(self.program), weights))
        if self.program.bias:
            self.point("bias", given["bias_ih"].data_ptr())
            self.point("bias_hh", given["bias_hh"].data_ptr())
        if self.program.layer_norm:
            self.point("gain", given["weight_ln_x"].data_ptr())
        for p in self.low.parameters:
            self.point(f"parameter:{p.name}", given[p.name].data_ptr())
        if self.kernel.precision.int8:
            self.quantise()
            return
        for number, name in self.kernel.sources:
            for arguments in self.arguments:
                arguments[number] = given[name].data_ptr()

    def quantise(self) -> None:
        """Bring the weights of the products to int8, as they are now."""
        kernel, frame = self.kernel, self.frame
        self.quantised = []
        for k, (_, name) in enumerate(kernel.sources):
            weight = self.given[name]
            _, *results = (int(at) // weight.shape[1] for at in frame.offsets[k])
            blocks = frame.tables[kernel.layout.of_product[k]]
            tensors = packed(weight, results, blocks, kernel.lanes)
            self.quantised.append(tensors)
            for what, tensor in zip(("packed", "scales"), tensors):
                for arguments in self.arguments:
                    arguments[kernel.place[f"product {k}.{what}"]] = tensor.data_ptr()


class Stepper:
    """A stack of layers, one step at a time.

    Attributes:
        x: where the input of a step is to be written, (B, I).
        y: where its output is then found, (B, P).
    """

    def __init__(
        self, program: Program, features: int, hidden: int, output: int, layers: int, batch: int, precision: Precision
    ) -> None:
        self.program, self.dtype = program, precision.dtype
        self.widths = [Widths(features if k == 0 else output, hidden, output) for k in range(layers)]
        self.layers = [
            _Layer(program, features if k == 0 else output, hidden, output, batch, precision) for k in range(layers)
        ]
        kind = np.float64 if precision.size == 8 else np.float32
        self.x = np.zeros((batch, features), kind)
        self.y = self.layers[-1].y
        self.odd = 0
        below = self.x
        for layer in self.layers:
            layer.point("x", below.ctypes.data, batch)
            below = layer.y
        self.tables = []
        for odd in range(2):
            table = (ctypes.c_int64 * (2 * layers))()
            for k, layer in enumerate(self.layers):
                table[2 * k] = layer.kernel.address
                table[2 * k + 1] = ctypes.addressof(layer.arguments[odd])
            self.tables.append(table)
        self.addresses = [ctypes.addressof(table) for table in self.tables]
        self.run = _chain(self.layers[0].kernel.target)

    def bind(self, weights: Sequence[Sequence[Any]]) -> None:
        """Read the weights of each layer from where they lie now, if all of them can be read there."""
        for widths, own in zip(self.widths, weights):
            check_in_place(self.program, widths, own, self.dtype)
        for layer, own in zip(self.layers, weights):
            layer.bind(own)

    def step(self) -> None:
        """One step, from `x` to `y`."""
        self.run(self.addresses[self.odd], len(self.layers))
        self.odd ^= 1

    def states(self, k: int) -> list[Any]:
        """The states of a layer as they stand, (B, ·); writing to them sets them."""
        return [ring[self.odd] for ring in self.layers[k].rings]
