"""The equations of a program, as text and in LaTeX, derived from its graph."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .operations import OPERATIONS
from .program import MAIN_WEIGHT, Program

_CLOSED = 9  # binds more tightly than any operator
_MARK = re.compile("\ue000(\\d+)\ue001|\ue002")  # the beginning of a value, with its node, or its end


def equations(program: Program) -> list[str]:
    """The step's equations as text, one a line.

    >>> from holdfast.language import Cell, tanh, trace
    >>> class Elman(Cell):
    ...     gates = ("h",)
    ...     def step(self, gate, state):
    ...         return tanh(gate.h)
    >>> equations(trace(Elman()))
    ['h[t] = tanh(W_h x[t] + U_h h[t-1] + b_h)']
    """
    return _Writer(program, latex=False).lines()


def latex(program: Program) -> str:
    r"""The step's equations in LaTeX, as one `aligned` block.

    >>> from holdfast.language import Cell, tanh, trace
    >>> class Elman(Cell):
    ...     gates = ("h",)
    ...     def step(self, gate, state):
    ...         return tanh(gate.h)
    >>> print(latex(trace(Elman())))
    \begin{aligned}
    h_t &= \tanh(W_{h} x_t + U_{h} h_{t-1} + b_{h})
    \end{aligned}
    """
    lines = _Writer(program, latex=True).lines()
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def expression(program: Program, node: int) -> str:
    """A value as text, by the named values that it is made of.

    >>> from holdfast.language import trace
    >>> from holdfast.cells import LSTM
    >>> program = trace(LSTM())
    >>> [expression(program, node) for node in program.nodes[program.results[1]].args]
    ['f[t] ⊙ c[t-1]', 'i[t] ⊙ g[t]']
    """
    return _Writer(program, latex=False).written(node, 0, expand=True)


@dataclass(frozen=True)
class Part:
    """A piece of an equation.

    Attributes:
        text: as `equations` writes it.
        node: the node of the program whose value this is; None for what is between values.
    """

    text: str
    node: int | None = None


def equation_parts(program: Program) -> list[list[Part]]:
    """The equations in pieces, so that the numbers of a step can be put in the place of each value.

    What is summed from inputs and recurrent products is one value.

    >>> from holdfast.language import Cell, tanh, trace
    >>> class Elman(Cell):
    ...     gates = ("h",)
    ...     def step(self, gate, state):
    ...         return tanh(gate.h)
    >>> [part.text for part in equation_parts(trace(Elman()))[0]]
    ['h[t]', ' = tanh(', 'W_h x[t] + U_h h[t-1] + b_h', ')']
    """
    return [_parts(line) for line in _Marker(program, latex=False).lines()]


def _parts(line: str) -> list[Part]:
    """The pieces of a marked line; a value within a value is a part of that one's text."""
    found, keys, begin = [], [], 0
    texts = [""]
    for mark in _MARK.finditer(line):
        texts[-1] += line[begin : mark.start()]
        begin = mark.end()
        if mark[1] is not None:
            keys.append(mark[1])
        else:
            key = keys.pop()
        if len(keys) == (mark[1] is not None):  # an outermost value begins or ends
            text = texts.pop()
            if text:
                found.append(Part(text, None if mark[1] is not None else int(key)))
            texts.append("")
    rest = texts[-1] + line[begin:]
    return [*found, Part(rest)] if rest else found


def gate_sums(program: Program) -> set[int]:
    """The nodes that are a gate's W x + U h + b."""
    nodes = program.nodes
    return {
        index
        for index, node in enumerate(nodes)
        if node.op == "add" and [nodes[a].op for a in node.args] == ["input", "product"]
        if nodes[node.args[1]].label == f"{MAIN_WEIGHT} {nodes[node.args[0]].label}"
    }


def layer_normed(program: Program, index: int) -> int | None:
    """What a node normalises, if it is (x - mean(x)) / sqrt(mean((x - mean(x))²) + ε)."""
    nodes = program.nodes

    def args_of(node: int, op: str) -> tuple[int, ...]:
        return nodes[node].args if nodes[node].op == op else (-1, -1)

    centred, root = args_of(index, "div")
    if centred < 0 or nodes[root].op != "sqrt" or nodes[centred].op != "sub":
        return None
    x, mean = nodes[centred].args
    variance, _ = args_of(nodes[root].args[0], "add")
    if variance < 0 or nodes[variance].op != "mean" or nodes[mean] != nodes[variance]._replace(args=(x,)):
        return None
    return x if args_of(nodes[variance].args[0], "mul") == (centred, centred) else None


class _Writer:
    """Writes each named node as one equation; what has no name is written where it is used."""

    def __init__(self, program: Program, latex: bool) -> None:
        self.program = program
        self.latex = latex
        self.names = {index: name for name, index in program.names}
        self.sums = gate_sums(program)

    def lines(self) -> list[str]:
        defined = [i for i in sorted(self.names) if self.program.nodes[i].args or self.program.nodes[i].op == "const"]
        equals = " &= " if self.latex else " = "
        lines = [self.now(self.names[i]) + equals + self.written(i, 0, expand=True) for i in defined]
        for state, result in zip(self.program.states, self.program.results):
            if result not in defined or self.names[result] != state:  # a state that is another value, unchanged
                lines.append(self.now(state) + equals + self.written(result, 0))
        return lines

    def now(self, name: str) -> str:
        if not self.latex:
            return f"{name}[t]"
        return f"{_latex_name(name)}_t"

    def written(self, index: int, binding: int, expand: bool = False) -> str:
        """A node as text, in brackets if it binds less tightly than its place needs."""
        if index in self.names and not expand and self.program.nodes[index].args:
            return self.now(self.names[index])
        text, own = self.expression(index)
        return f"({text})" if own < binding else text

    def expression(self, index: int) -> tuple[str, int]:
        node = self.program.nodes[index]
        normalised = layer_normed(self.program, index)
        if normalised is not None:
            inner = self.written(normalised, 0)
            return (rf"\operatorname{{LN}}({inner})" if self.latex else f"LN({inner})"), _CLOSED
        if index in self.sums:
            return self.gate_sum(self.program.nodes[node.args[0]].label, node.args[1]), 2
        if node.op in OPERATIONS:
            operation = OPERATIONS[node.op]
            closed = operation.binding == _CLOSED or (self.latex and node.op == "div")
            right = operation.binding + (node.op in ("sub", "div", "neg"))
            places = [0 if closed else operation.binding, *([0 if closed else right] * (len(node.args) - 1))]
            template = operation.latex if self.latex else operation.plain
            written = [self.written(a, place) for a, place in zip(node.args, places)]
            return template.format(*written), _CLOSED if closed else operation.binding
        return self.leaf(index)

    def leaf(self, index: int) -> tuple[str, int]:
        node = self.program.nodes[index]
        if node.op == "const":
            return _number(float(node.label)), 4 if float(node.label) < 0 else _CLOSED
        if node.op == "state":
            name = _latex_name(node.label) if self.latex else node.label
            return (f"{name}_{{t-1}}" if self.latex else f"{name}[t-1]"), _CLOSED
        if node.op == "input":
            return self.input_part(node.label) + self.bias("ih", node.label), 2 if self.program.bias else 3
        if node.op == "product":
            weight, gate = node.label.split()
            bias = self.bias("hh", gate) if weight == MAIN_WEIGHT else ""
            return self.product_part(index) + bias, 2 if bias else 3
        if node.op == "mean":
            inner = self.written(node.args[0], 0)
            return (rf"\operatorname{{mean}}({inner})" if self.latex else f"mean({inner})"), _CLOSED
        if node.op == "project":
            return ("W_{hr} " if self.latex else "W_hr ") + self.written(node.args[0], 3), 3
        if node.op == "mask":
            per_step = any(m.name == node.label and m.per == "step" for m in self.program.masks)
            bare = _latex_name(node.label) if self.latex else node.label
            return (self.now(node.label) if per_step else bare), _CLOSED
        return (_latex_name(node.label.replace(".", "_")) if self.latex else node.label), _CLOSED

    def gate_sum(self, gate: str, product: int) -> str:
        bias = f" + {self.symbol('b', gate)}" if self.program.bias else ""
        return f"{self.input_part(gate)} + {self.product_part(product)}{bias}"

    def input_part(self, gate: str) -> str:
        return self.matrix("W", "x_t" if self.latex else "x[t]", gate, "", self.program.gates)

    def product_part(self, index: int) -> str:
        group = next(group for group in self.program.groups if index in group.nodes)
        gate = group.gates[group.nodes.index(index)]
        letter, source = ("U", "") if group.weight == MAIN_WEIGHT else ("R", group.weight.removeprefix("weight_"))
        return self.matrix(letter, self.written(group.operand, 4), gate, source, group.gates)

    def matrix(self, letter: str, vector: str, gate: str, source: str, together: tuple[str, ...]) -> str:
        """A gate's rows of a matrix product; under layer norm, its part of the normalised product of all rows."""
        if not self.program.layer_norm:
            return f"{self.symbol(letter, ','.join(filter(None, (gate, source))))} {vector}"
        rows = "" if together == self.program.gates else "".join(together)
        below = ",".join(filter(None, (rows, source)))
        product = f"{self.symbol(letter, below) if below else letter} {vector}"
        return self.symbol(rf"\operatorname{{LN}}({product})" if self.latex else f"LN({product})", gate)

    def bias(self, which: str, gate: str) -> str:
        return f" + {self.symbol('b', f'{which},{gate}')}" if self.program.bias else ""

    def symbol(self, letter: str, below: str) -> str:
        return f"{letter}_{{{below}}}" if self.latex else f"{letter}_{below}"


class _Marker(_Writer):
    """Writes plain text in which every value is marked with its node."""

    def now(self, name: str) -> str:
        named = dict(self.program.names)
        results = dict(zip(self.program.states, self.program.results))
        index = named.get(name, results.get(name))
        return super().now(name) if index is None else _marked(index, super().now(name))

    def expression(self, index: int) -> tuple[str, int]:
        text, binding = super().expression(index)
        op = self.program.nodes[index].op
        if index in self.sums or op in ("input", "product", "state", "parameter"):
            return _marked(index, text), binding
        if op in ("project", "mean") or layer_normed(self.program, index) is not None:
            return _MARK.sub("", text), binding  # it acts on all units at once, and no one number is its operand
        return text, binding


def _marked(node: int, text: str) -> str:
    return f"\ue000{node}\ue001{text}\ue002"


def _latex_name(name: str) -> str:
    if len(name) == 1:
        return name
    return rf"\mathit{{{name.replace('_', chr(92) + '_')}}}"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e6 else f"{value:.6g}"
