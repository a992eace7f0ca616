"""The values a step computes with while it is traced, and the functions it may apply to them."""

from __future__ import annotations

from numbers import Real
from typing import Any, NoReturn

from .errors import CellError
from .graph import Graph
from .operations import COMPARISONS

LAYER_NORM_EPSILON = 1e-5  # PyTorch's default, and what the layer norm over the gate vector uses


class Value:
    """A symbolic value: a node of the graph of the step that is being traced."""

    __slots__ = ("graph", "index")
    __array_ufunc__ = None  # NumPy leaves arithmetic with a value to the value

    def __init__(self, graph: Graph, index: int) -> None:
        self.graph = graph
        self.index = index

    def __add__(self, other: Operand) -> Value:
        return _apply("add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return _apply("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return _apply("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return _apply("sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return _apply("mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return _apply("mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return _apply("div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return _apply("div", other, self)

    def __neg__(self) -> Value:
        return _apply("neg", self)

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return _apply("abs", self)

    def __pow__(self, exponent: object) -> Value:
        if not isinstance(exponent, int) or exponent < 1:
            raise CellError(f"a power takes a whole exponent from 1 up, got {exponent!r}; exp and log give others")
        power = self
        for _ in range(exponent - 1):
            power = power * self
        return power

    def __lt__(self, other: Operand) -> Value:
        return _apply("lt", self, other)

    def __le__(self, other: Operand) -> Value:
        return _apply("le", self, other)

    def __gt__(self, other: Operand) -> Value:
        return _apply("gt", self, other)

    def __ge__(self, other: Operand) -> Value:
        return _apply("ge", self, other)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]  # a comparison is a value too
        return _apply("eq", self, other)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return _apply("ne", self, other)

    __hash__ = object.__hash__

    def __bool__(self) -> NoReturn:
        raise CellError(
            "a symbolic value has no truth value: `if`, `and`, `or`, `not` and `while` cannot depend on it, because "
            "the step is traced once for all data; use where(condition, a, b)"
        )

    def __and__(self, other: object) -> NoReturn:
        raise CellError("conditions are combined by where: where(a, where(b, x, y), y) is x where both a and b hold")

    __or__ = __xor__ = __rand__ = __ror__ = __rxor__ = __and__

    def __invert__(self) -> NoReturn:
        raise CellError("a condition is negated by where: where(condition, y, x)")

    def __float__(self) -> NoReturn:
        raise CellError(
            "a symbolic value is not a number: functions of `math`, `numpy` or `torch` do not apply to it; use those "
            "of holdfast.language (sigmoid, tanh, exp, …)"
        )

    __int__ = __index__ = __float__

    def __iter__(self) -> NoReturn:
        raise CellError("a symbolic value stands for one number a unit and cannot be iterated, indexed or unpacked")

    def __getitem__(self, key: object) -> NoReturn:
        self.__iter__()

    def __repr__(self) -> str:
        node = self.graph.nodes[self.index]
        return f"<{node.op}{' ' + node.label if node.label else ''} %{self.index}>"


Operand = Value | float


def _graph_of(*operands: object) -> Graph | None:
    return next((o.graph for o in operands if isinstance(o, Value)), None)


def node_of(graph: Graph, operand: object) -> int:
    """The node of an operand: its own, or the constant's; anything else is an error at the user's line."""
    if isinstance(operand, Value):
        if operand.graph is not graph:
            raise CellError("a value of another trace was used; a step may not keep values from one trace to the next")
        return operand.index
    if isinstance(operand, Real):
        return graph.constant(float(operand))
    raise CellError(f"a step computes with symbolic values and Python numbers, got {type(operand).__name__}")


def number_of(graph: Graph, operand: object) -> int:
    """The node of an operand as a number: what a comparison says becomes 1 or 0."""
    index = node_of(graph, operand)
    if graph.nodes[index].op in COMPARISONS:
        return graph.add("where", [index, graph.constant(1), graph.constant(0)])
    return index


def _condition_of(graph: Graph, operand: object) -> int:
    """The node of an operand as a condition: a number holds if it is not 0."""
    index = node_of(graph, operand)
    if graph.nodes[index].op in COMPARISONS or graph.number(index) is not None:
        return index
    return graph.add("ne", [index, graph.constant(0)])


def _apply(op: str, *operands: object) -> Value:
    graph = _graph_of(*operands) or Graph()  # numbers alone fold to a number, in a graph of their own
    if op == "where":
        condition, *rest = operands
        return Value(graph, graph.add(op, [_condition_of(graph, condition), *(number_of(graph, o) for o in rest)]))
    return Value(graph, graph.add(op, [number_of(graph, o) for o in operands]))


def _function(op: str, *operands: Operand) -> Any:
    """An operation under its own name: numbers in, a number out; otherwise a value."""
    result = _apply(op, *operands)
    return result.graph.number(result.index) if _graph_of(*operands) is None else result


def sigmoid(x: Operand) -> Value:
    """1 / (1 + exp(-x)).

    >>> sigmoid(0.0)
    0.5
    """
    return _function("sigmoid", x)


def tanh(x: Operand) -> Value:
    """The hyperbolic tangent.

    >>> tanh(0.0)
    0.0
    """
    return _function("tanh", x)


def relu(x: Operand) -> Value:
    """max(x, 0), with derivative 0 at 0.

    >>> relu(-2.0)
    0.0
    """
    return _function("relu", x)


def exp(x: Operand) -> Value:
    """The exponential.

    >>> exp(0.0)
    1.0
    """
    return _function("exp", x)


def log(x: Operand) -> Value:
    """The natural logarithm.

    >>> log(1.0)
    0.0
    """
    return _function("log", x)


def sqrt(x: Operand) -> Value:
    """The square root.

    >>> sqrt(9.0)
    3.0
    """
    return _function("sqrt", x)


def abs(x: Operand) -> Value:
    """The absolute value, with derivative 0 at 0. Python's own `abs` does the same.

    >>> abs(-2.0)
    2.0
    """
    return _function("abs", x)


def minimum(a: Operand, b: Operand) -> Value:
    """The smaller of two; where they are equal, each gets half the derivative.

    >>> minimum(1.0, 2.0)
    1.0
    """
    return _function("minimum", a, b)


def maximum(a: Operand, b: Operand) -> Value:
    """The larger of two; where they are equal, each gets half the derivative.

    >>> maximum(1.0, 2.0)
    2.0
    """
    return _function("maximum", a, b)


def clip(x: Operand, low: float, high: float) -> Value:
    """x held between two numbers; the derivative is 1 inside and on the bounds, 0 outside.

    >>> clip(3.0, -1, 1)
    1.0
    """
    for name, bound in (("low", low), ("high", high)):
        if not isinstance(bound, Real):
            raise CellError(
                f"clip: {name} must be a number, got {type(bound).__name__}; minimum and maximum take values"
            )
    if low > high:
        raise CellError(f"clip: low must not exceed high, got {low} and {high}")
    return _function("clip", x, low, high)


def hard_sigmoid(x: Operand) -> Value:
    """clip(x / 6 + 1/2, 0, 1), PyTorch's hard sigmoid.

    >>> hard_sigmoid(0.0)
    0.5
    """
    return _function("hard_sigmoid", x)


def softplus(x: Operand) -> Value:
    """log(1 + exp(x)), without overflow; -softplus(-x) is the logarithm of the sigmoid.

    >>> round(softplus(0.0), 4)
    0.6931
    """
    return _function("softplus", x)


def where(condition: Operand, a: Operand, b: Operand) -> Value:
    """a where the condition holds, b elsewhere.

    >>> where(True, 1.0, 2.0)
    1.0
    """
    return _function("where", condition, a, b)


def layer_norm(x: Value, gain: Operand = 1.0, bias: Operand = 0.0) -> Value:
    """gain · (x - mean) / sqrt(variance + 1e-5) + bias, mean and variance over the units (Ba 2016).

    >>> from holdfast.language import Cell, equations, trace
    >>> class Normed(Cell):
    ...     gates = ("a",)
    ...     def step(self, gate, state):
    ...         return layer_norm(gate.a)
    >>> equations(trace(Normed()))
    ['h[t] = LN(W_a x[t] + U_a h[t-1] + b_a)']
    """
    if not isinstance(x, Value):
        raise CellError(f"layer_norm: x must be a value of the step, got {type(x).__name__}")
    centred = x - _apply_mean(x)
    variance = _apply_mean(centred * centred)
    return gain * (centred / sqrt(variance + LAYER_NORM_EPSILON)) + bias


def _apply_mean(x: Value) -> Value:
    return Value(x.graph, x.graph.add("mean", [number_of(x.graph, x)]))


def leaf(graph: Graph, op: str, label: str) -> Value:
    """A value that comes from outside the step."""
    return Value(graph, graph.add(op, label=label))
