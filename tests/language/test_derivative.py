"""The derivative of a step against differences in high precision."""

from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast import cells, language
from holdfast.language import Cell, derive, trace
from holdfast.language.operations import COMPARISONS, OPERATIONS
from tests.language.evaluate import evaluate
from tests.language.test_trace import ALL_CELLS, make

STEP = 1e-5


def leaves_of(program: language.Program) -> dict[tuple[str, str], float]:
    """A number for every leaf of a program, all different, none at a kink."""
    found: dict[tuple[str, str], float] = {}
    for index, node in enumerate(program.nodes):
        if not node.args and node.op != "const":
            found[node.op, node.label] = 0.31 * math.sin(3.7 * index + 1) + 0.05
        if node.op == "product":
            found["weight", node.label] = 0.8 * math.cos(2.3 * index)
    return found | ({("state", "n"): 0.9} if "n" in program.states else {})


def weighted(program: language.Program, leaves: dict[tuple[str, str], float], of_shown: bool) -> float:
    """A scalar of the results, in which each has a weight of its own."""
    values = evaluate(program.nodes, leaves)
    total = sum((k + 1) * values[r] for k, r in enumerate(program.results))
    if of_shown:
        total += sum((0.5 - k) * values[i] for k, (_, i) in enumerate(program.shown))
    return total


def derived(program: language.Program, leaves: dict[tuple[str, str], float], of_shown: bool) -> Any:
    """The same scalar's derivative, by the derivative graph."""
    d = derive(program, of_shown)
    values = evaluate(program.nodes, leaves)
    back: dict[tuple[str, str], float] = {("value", str(i)): values[i] for i in d.reads}
    back |= {("adjoint", state): float(k + 1) for k, state in enumerate(program.states)}
    back |= {("adjoint", f"shown {name}"): 0.5 - k for k, (name, _) in enumerate(program.shown)}
    found: list[float] = []
    for node in d.nodes:
        if node.op == "transposed":
            group = program.groups[int(node.label)]
            weights = [leaves["weight", f"{group.weight} {gate}"] for gate in group.gates]
            found.append(sum(w * found[a] for w, a in zip(weights, node.args)))
        else:
            prefix = evaluate([node._replace(args=tuple(range(len(node.args))))], back) if not node.args else None
            found.append(prefix[0] if prefix else OPERATIONS[node.op].fold(*(found[a] for a in node.args)))
    by_leaf = {("input", gate): found[n] for gate, n in d.inputs.items()}
    by_leaf |= {("state", s): found[n] for s, n in zip(program.states, d.states) if n is not None}
    by_leaf |= {("parameter", label): found[n] for label, n in d.parameters.items()}
    return by_leaf


@pytest.mark.parametrize("cell", ALL_CELLS, ids=repr)
@pytest.mark.parametrize("of_shown", [False, True])
def test_the_derivative_of_a_cell_agrees_with_differences(cell: Cell, of_shown: bool) -> None:
    program = trace(cell, shown=of_shown)
    leaves = leaves_of(program)
    got = derived(program, leaves, of_shown)
    for leaf in leaves:
        if leaf[0] in ("input", "state", "parameter"):
            up, down = ({**leaves, leaf: leaves[leaf] + side} for side in (STEP, -STEP))
            difference = (weighted(program, up, of_shown) - weighted(program, down, of_shown)) / (2 * STEP)
            assert got.get(leaf, 0.0) == pytest.approx(difference, rel=1e-6, abs=1e-8), leaf


UNARY: dict[str, tuple[Any, tuple[float, ...]]] = {
    "sigmoid": (language.sigmoid, (-2.0, 0.3)),
    "tanh": (language.tanh, (-1.0, 0.3)),
    "relu": (language.relu, (-1.0, 0.3)),
    "exp": (language.exp, (-1.0, 0.3)),
    "log": (language.log, (0.2, 3.0)),
    "sqrt": (language.sqrt, (0.2, 3.0)),
    "abs": (language.abs, (-0.2, 3.0)),
    "neg": (lambda x: -x, (-0.2, 3.0)),
    "hard_sigmoid": (language.hard_sigmoid, (-4.0, -0.5, 4.0)),
    "softplus": (language.softplus, (-1.0, 2.0)),
    "clip": (lambda x: language.clip(x, -0.5, 0.5), (-0.7, 0.1, 0.7)),
    "add": (lambda x: x + x * 2, (0.4,)),
    "sub": (lambda x: 1 - (x - 3 * x), (0.4,)),
    "mul": (lambda x: x * x * x, (0.4,)),
    "div": (lambda x: 1 / x + x / (1 + x), (0.4, -0.3)),
    "minimum": (lambda x: language.minimum(x * x, 0.5 * x), (0.4, 0.7)),
    "maximum": (lambda x: language.maximum(x * x, 0.5 * x), (0.4, 0.7)),
    "where": (lambda x: language.where(x > 0.5, x * x, 3 * x), (0.4, 0.7)),
}


def test_every_operation_has_a_derivative_that_is_tested() -> None:
    assert set(UNARY) | COMPARISONS == set(OPERATIONS)


@pytest.mark.parametrize(("name", "x"), [(name, x) for name, (_, points) in UNARY.items() for x in points])
def test_the_derivative_of_each_operation_agrees_with_differences(name: str, x: float) -> None:
    program = trace(make(lambda g, s: UNARY[name][0](g.a.input)))

    def value(at: float) -> float:
        return evaluate(program.nodes, {("input", "a"): at})[program.results[0]]

    got = derived(program, {("input", "a"): x}, False)[("input", "a")]
    assert got == pytest.approx((value(x + STEP) - value(x - STEP)) / (2 * STEP), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (language.relu, 0.0, 0.0),
        (language.abs, 0.0, 0.0),
        (lambda x: language.maximum(x, 0.0), 0.0, 0.5),
        (lambda x: language.minimum(x, 0.0), 0.0, 0.5),
        (lambda x: language.clip(x, 0.0, 1.0), 0.0, 1.0),
        (lambda x: language.clip(x, 0.0, 1.0), 1.0, 1.0),
        (language.hard_sigmoid, 3.0, 0.0),
    ],
)
def test_at_a_kink_the_derivative_is_pytorchs(function: Any, x: float, expected: float) -> None:
    program = trace(make(lambda g, s: function(g.a.input)))
    assert derived(program, {("input", "a"): x}, False)[("input", "a")] == expected


def test_the_derivative_reads_activations_and_not_what_led_to_them() -> None:
    program = trace(cells.LSTM())
    kinds = sorted(program.nodes[i].op + program.nodes[i].label for i in derive(program).reads)
    assert kinds == ["sigmoid", "sigmoid", "sigmoid", "statec", "tanh", "tanh"]


def test_a_plain_gates_two_parts_share_one_gradient() -> None:
    program = trace(cells.LSTM())
    d = derive(program)
    [group] = program.groups
    assert [d.inputs[gate] for gate in group.gates] == [d.products[n] for n in group.nodes]
