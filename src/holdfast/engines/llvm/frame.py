"""What a kernel is called with: sizes, addresses, and the memory that it works in."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..steps.step import Step, operand_states
from . import machine
from .emit import emit
from .int8 import PIECE, finest, whole
from .machine import Target, compiled
from .memory import empty
from .precision import DEPTH, Precision

Blocks = np.ndarray[Any, np.dtype[np.int64]]

MANY = 64  # sets of arguments that a kernel remembers
ALIGNED = 64  # bytes: where each piece of working memory begins


class Sizes(NamedTuple):
    """What a call's arguments depend on, beside the memory they point to."""

    steps: int
    batch: int
    input: int
    hidden: int
    output: int
    heads: int
    threads: int
    shared: bool  # whether the threads share the units, and not the sequences


class Source(NamedTuple):
    """How the entries of a product's weight lie in memory: see `Kernel.emit_pack`.

    Attributes:
        segments: where the rows for each operand begin.
        results: where the entries for each result begin.
        along: the distance from one entry of an operand to the next.
        across: that from one unit of the result to the next.
        head: that from one head to the next.
    """

    segments: Sequence[int]
    results: Sequence[int]
    along: int
    across: int
    head: int = 0


Weights = Callable[["Sizes"], Mapping[str, Source]]


class Compiled:
    """A compiled step, with its arguments as far as they do not change from call to call.

    Args:
        step: the step.
        slots: how many slots a row of an array has, where there are several.
        weights: how the weights of its products lie, by size.
        names: the names of the learned tensors that they are.
        target: what it is compiled for.
        precision, raw: as in `Kernel`.
    """

    def __init__(
        self,
        step: Step,
        slots: Mapping[str, int],
        weights: Weights,
        names: Mapping[str, str],
        target: Target,
        precision: Precision,
        raw: bool = False,
    ) -> None:
        self.slots = slots
        self.weights = weights
        text, self.layout, self.plan = emit(step, target, precision, raw)
        self.step = step
        self.target = target
        self.precision = precision
        self.size = precision.size
        self.lanes = target.lanes(self.size)
        self.address = compiled(text, target)
        self.run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(self.address)
        self.place = {name: k for k, name in enumerate(self.layout.fields)}
        self.arrays = {name.removesuffix(".at"): k for name, k in self.place.items() if name.endswith(".at")}
        self.sources = [
            (self.place[f"product {k}.source"], names[product.weight]) for k, product in enumerate(step.products)
        ]
        in_steps = {k for part in self.plan.passes for k in part.products}
        self.read_in_each_step = {names[step.products[k].weight] for k in in_steps}
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
            "shared": int(sizes.shared),
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
        self.tables: list[Blocks] = []
        self.offsets: list[Any] = []
        for k, table in enumerate(layout.tables):
            heads = self.sizes.heads if table.headed else 1
            self.tables.append(blocks(self.width[table.width], heads, table.vectors * kernel.lanes))
            self.values |= {f"table {k}.at": self.tables[k].ctypes.data, f"table {k}.blocks": len(self.tables[k])}
        sources = kernel.weights(self.sizes)
        for k, product in enumerate(kernel.step.products):
            source = sources[product.weight]
            offsets = np.array([*source.segments, *source.results], dtype=np.int64)
            self.offsets.append(offsets)
            self.values |= {
                f"product {k}.offsets": offsets.ctypes.data,
                f"product {k}.along": source.along,
                f"product {k}.across": source.across,
                f"product {k}.head": source.head,
            }
            rows = self.width[product.inner] // (self.sizes.heads if product.headed else 1)
            self.values[f"product {k}.rows"] = rows
            of = layout.of_product[k]
            per_row = product.results * layout.tables[of].vectors * kernel.lanes
            if kernel.precision.half:  # in pairs, each as large as a number that is computed with
                rows = -(-rows // DEPTH) * DEPTH // 2
            entries = len(self.tables[of]) * len(product.operands) * rows * per_row
            if kernel.precision.int8:
                self.add_rounded(k, rows)
            else:
                self.room(f"product {k}.packed", (entries + 1) * kernel.size)  # one more: see `half_tile`

    def add_rounded(self, k: int, rows: int) -> None:
        """Room for the operand of a product in 16 bits: whole pieces, also of the part of the last head."""
        product = self.kernel.step.products[k]
        row = whole(self.width[product.inner]) + (PIECE if product.headed else 0)
        self.room(f"product {k}.whole", 2 * self.sizes.batch * row)
        self.room(f"product {k}.steps", self.sizes.batch * self.kernel.size)
        self.values |= {f"product {k}.whole.row": row, f"product {k}.finest": self.bits(finest(rows))}

    def add_memory(self) -> None:
        """Room for the states, for what is spilled and for means."""
        kernel, batch, size = self.kernel, self.sizes.batch, self.kernel.size
        blank = self.bytes
        if kernel.precision.half:
            self.add_scratch_factors()
        begin = self.bytes
        if kernel.precision.half:
            self.add_state_factors()
        self.blank = slice(blank, self.bytes)
        for array in kernel.step.arrays:  # the states one after the other, for who goes on from them another time
            width = self.width[array.width]
            if array.series and array.order == "packed":
                width = kernel.precision.pitch(width, self.sizes.heads if array.width != "input" else 1)
            row, slot = width * kernel.slots.get(array.name, 1), width
            if array.name.startswith("state:"):
                self.room(f"{array.name}.at", 2 * batch * width * size)
                slot = batch * width
            self.values |= {f"{array.name}.row": row, f"{array.name}.slot": slot}
        self.carried = slice(begin, self.bytes)
        for carry in kernel.step.carries:
            self.values |= {f"{kind}:{carry.state}.row": self.width[carry.width] for kind in ("first", "final", "home")}
        for name, slots in kernel.plan.scratch.items():
            width = self.width[name]
            self.room(f"scratch_{name}.at", batch * slots * width * size)
            self.values |= {f"scratch_{name}.row": slots * width, f"scratch_{name}.slot": width}
        means = self.sizes.threads * kernel.plan.means * batch * size
        self.room("partial", means * kernel.lanes)
        self.room("mean", means)

    def add_scratch_factors(self) -> None:
        """Room for what is spilled and read by matrix products, in bfloat16."""
        for width, slots in self.kernel.plan.scratch.items():
            pitch = self.kernel.precision.pitch(self.width[width], self.sizes.heads)
            self.add_factor(f"factor_{width}", slots * pitch, pitch, self.sizes.batch * slots * pitch)

    def add_state_factors(self) -> None:
        """Room for the states that matrix products read, in bfloat16: of the step before and of this one."""
        for state in operand_states(self.kernel.step):
            width = self.width[self.kernel.step.array(f"state:{state}").width]
            pitch = self.kernel.precision.pitch(width, self.sizes.heads)
            slot = self.sizes.batch * pitch
            self.add_factor(f"factor:{state}", pitch, slot, 2 * slot)

    def add_factor(self, name: str, row: int, slot: int, count: int) -> None:
        """Room for so many bfloat16 numbers, and how far its rows and slots are apart."""
        self.room(f"{name}.at", 2 * count)
        self.values |= {f"{name}.row": row, f"{name}.slot": slot}

    def bits(self, number: float) -> int:
        """A number of the kernel's dtype as an argument."""
        found = np.zeros(1, dtype=np.int64)
        found.view(np.float64 if self.kernel.size == 8 else np.float32)[0] = number
        return int(found[0])

    def room(self, name: str, size: int) -> None:
        """Set aside working memory for an argument."""
        self.inside.append((self.kernel.place[name], self.bytes))
        self.bytes += -(-size // ALIGNED) * ALIGNED

    def arguments(self) -> tuple[Any, Tensor]:
        """A call's own arguments, and the working memory they point to."""
        memory = empty(torch.uint8, (self.bytes + ALIGNED,))
        if beyond := -memory.data_ptr() % ALIGNED:
            memory = memory[beyond:]
        found = self.type.from_buffer_copy(self.template)
        base = memory.data_ptr()
        for number, offset in self.inside:
            found[number] = base + offset
        ctypes.memset(base, 0, 128)
        ctypes.memset(base + self.blank.start, 0, self.blank.stop - self.blank.start)
        return found, memory


def shares_units(batch: int, threads: int, weights: int) -> bool:
    """Whether the threads of a team share the units, and not the sequences.

    So it is where there are too few sequences; and where the weights that are read in every step, of so many bytes,
    do not stay in a processor's own cache, but a thread's part of them may.
    """
    return threads > 1 and (batch < 2 * threads or 2 * weights > machine.own_cache())


def blocks(width: int, heads: int, size: int) -> Blocks:
    """The blocks of some units: first unit, number of units, head."""
    per_head = width // heads
    rows = [
        (head * per_head + first, min(size, per_head - first), head)
        for head in range(heads)
        for first in range(0, per_head, size)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
