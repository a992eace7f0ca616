"""What a kernel is called with: sizes, addresses, and the memory that it works in."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .emit import emit
from .machine import Target, compiled
from .step import Step

import os
SHARE = lambda s: s.threads>1 and (s.batch < 2 * s.threads or s.hidden>=int(os.environ.get('SH','9999')))
MANY = 64  # sets of arguments that a kernel remembers


class Sizes(NamedTuple):
    """What a call's arguments depend on, beside the memory they point to."""

    steps: int
    batch: int
    input: int
    hidden: int
    output: int
    heads: int
    threads: int


class Compiled:
    """A compiled step, with its arguments as far as they do not change from call to call."""

    def __init__(self, step: Step, target: Target, double: bool) -> None:
        text, self.layout, self.plan = emit(step, target, double)
        self.step = step
        self.size = 8 if double else 4  # bytes of a number
        self.lanes = target.lanes(double)
        self.run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(compiled(text, target))
        self.place = {name: k for k, name in enumerate(self.layout.fields)}
        self.numbers = {product.weight: k for k, product in enumerate(step.products)}
        self.frames: dict[Sizes, Frame] = {}

    def frame(self, sizes: Sizes) -> Frame:
        """The arguments for some sizes."""
        found = self.frames.get(sizes)
        if found is None:
            found = Frame(self, sizes)
            if len(self.frames) >= MANY:  # sequences of ever new lengths must not fill the memory
                self.frames = {}
            self.frames[sizes] = found
        return found


class Frame:
    """The arguments of a kernel for some sizes, and how the memory that it works in is divided."""

    def __init__(self, kernel: Compiled, sizes: Sizes) -> None:
        self.kernel = kernel
        self.sizes = sizes
        self.width = {"input": sizes.input, "units": sizes.hidden, "output": sizes.output, "row": 1}
        self.values: dict[str, int] = {}
        self.inside: list[tuple[int, int]] = []  # the number of an argument, and where it points to, in bytes
        self.bytes = 0
        self.start = np.arange(sizes.steps + 1, dtype=np.int64) * sizes.batch
        self.order = np.arange(sizes.batch, dtype=np.int64)
        self.lengths = np.full(sizes.batch, sizes.steps, dtype=np.int64)
        self.values |= {
            "batch": sizes.batch,
            "units": sizes.hidden,
            "output": sizes.output,
            "start": self.start.ctypes.data,
            "order": self.order.ctypes.data,
            "lengths": self.lengths.ctypes.data,
            "reciprocal": self.bits(1 / sizes.hidden),
            "shared": int(SHARE(sizes)),
        }
        self.room("barrier", 128)  # its two counters, each in a cache line of its own
        self.add_products()
        self.add_memory()
        fields = kernel.layout.fields
        self.template = (ctypes.c_int64 * len(fields))(*(self.values.get(name, 0) for name in fields))
        self.type = type(self.template)

    def add_products(self) -> None:
        """The blocks of units, and room for the packed weights."""
        kernel, layout = self.kernel, self.kernel.layout
        self.tables = []
        for k, table in enumerate(layout.tables):
            heads = self.sizes.heads if table.headed else 1
            self.tables.append(blocks(self.width[table.width], heads, table.vectors * kernel.lanes))
            self.values |= {f"table {k}.at": self.tables[k].ctypes.data, f"table {k}.blocks": len(self.tables[k])}
        for k, product in enumerate(kernel.step.products):
            rows = self.width[product.inner] // (self.sizes.heads if product.headed else 1)
            self.values[f"product {k}.rows"] = rows
            table = layout.of_product[k]
            per_row = product.results * layout.tables[table].vectors * kernel.lanes
            entries = len(self.tables[table]) * len(product.operands) * rows * per_row
            self.room(f"product {k}.packed", entries * kernel.size)

    def add_memory(self) -> None:
        """Room for the states, for what is spilled and for means."""
        kernel, batch, size = self.kernel, self.sizes.batch, self.kernel.size
        for array in kernel.step.arrays:
            if array.name.startswith("state:"):
                width = self.width[array.width]
                self.room(f"{array.name}.at", 2 * batch * width * size)
                self.values |= {f"{array.name}.row": width, f"{array.name}.slot": batch * width}
        for name, slots in kernel.plan.scratch.items():
            width = self.width[name]
            self.room(f"scratch_{name}.at", batch * slots * width * size)
            self.values |= {f"scratch_{name}.row": slots * width, f"scratch_{name}.slot": width}
        means = self.sizes.threads * kernel.plan.means * batch * size
        self.room("partial", means * kernel.lanes)
        self.room("mean", means)

    def bits(self, number: float) -> int:
        """A number of the kernel's dtype as an argument."""
        found = np.zeros(1, dtype=np.int64)
        found.view(np.float64 if self.kernel.size == 8 else np.float32)[0] = number
        return int(found[0])

    def room(self, name: str, size: int) -> None:
        """Set aside working memory for an argument."""
        self.inside.append((self.kernel.place[name], self.bytes))
        self.bytes += -(-size // 64) * 64

    def arguments(self) -> tuple[Any, Tensor]:
        """A call's own arguments, and the working memory they point to."""
        memory = torch.empty(self.bytes + 64, dtype=torch.uint8)
        found = self.type.from_buffer_copy(self.template)
        base = (memory.data_ptr() + 63) & ~63
        for number, offset in self.inside:
            found[number] = base + offset
        ctypes.memset(base, 0, 128)
        return found, memory


def blocks(width: int, heads: int, size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The blocks of some units: first unit, number of units, head."""
    per_head = width // heads
    rows = [
        (head * per_head + first, min(size, per_head - first), head)
        for head in range(heads)
        for first in range(0, per_head, size)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
