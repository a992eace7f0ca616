"""A program as a reader would draw it: what is summed for a gate is one box, and so is a layer norm."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .operations import OPERATIONS
from .program import Program
from .typeset import gate_sums, layer_normed

BEFORE, SUM, OPERATION, PARAMETER = "before", "sum", "operation", "parameter"
_BLANK = "·"  # stands for the value in an operation with a number, as in "1 - ·"
_SYMBOLS = {"where": "if"}  # of operations that are not written between or before their operands


@dataclass(frozen=True)
class Box:
    """One value of a step.

    Attributes:
        node: its node in the program.
        kind: "before" (a state before the step), "sum" (of inputs and recurrent products), "operation", "parameter".
        text: what stands in it.
        args: the nodes of the boxes that it reads; a state that is read by a recurrent product is none of them.
    """

    node: int
    kind: str
    text: str
    args: tuple[int, ...] = ()


def outline(program: Program) -> list[Box]:
    """The boxes of a program, each after what it reads.

    >>> from holdfast.language import Cell, sigmoid, tanh, trace
    >>> class Leaky(Cell):
    ...     gates = ("f", "n")
    ...     def step(self, gate, state):
    ...         f = sigmoid(gate.f)
    ...         return f * state.h + (1 - f) * tanh(gate.n)
    >>> [box.text for box in outline(trace(Leaky()))]
    ['h[t-1]', 'f', 'σ', '⊙', '1 - ·', 'n', 'tanh', '⊙', '+']
    """
    boxes: dict[int, Box] = {}
    sums = gate_sums(program)
    for root in (*program.results, *(index for _, index in program.shown)):
        _visit(program, root, sums, boxes)
    return [boxes[node] for node in sorted(boxes)]


def series_of(node: int) -> str:
    """What the series of a node of the program is called in a trace of every value."""
    return f"_{node}"


def with_every_value_shown(program: Program) -> Program:
    """The program whose traces show every value of the units that its outline has, in place of the gates.

    >>> from holdfast.language import Cell, sigmoid, trace
    >>> class Keeping(Cell):
    ...     gates = ("f",)
    ...     def step(self, gate, state):
    ...         f = sigmoid(gate.f)
    ...         return f * state.h
    >>> with_every_value_shown(trace(Keeping())).shown
    (('_1', 1), ('_3', 3), ('_4', 4), ('_5', 5))
    """
    widths = program.widths
    shown = [box.node for box in outline(program) if widths[box.node] == "units"]
    return replace(program, shown=tuple((series_of(node), node) for node in shown))


def _visit(program: Program, index: int, sums: set[int], boxes: dict[int, Box]) -> None:
    if index in boxes or program.nodes[index].op == "const":
        return
    box = boxes[index] = _box(program, index, sums)
    for arg in box.args:
        _visit(program, arg, sums, boxes)


def _box(program: Program, index: int, sums: set[int]) -> Box:
    nodes = program.nodes
    node = nodes[index]
    if index in sums:
        product = nodes[node.args[1]]
        return Box(index, SUM, nodes[node.args[0]].label, _computed(program, product.args))
    if node.op == "input":
        return Box(index, SUM, f"W {node.label}")
    if node.op == "product":
        return Box(index, SUM, f"U {node.label.split()[1]}", _computed(program, node.args))
    if node.op == "state":
        return Box(index, BEFORE, f"{node.label}[t-1]")
    inner = layer_normed(program, index)
    if inner is not None:
        return Box(index, OPERATION, "LN", (inner,))
    if node.op in OPERATIONS:
        return Box(index, OPERATION, _operation(program, index), _variable(program, node.args))
    if node.args:
        return Box(index, OPERATION, {"project": "W_hr"}.get(node.op, node.op), node.args)
    return Box(index, PARAMETER, node.label)


def _computed(program: Program, args: tuple[int, ...]) -> tuple[int, ...]:
    """What a recurrent product reads, where that is more than a state before the step."""
    return tuple(arg for arg in args if program.nodes[arg].op != "state")


def _variable(program: Program, args: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(arg for arg in args if program.nodes[arg].op != "const")


def _operation(program: Program, index: int) -> str:
    """The symbol of an operation, with the numbers in it."""
    node = program.nodes[index]
    template = OPERATIONS[node.op].plain
    variable = _variable(program, node.args)
    if len(variable) < len(node.args):
        numbers = [program.nodes[arg] for arg in node.args]
        return template.format(*(_BLANK if n.op != "const" else f"{float(n.label):g}" for n in numbers))
    if node.op in _SYMBOLS:
        return _SYMBOLS[node.op]
    return template.partition("(")[0] if "(" in template else template.format("", "").strip()
