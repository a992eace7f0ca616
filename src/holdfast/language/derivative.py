"""The derivative of a step, by reverse mode on its graph; the result is a graph again.

Each rule below gives the contributions to the arguments' gradients from the gradient g of the result y. The rules are
written in the language itself, in terms of the result wherever that is possible, so that little must be kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .graph import Graph, Node, pruned
from .operations import COMPARISONS
from .program import Group, Program
from .symbols import Value, leaf, sigmoid, where

Rule = Callable[..., tuple[Value | None, ...]]


def _of_extreme(g: Value, y: Value, a: Value, b: Value, first_wins: Value) -> tuple[Value, Value]:
    """minimum and maximum: the gradient goes to the one that was taken; to each a half where they are equal."""
    half = 0.5 * g
    return where(a == b, half, where(first_wins, g, 0.0)), where(a == b, half, where(first_wins, 0.0, g))


RULES: dict[str, Rule] = {
    "add": lambda g, y, a, b: (g, g),
    "sub": lambda g, y, a, b: (g, -g),
    "mul": lambda g, y, a, b: (g * b, g * a),
    "div": lambda g, y, a, b: (g / b, -(g / b) * y),
    "neg": lambda g, y, a: (-g,),
    "where": lambda g, y, c, a, b: (None, where(c, g, 0.0), where(c, 0.0, g)),
    "sigmoid": lambda g, y, x: (g * (y * (1 - y)),),
    "tanh": lambda g, y, x: (g * (1 - y * y),),
    "relu": lambda g, y, x: (where(x > 0, g, 0.0),),
    "exp": lambda g, y, x: (g * y,),
    "log": lambda g, y, x: (g / x,),
    "sqrt": lambda g, y, x: (0.5 * g / y,),
    "abs": lambda g, y, x: (where(x > 0, g, where(x < 0, -g, 0.0)),),
    "minimum": lambda g, y, a, b: _of_extreme(g, y, a, b, a < b),
    "maximum": lambda g, y, a, b: _of_extreme(g, y, a, b, a > b),
    "clip": lambda g, y, x, low, high: (where(x >= low, where(x <= high, g, 0.0), 0.0), None, None),
    "hard_sigmoid": lambda g, y, x: (where(x > -3, where(x < 3, g / 6, 0.0), 0.0),),
    "softplus": lambda g, y, x: (g * sigmoid(x),),
}


@dataclass(frozen=True)
class Derivative:
    """The way back through one step.

    Attributes:
        nodes: the graph. Its leaves are `value` (a node of the step), `adjoint` and constants.
        inputs: for each gate whose input part matters, its gradient.
        products: for each recurrent product (a node of the step), the gradient of its result.
        states: for each old state, its gradient through this step; None where there is no path.
        projected: the gradient of the projected h, if there is a projection.
        parameters: for each per-unit parameter's label, its gradient, to be summed over steps and batch.
        reads: the nodes of the step whose values the way back needs.
    """

    nodes: tuple[Node, ...]
    inputs: Mapping[str, int]
    products: Mapping[int, int]
    states: tuple[int | None, ...]
    projected: int | None
    parameters: Mapping[str, int]
    reads: tuple[int, ...]


@functools.lru_cache(maxsize=512)
def derive(program: Program, of_shown: bool = False) -> Derivative:
    """The derivative of a program's step.

    Args:
        program: the step.
        of_shown: whether gradients also arrive at the values that a trace shows.

    >>> from holdfast.language import Cell, tanh, trace
    >>> class Elman(Cell):
    ...     gates = ("h",)
    ...     def step(self, gate, state):
    ...         return tanh(gate.h)
    >>> program = trace(Elman())
    >>> [program.nodes[index].op for index in derive(program).reads]  # tanh' = 1 - tanh²
    ['tanh']
    """
    return _Reverse(program, of_shown).derivative()


class _Reverse:
    """One pass from the results of a step back to its leaves."""

    def __init__(self, program: Program, of_shown: bool) -> None:
        self.program = program
        self.graph = Graph()
        self.gradients: dict[int, Value] = {}
        self.transposed: list[int] = []  # kept for the weights' sake, even where nothing depends on them
        for state, result in zip(program.states, program.results):
            self.contribute(result, leaf(self.graph, "adjoint", state))
        if of_shown:
            for name, index in program.shown:
                self.contribute(index, leaf(self.graph, "adjoint", f"shown {name}"))

    def contribute(self, index: int, gradient: Value) -> None:
        known = self.gradients.get(index)
        self.gradients[index] = gradient if known is None else known + gradient

    def value(self, index: int) -> Value:
        """A value of the step, as the derivative sees it."""
        node = self.program.nodes[index]
        if node.op == "const":
            return Value(self.graph, self.graph.constant(float(node.label)))
        if node.op in COMPARISONS:  # made anew: what it compares is kept more easily than what it says
            operands = [self.value(a).index for a in node.args]
            return Value(self.graph, self.graph.add(node.op, operands))
        return leaf(self.graph, "value", str(index))

    def derivative(self) -> Derivative:
        for index in reversed(range(len(self.program.nodes))):
            for number, group in enumerate(self.program.groups):
                if group.operand == index:
                    self.through_products(number, group)
            if index in self.gradients:
                self.through(index)
        return self.finished()

    def through_products(self, number: int, group: Group) -> None:
        """From the results of the recurrent products of one value to that value."""
        if not any(n in self.gradients for n in group.nodes):
            return
        none = self.graph.constant(0)
        arguments = [self.gradients[n].index if n in self.gradients else none for n in group.nodes]
        node = self.graph.add("transposed", arguments, str(number))
        self.transposed.append(node)
        self.contribute(group.operand, Value(self.graph, node))

    def through(self, index: int) -> None:
        """From the result of one operation to its arguments."""
        node, gradient = self.program.nodes[index], self.gradients[index]
        if not node.args or node.op in COMPARISONS or node.op == "product":
            return
        if node.op in ("mean", "project"):  # the mean over the units is its own transpose
            back = {"mean": "mean", "project": "unproject"}[node.op]
            self.contribute(node.args[0], Value(self.graph, self.graph.add(back, [gradient.index])))
            return
        contributions = RULES[node.op](gradient, self.value(index), *(self.value(a) for a in node.args))
        for argument, contribution in zip(node.args, contributions):
            if contribution is not None and self.program.nodes[argument].op != "const":
                self.contribute(argument, contribution)

    def finished(self) -> Derivative:
        """Only what the wanted gradients depend on."""
        nodes = self.program.nodes

        def of(op: str) -> dict[int, int]:
            return {i: self.gradients[i].index for i, n in enumerate(nodes) if n.op == op and i in self.gradients}

        wanted = {op: of(op) for op in ("input", "product", "state", "parameter")}
        projected = [self.gradients[i].index for i, n in enumerate(nodes) if n.op == "project" and i in self.gradients]
        roots = [*(root for found in wanted.values() for root in found.values()), *projected, *self.transposed]
        kept, place = pruned(self.graph.nodes, roots)
        by_state = {nodes[i].label: place[root] for i, root in wanted["state"].items()}
        return Derivative(
            nodes=kept,
            inputs={nodes[i].label: place[root] for i, root in wanted["input"].items()},
            products={i: place[root] for i, root in wanted["product"].items()},
            states=tuple(by_state.get(state) for state in self.program.states),
            projected=place[projected[0]] if projected else None,
            parameters={nodes[i].label: place[root] for i, root in wanted["parameter"].items()},
            reads=tuple(sorted(int(n.label) for n in kept if n.op == "value")),
        )
