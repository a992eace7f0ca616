"""Which tensors a program learns: their names, shapes and first values, in the order in which they travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.language import Program
from holdfast.language.program import MAIN_WEIGHT


@dataclass(frozen=True)
class Sizes:
    """The three widths of a layer: of its input, of its units, and of its output (the units' unless projected)."""

    input: int
    hidden: int
    output: int


@dataclass(frozen=True)
class Spec:
    """One learned tensor.

    Attributes:
        name: as in PyTorch, without the layer's suffix.
        shape: its shape.
        initial: the value it starts from; None for the uniform draw that PyTorch uses.
    """

    name: str
    shape: tuple[int, ...]
    initial: float | None = None


def specs(program: Program, sizes: Sizes) -> list[Spec]:
    """The learned tensors of one layer in one direction, PyTorch's own first and in PyTorch's order."""
    return list(_specs(program, sizes))


def names(program: Program) -> list[str]:
    """The names of the learned tensors, in their order."""
    return [spec.name for spec in _specs(program, Sizes(1, program.heads, program.heads))]


def gain_name(weight: str) -> str:
    """The name of the layer-norm gain of a recurrent weight's products."""
    return "weight_ln_h" if weight == MAIN_WEIGHT else f"weight_ln_{weight.removeprefix('weight_')}"


def _specs(program: Program, sizes: Sizes) -> Iterator[Spec]:
    rows = len(program.gates) * sizes.hidden
    main, *extra = program.weights
    yield Spec("weight_ih", (rows, sizes.input))
    yield Spec(main.name, (rows, sizes.output // program.heads))
    if program.bias:
        yield Spec("bias_ih", (rows,))
        yield Spec("bias_hh", (rows,))
    if program.projection:
        yield Spec("weight_hr", (sizes.output, sizes.hidden))
    for weight in extra:
        yield Spec(weight.name, (len(weight.gates) * sizes.hidden, sizes.hidden // program.heads))
    if program.layer_norm:
        yield Spec("weight_ln_x", (rows,), 1.0)
        for weight in program.weights:
            yield Spec(gain_name(weight.name), (len(weight.gates) * sizes.hidden,), 1.0)
    for p in program.parameters:
        shape = (len(p.rows), sizes.hidden) if p.rows else (sizes.hidden,)
        yield Spec(p.name, shape, p.initial)
