"""The graph of one step: nodes in an order in which each comes after what it reads.

A node is an elementwise operation of `operations.OPERATIONS` or one of these:

| op         | label            | what it is                                                                           |
|------------|------------------|--------------------------------------------------------------------------------------|
| const      | `0.5`            | a number                                                                             |
| input      | gate             | the gate's input part at this step, W x + b_ih                                       |
| state      | state            | the state before this step                                                           |
| parameter  | `weight_ch.i`    | a learned number for each unit (one row of a named tensor)                           |
| mask       | name             | random zeros and ones, drawn outside                                                 |
| product    | `weight_hh i`    | U_i v + b_hh: a recurrent product of its argument, for one gate                      |
| project    |                  | W_hr v: from hidden_size to proj_size entries                                        |
| mean       |                  | the mean over the units, the same number for each unit                               |

A derivative is a graph too, and has these beside them:

| op         | label            | what it is                                                                           |
|------------|------------------|--------------------------------------------------------------------------------------|
| value      | `12`             | node 12 of the step it is the derivative of                                          |
| adjoint    | `h`, `shown i`   | the gradient that arrives at a new state, or at a value shown in a trace             |
| transposed | `0`              | the way back of the products of group 0: the sum over its gates of U_gate^T v        |
| unproject  |                  | W_hr^T v                                                                             |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .errors import CellError
from .operations import COMMUTATIVE, OPERATIONS


class Node(NamedTuple):
    """One value of a step: an operation, the nodes it reads, and what it is called if it is a leaf."""

    op: str
    args: tuple[int, ...] = ()
    label: str = ""


class Graph:
    """Nodes under construction: equal nodes are one node, and what is constant is folded as it is added."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._index: dict[Node, int] = {}

    def add(self, op: str, args: Sequence[int] = (), label: str = "") -> int:
        """The index of the node that computes `op` of `args`; a new one only where there is none yet."""
        simpler = self._simplified(op, tuple(args))
        if simpler is not None:
            return simpler
        node = Node(op, tuple(args), label)
        key = node._replace(args=tuple(sorted(args))) if op in COMMUTATIVE else node
        if key not in self._index:
            self._index[key] = len(self.nodes)
            self.nodes.append(node)
        return self._index[key]

    def constant(self, value: float) -> int:
        """The node of a number."""
        return self.add("const", label=repr(float(value)))

    def number(self, index: int) -> float | None:
        """The number a node stands for, or None if it is not a constant."""
        node = self.nodes[index]
        return float(node.label) if node.op == "const" else None

    def _simplified(self, op: str, args: tuple[int, ...]) -> int | None:
        """The node that `op` of `args` comes down to, if that is simpler.

        Only what holds for every value, NaN and infinity included, is used: 0·x stays.
        """
        if op not in OPERATIONS:
            return None
        numbers = [self.number(a) for a in args]
        known = [n for n in numbers if n is not None]
        if len(known) == len(args):
            try:
                return self.constant(OPERATIONS[op].fold(*known))
            except (ArithmeticError, ValueError) as error:
                written = OPERATIONS[op].plain.format(*known)
                raise CellError(f"the constant {written} has no value ({error})") from error
        if op == "where" and numbers[0] is not None:
            return args[1] if numbers[0] else args[2]
        if op == "where" and args[1] == args[2]:
            return args[1]
        if op == "neg" and self.nodes[args[0]].op == "neg":
            return self.nodes[args[0]].args[0]
        if op in ("add", "sub") and numbers[1] == 0:
            return args[0]
        if op == "add" and numbers[0] == 0:
            return args[1]
        if op == "sub" and numbers[0] == 0:
            return self.add("neg", args[1:])
        if op in ("mul", "div") and numbers[1] == 1:
            return args[0]
        if op == "mul" and numbers[0] == 1:
            return args[1]
        if op in ("mul", "div") and numbers[1] == -1:
            return self.add("neg", args[:1])
        if op == "mul" and numbers[0] == -1:
            return self.add("neg", args[1:])
        return None


def needed(nodes: Sequence[Node], roots: Iterable[int]) -> set[int]:
    """The nodes that the roots depend on, the roots included."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(nodes[index].args)
    return found


def pruned(nodes: Sequence[Node], roots: Iterable[int]) -> tuple[tuple[Node, ...], Mapping[int, int]]:
    """Only the nodes that the roots depend on, renumbered, and where each kept one went."""
    kept = sorted(needed(nodes, roots))
    place = {old: new for new, old in enumerate(kept)}
    return tuple(nodes[old]._replace(args=tuple(place[a] for a in nodes[old].args)) for old in kept), place
