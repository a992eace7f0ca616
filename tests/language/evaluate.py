"""A slow evaluator of graphs on plain Python numbers: one unit, no engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from holdfast.language.graph import Node
from holdfast.language.operations import OPERATIONS


def evaluate(nodes: Sequence[Node], leaves: Mapping[tuple[str, str], float]) -> list[float]:
    """The value of every node; `leaves` gives those of the leaves by op and label.

    A leaf that is not given is NaN. A product multiplies by the number that `leaves` holds for its label; with one unit
    the mean is the value itself.
    """
    values: list[float] = []
    for node in nodes:
        operands = [values[a] for a in node.args]
        if node.op == "const":
            values.append(float(node.label))
        elif node.op in OPERATIONS:
            values.append(OPERATIONS[node.op].fold(*operands))
        elif node.op == "product":
            values.append(leaves.get(("weight", node.label), math.nan) * operands[0])
        elif node.op == "mean":
            values.append(operands[0])
        else:
            values.append(leaves.get((node.op, node.label), math.nan))
    return values
