"""What a kernel is called with: the arguments by name, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..steps.step import Pass, Schedule, Step, operand_states
from .precision import Precision

HEADER = (
    "steps",  # how many steps the loop makes: a call may run a part of the sequence
    "begin",  # 1 in the first call of a sequence, which reads the first state
    "end",  # 1 in the last, which writes the final state
    "first",  # the first step
    "pack",  # 1 if the weights are to be packed
    "back",  # 1 if time runs backwards, in the order of the loop
    "batch",
    "units",  # H
    "output",  # P
    "start",  # (T + 1,) the first packed row of each step
    "order",  # (B,) the caller's number of each sequence, longest first
    "lengths",  # (B,) the length of each sequence, longest first
    "shared",  # 1 if the threads share the units, 0 if they share the sequences
    "barrier",
    "resets",  # (T, B) uint8: whether a boundary comes between the step and the next one of this loop
    "partial",  # (threads, means, B, lanes) sums over a thread's units
    "mean",  # (threads, means, B)
    "reciprocal",  # 1 / H as the bits of a number
)
OPERAND = ("packed", "source", "rows", "offsets", "along", "across", "head")
OPERAND_INT8 = ("scales", "whole", "whole.row", "steps", "finest")


def vectors(results: int) -> int:
    """How many vectors of units a block holds, so that a register tile has at least three or four vectors."""
    return {1: 4, 2: 2}.get(results, 1)


@dataclass(frozen=True)
class Table:
    """A division of the units into blocks, by what it depends on."""

    width: str
    vectors: int
    headed: bool


@dataclass(frozen=True)
class Layout:
    """What the arguments are, in their order."""

    fields: tuple[str, ...]
    tables: tuple[Table, ...]
    of_pass: Mapping[Pass, int]  # the table of each pass
    of_product: tuple[int, ...]  # the table of each product


def layout(step: Step, plan: Schedule, raw: bool, precision: Precision) -> Layout:
    """The arguments of a step's kernel."""
    tables: list[Table] = []
    of_pass: dict[Pass, int] = {}
    of_product = [0] * len(step.products)
    for part in (*([plan.before] if plan.before else ()), *plan.passes):
        most = max((step.products[k].results for k in part.products), default=1)
        table = Table(part.width, 1 if raw else vectors(most), any(step.products[k].headed for k in part.products))
        if table not in tables:
            tables.append(table)
        of_pass[part] = tables.index(table)
        for k in part.products:
            of_product[k] = tables.index(table)
    fields = list(HEADER)
    arrays = [*(array.name for array in step.arrays), "scratch_units", "scratch_output"]
    if precision.half:  # what matrix products read is kept in bfloat16 too
        arrays += [*(f"factor:{state}" for state in operand_states(step)), "factor_units", "factor_output"]
    for name in arrays:
        fields += [f"{name}.{what}" for what in ("at", "row", "slot")]
    for carry in step.carries:
        fields += [
            f"{kind}:{carry.state}.{what}" for kind in ("first", "final", "home") for what in ("at", "row", "slot")
        ]
    for k in range(len(step.products)):
        fields += [f"product {k}.{what}" for what in (*OPERAND, *(OPERAND_INT8 if precision.int8 else ()))]
    for k in range(len(tables)):
        fields += [f"table {k}.at", f"table {k}.blocks"]
    return Layout(tuple(fields), tuple(tables), of_pass, tuple(of_product))
