"""A program in which a named value can be held: what an experiment on a trained cell needs."""

from __future__ import annotations

from dataclasses import replace

from .errors import suggestion
from .graph import Node
from .program import Parameter, Program

FREE, HELD = "free", "held"


def holding_name(name: str) -> str:
    """The name of the learned numbers that hold a value."""
    return f"hold_{name}"


def holdable(program: Program) -> list[str]:
    """The names of the values that can be held: gates, states, and what else the step's author named."""
    return [name for name, index in program.names if program.nodes[index].op != "state"]


def with_holding(program: Program, name: str) -> Program:
    """The program in which all that read a value read value ⊙ free + held instead, of each unit.

    With free = 1 and held = 0 it is the program that it was; with free = 0 the value is held.

    >>> from holdfast.language import Cell, equations, sigmoid, tanh, trace
    >>> class Leaky(Cell):
    ...     gates = ("f", "n")
    ...     def step(self, gate, state):
    ...         f = sigmoid(gate.f)
    ...         h = f * state.h + (1 - f) * tanh(gate.n)
    ...         return h
    >>> held = with_holding(trace(Leaky()), "f")
    >>> held.parameters[-1].labels
    ('hold_f.free', 'hold_f.held')
    >>> equations(held)[-1]
    'h[t] = f[t] ⊙ h[t-1] + (1 - f[t]) ⊙ tanh(W_n x[t] + U_n h[t-1] + b_n)'

    Args:
        program: any.
        name: of the value.

    Raises:
        ValueError: there is no such value, or it is projected.
    """
    known = holdable(program)
    if name not in known:
        hint = suggestion(name, known)
        raise ValueError(f"there is no value {name!r} in {program.cell} to hold; there are {', '.join(known)}{hint}")
    parameter = Parameter(holding_name(name), (FREE, HELD), None)
    if parameter.name in {p.name for p in program.parameters}:
        return program
    target = dict(program.names)[name]
    if program.projection and program.widths[target] == "output":
        raise ValueError(f"{name} is projected, and what is projected cannot be held")
    before = program.nodes[: target + 1]
    free = target + 1
    put = (
        Node("parameter", (), parameter.labels[0]),
        Node("parameter", (), parameter.labels[1]),
        Node("mul", (target, free), ""),
        Node("add", (free + 2, free + 1), ""),
    )
    by = len(put)

    def moved(index: int) -> int:
        """Where what was a node's now is: the held value stands for the value."""
        return index + by if index >= target else index

    after = tuple(node._replace(args=tuple(map(moved, node.args))) for node in program.nodes[target + 1 :])
    return replace(
        program,
        nodes=before + put + after,
        results=tuple(map(moved, program.results)),
        shown=tuple((shown, moved(index)) for shown, index in program.shown),
        names=tuple(sorted(((n, moved(index)) for n, index in program.names), key=lambda pair: pair[1])),
        parameters=(*program.parameters, parameter),
    )
