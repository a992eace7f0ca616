"""The kernels of a program: its steps forward and backward, compiled once for each way they are used."""

from __future__ import annotations

import functools
import os

from holdfast.language import Program

from ..parameters import names
from ..steps import lowering
from ..steps.around import rows_of
from . import machine
from .frame import Compiled, Sizes, Source
from .precision import Precision


@functools.lru_cache(maxsize=512)
def names_of(program: Program) -> list[str]:
    """The names of a program's learned tensors."""
    return names(program)


@functools.lru_cache(maxsize=512)
def factors(program: Program) -> frozenset[str]:
    """The names of the learned tensors that are factors of matrix products."""
    return frozenset({"weight_ih", "weight_hr", *(w.name for w in program.weights)})


@functools.lru_cache(maxsize=512)
def forward_step(
    program: Program, trace: bool, save: bool, resets: bool, projection: str, precision: Precision, vectors: str
) -> tuple[lowering.Forward, Compiled]:
    """The step forward of a program, and its kernel."""
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
def backward_step(
    program: Program,
    trace: bool,
    resets: bool,
    output: bool,
    traced: tuple[bool, ...],
    precision: Precision,
    vectors: str,
) -> tuple[lowering.Forward, lowering.Backward, Compiled]:
    """The steps forward and backward of a program, and the kernel of the latter."""
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


@functools.cache
def vectors_wanted() -> str:
    """The vector units that are asked for by name, as the process began; empty for the best."""
    return os.environ.get(machine.VARIABLE, "")
