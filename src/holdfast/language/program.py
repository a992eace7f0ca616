"""A traced cell: all that an engine must know, in a form that can be written as text and read back.

The text is what the registered operator carries, so an exported program or a worker process needs no user code.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from .graph import Node, needed

# Raise the number also when the operator's arguments change or what it saves: PyTorch's compile caches on disk are
# keyed by this text, and would otherwise call the new backward as the old one.
FORMAT = "holdfast-step 3"
MAIN_WEIGHT = "weight_hh"  # the recurrent weight of `gate.recurrent`; the only one with a bias


@dataclass(frozen=True)
class Parameter:
    """Learned numbers for each unit: a tensor (rows, H), or (H,) where there are no named rows.

    Attributes:
        rows: the names of the rows, in order; empty for a single row.
        initial: the value it starts from; None for the layer's own random initialisation.
    """

    name: str
    rows: tuple[str, ...] = ()
    initial: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the graph's leaves that read it."""
        return tuple(f"{self.name}.{row}" for row in self.rows) or (self.name,)


@dataclass(frozen=True)
class Mask:
    """Random zeros and ones, drawn before the sequence starts.

    Attributes:
        probability: how likely a one is.
        per: "step" for a new draw at each step, "sequence" for one that holds all along.
        wide: "units" for hidden_size entries, "output" for as many as h has.
    """

    name: str
    probability: float
    per: str
    wide: str


@dataclass(frozen=True)
class Weight:
    """A recurrent weight: the matrices of the named gates, one below the other."""

    name: str
    gates: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """The recurrent products of one value with one weight: what an engine computes as one matrix product."""

    weight: str
    operand: int
    gates: tuple[str, ...]
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """The graph of a cell's step, and what surrounds it.

    Attributes:
        cell: the cell's name.
        gates: the gates, in the order of the rows of weight_ih and weight_hh.
        states: the states; the first is the output.
        nodes: the graph.
        results: the node of each new state.
        shown: name and node of each value that a trace shows; empty in a program that runs untraced.
        names: what the cell's author called the nodes.
        parameters: the learned numbers for each unit.
        masks: the random masks.
        weights: the recurrent weights; the first is weight_hh.
        bias: whether there are b_ih and b_hh.
        layer_norm: whether the input projection and each recurrent product go through a layer norm.
        projection: whether h is projected to fewer entries.
        heads: into how many blocks the recurrent weights fall.
        grad_clip: the bound on the gradient that flows from one step to the one before; 0 for none.
        recompute: whether what the way back needs is computed again there, and not kept.
    """

    cell: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    nodes: tuple[Node, ...]
    results: tuple[int, ...]
    shown: tuple[tuple[str, int], ...]
    names: tuple[tuple[str, int], ...]
    parameters: tuple[Parameter, ...]
    masks: tuple[Mask, ...]
    weights: tuple[Weight, ...]
    bias: bool
    layer_norm: bool
    projection: bool
    heads: int
    grad_clip: float
    recompute: bool

    def __hash__(self) -> int:
        return self._hash  # engines look things up by program in every call

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self.text())

    @functools.cached_property
    def widths(self) -> tuple[str | None, ...]:
        """For each node "units" (hidden_size entries) or "output" (as many as h has); None for constants.

        Raises:
            ValueError: with a projection, h and what goes with it must not be mixed with the units.
        """
        wide = {mask.name: mask.wide for mask in self.masks}
        widths: list[str | None] = []
        for node in self.nodes:
            operands = {widths[a] for a in node.args} - {None}
            if not self.projection:
                widths.append(None if node.op == "const" else "units")
            elif node.op == "const":
                widths.append(None)
            elif node.op == "state":
                widths.append("output" if node.label == self.states[0] else "units")
            elif node.op == "mask":
                widths.append(wide[node.label])
            elif node.op == "project":
                widths.append("output")
            elif node.op == "product" and (operands == {"units"} or not node.label.startswith(f"{MAIN_WEIGHT} ")):
                raise ValueError(
                    f"proj_size does not go with {self.cell}: its step has a recurrent product of a value other than "
                    f"the projected {self.states[0]}"
                )
            elif len(operands) > 1:
                raise ValueError(
                    f"proj_size does not go with {self.cell}: its step uses {self.states[0]} itself together with "
                    "values of hidden_size entries"
                )
            elif node.op in ("input", "parameter", "product"):
                widths.append("units")
            else:
                widths.append(operands.pop() if operands else None)
        return tuple(widths)

    @functools.cached_property
    def groups(self) -> tuple[Group, ...]:
        """The recurrent products, those of one value and one weight together.

        Products that only a trace shows are groups of their own: with them a layer norm would be another one.
        """
        computed = needed(self.nodes, self.results)
        found: dict[tuple[str, int, bool], list[tuple[str, int]]] = {}
        for index, node in enumerate(self.nodes):
            if node.op == "product":
                weight, gate = node.label.split()
                found.setdefault((weight, node.args[0], index in computed), []).append((gate, index))
        groups = []
        for (weight, operand, _), members in found.items():
            order = next(w.gates for w in self.weights if w.name == weight)
            members.sort(key=lambda member: order.index(member[0]))
            groups.append(Group(weight, operand, tuple(g for g, _ in members), tuple(i for _, i in members)))
        return tuple(groups)

    def text(self) -> str:
        """The program as text; `parse` reads it back."""
        lines = [
            FORMAT,
            f"cell {self.cell}",
            f"gates {' '.join(self.gates)}",
            f"states {' '.join(self.states)}",
            f"bias {int(self.bias)}",
            f"layer_norm {int(self.layer_norm)}",
            f"projection {int(self.projection)}",
            f"heads {self.heads}",
            f"grad_clip {self.grad_clip!r}",
            f"recompute {int(self.recompute)}",
        ]
        lines += [f"parameter {p.name} {p.initial!r} {' '.join(p.rows)}" for p in self.parameters]
        lines += [f"mask {m.name} {m.probability!r} {m.per} {m.wide}" for m in self.masks]
        lines += [f"weight {w.name} {' '.join(w.gates)}" for w in self.weights]
        names = {index: name for name, index in self.names}
        for index, node in enumerate(self.nodes):
            operands = "".join(f" %{a}" for a in node.args)
            label = f" {node.label}" if node.label else ""
            called = f"  # {names[index]}" if index in names else ""
            lines.append(f"%{index} = {node.op}{operands}{label}{called}")
        lines.append("results " + " ".join(f"%{r}" for r in self.results))
        lines.append("shown " + " ".join(f"{name}=%{index}" for name, index in self.shown))
        return "\n".join(line.rstrip() for line in lines) + "\n"


@functools.lru_cache(maxsize=512)
def parse(text: str) -> Program:
    """The program that a text stands for: the inverse of `Program.text`.

    >>> from holdfast.language import Cell, trace
    >>> class Sum(Cell):
    ...     gates = ("g",)
    ...     def step(self, gate, state):
    ...         return gate.g + state.h
    >>> text = trace(Sum()).text()
    >>> parse(text).text() == text
    True
    """
    lines = iter(text.splitlines())
    if next(lines, None) != FORMAT:
        raise ValueError(f"not a step of this version: the text must start with {FORMAT!r}, got {text[:40]!r}")
    header: dict[str, list[list[str]]] = {}
    nodes: list[Node] = []
    names: list[tuple[str, int]] = []
    for line in lines:
        if line.startswith("%"):
            node, name = _parse_node(line)
            if name:
                names.append((name, len(nodes)))
            nodes.append(node)
        else:
            keyword, *words = line.split()
            header.setdefault(keyword, []).append(words)

    def one(keyword: str) -> list[str]:
        return header[keyword][0]

    def every(keyword: str) -> Iterator[list[str]]:
        return iter(header.get(keyword, ()))

    return Program(
        cell=one("cell")[0],
        gates=tuple(one("gates")),
        states=tuple(one("states")),
        nodes=tuple(nodes),
        results=tuple(int(word[1:]) for word in one("results")),
        shown=tuple((name, int(index[1:])) for name, index in (word.split("=") for word in one("shown"))),
        names=tuple(names),
        parameters=tuple(
            Parameter(name, tuple(rows), None if initial == "None" else float(initial))
            for name, initial, *rows in every("parameter")
        ),
        masks=tuple(Mask(name, float(p), per, wide) for name, p, per, wide in every("mask")),
        weights=tuple(Weight(name, tuple(gates)) for name, *gates in every("weight")),
        bias=one("bias") == ["1"],
        layer_norm=one("layer_norm") == ["1"],
        projection=one("projection") == ["1"],
        heads=int(one("heads")[0]),
        grad_clip=float(one("grad_clip")[0]),
        recompute=one("recompute") == ["1"],
    )


def _parse_node(line: str) -> tuple[Node, str]:
    definition, _, name = line.partition("  # ")
    _, _, right = definition.partition(" = ")
    op, *words = right.split()
    args = tuple(int(word[1:]) for word in words if word.startswith("%"))
    label = " ".join(word for word in words if not word.startswith("%"))
    return Node(op, args, label), name
