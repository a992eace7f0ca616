"""From a step to a program."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from holdfast import cells, language
from holdfast.language import Cell, CellError, Options, mask, parameter, parse, recur, trace
from tests.language.evaluate import evaluate

ALL_CELLS = [
    cells.RNN(),
    cells.RNN("relu"),
    cells.LSTM(),
    cells.LSTM(peephole=True, cell_clip=1.5),
    cells.LSTM(peephole=True, coupled=True, gate_activation="hard_sigmoid", activation="softplus"),
    cells.GRU(),
    cells.GRU(reset_after=False),
    cells.SLSTM(),
    cells.SLSTM(forget_gate="exp"),
    *(getattr(cells, name)() for name in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG", "FGR")),
]


def make(step: Any, gates: tuple[str, ...] = ("a", "b"), states: tuple[str, ...] = ("h",)) -> Cell:
    """A cell from a function of gate and state; its traces show the gates before any activation."""
    shows = {name: f"gate.{name}" for name in gates}
    return type(
        "Made", (Cell,), {"gates": gates, "states": states, "shows": shows, "step": lambda self, g, s: step(g, s)}
    )()


@pytest.mark.parametrize("cell", ALL_CELLS, ids=repr)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("layer_norm", "shown"), [(False, False), (True, False), (True, True)])
def test_the_text_of_a_program_reads_back_as_the_same_program(
    cell: Cell, training: bool, layer_norm: bool, shown: bool
) -> None:
    options = Options(zoneout=(0.1, 0.2 * (len(cell.states) > 1)), recurrent_dropout=0.3, grad_clip=0.5)
    cell = copy.copy(cell)
    cell.layer_norm = layer_norm
    program = trace(cell, options, training=training, shown=shown)
    assert parse(program.text()) == program
    assert parse(program.text()).text() == program.text()


def test_tracing_twice_gives_the_same_text() -> None:
    assert trace(cells.LSTM(peephole=True)).text() == trace(cells.LSTM(peephole=True)).text()


def test_a_text_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="must start with 'holdfast-step 3', got 'holdfast-step 0"):
        parse("holdfast-step 0\ncell X\n")


def test_equal_expressions_are_one_node() -> None:
    program = trace(make(lambda g, s: language.tanh(g.a * g.b) + language.tanh(g.b * g.a)))
    assert [n.op for n in program.nodes].count("tanh") == 1
    assert [n.op for n in program.nodes].count("mul") == 1


def test_constants_are_folded() -> None:
    program = trace(make(lambda g, s: (g.a + 0) * 1 + language.sigmoid(0.0) * 2 - g.b / 1))
    numbers = [float(n.label) for n in program.nodes if n.op == "const"]
    assert numbers == [1.0]  # language.sigmoid(0) · 2
    assert "mul" not in [n.op for n in program.nodes]
    assert "div" not in [n.op for n in program.nodes]


def test_multiplication_by_zero_is_kept_because_nan_must_go_through() -> None:
    program = trace(make(lambda g, s: g.a * 0.0))
    assert program.nodes[program.results[0]].op == "mul"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (lambda x, y: x + y, lambda x, y: x + y),
        (lambda x, y: 2 - x, lambda x, y: 2 - x),
        (lambda x, y: x - y / 3, lambda x, y: x - y / 3),
        (lambda x, y: 3 / (x * x + 1), lambda x, y: 3 / (x * x + 1)),
        (lambda x, y: -x, lambda x, y: -x),
        (lambda x, y: +x, lambda x, y: x),
        (lambda x, y: x**3, lambda x, y: x**3),
        (lambda x, y: abs(x) + language.abs(y), lambda x, y: abs(x) + abs(y)),
        (lambda x, y: language.sigmoid(x), lambda x, y: 1 / (1 + math.exp(-x))),
        (lambda x, y: language.tanh(x), lambda x, y: math.tanh(x)),
        (lambda x, y: language.relu(x) + language.relu(y), lambda x, y: max(x, 0) + max(y, 0)),
        (lambda x, y: language.exp(x), lambda x, y: math.exp(x)),
        (lambda x, y: language.log(x * x), lambda x, y: math.log(x * x)),
        (lambda x, y: language.sqrt(x * x), lambda x, y: abs(x)),
        (lambda x, y: language.minimum(x, y), lambda x, y: min(x, y)),
        (lambda x, y: language.maximum(x, 0.1), lambda x, y: max(x, 0.1)),
        (lambda x, y: language.clip(x, -0.2, 0.3), lambda x, y: min(max(x, -0.2), 0.3)),
        (lambda x, y: language.hard_sigmoid(5 * x), lambda x, y: min(max(5 * x / 6 + 0.5, 0), 1)),
        (lambda x, y: language.softplus(x), lambda x, y: math.log(1 + math.exp(x))),
        (lambda x, y: language.where(x < y, x, 2 * y), lambda x, y: x if x < y else 2 * y),
        (lambda x, y: language.where(x >= y, 1, y), lambda x, y: 1 if x >= y else y),
        (lambda x, y: (x > y) * 3 + (x <= y), lambda x, y: 3 * (x > y) + (x <= y)),
        (lambda x, y: language.where(x - x, 1, y), lambda x, y: y),
        (lambda x, y: language.where(x == x, x, y) + (x != x), lambda x, y: x),
        (lambda x, y: x > y, lambda x, y: float(x > y)),
    ],
)
@pytest.mark.parametrize(("x", "y"), [(0.7, -1.3), (-0.4, 0.25)])
def test_each_operation_computes_what_it_says(written: Any, expected: Any, x: float, y: float) -> None:
    program = trace(make(lambda g, s: written(g.a.input, g.b.input)))
    values = evaluate(program.nodes, {("input", "a"): x, ("input", "b"): y})
    assert values[program.results[0]] == pytest.approx(expected(x, y), rel=1e-12)


def test_a_gate_offers_its_parts_and_their_sum() -> None:
    program = trace(make(lambda g, s: g.a.input * 100 + g.a.recurrent * 10 + g.a))
    leaves = {("input", "a"): 2.0, ("state", "h"): 3.0, ("weight", "weight_hh a"): 5.0}
    assert evaluate(program.nodes, leaves)[program.results[0]] == 200 + 150 + 17


def test_a_second_product_reads_a_computed_value() -> None:
    program = trace(make(lambda g, s: language.recur(g.b, g.a.input * s.h) + recur("a", s.h, "weight_extra")))
    leaves = {
        ("input", "a"): 2.0,
        ("state", "h"): 3.0,
        ("weight", "weight_hh b"): 5.0,
        ("weight", "weight_extra a"): 7.0,
    }
    assert evaluate(program.nodes, leaves)[program.results[0]] == 5 * 6 + 7 * 3
    assert [(w.name, w.gates) for w in program.weights] == [("weight_hh", ("a", "b")), ("weight_extra", ("a",))]


def test_products_of_one_value_are_one_group_in_the_order_of_the_rows() -> None:
    program = trace(make(lambda g, s: g.b + g.a + recur(g.a, g.b)))
    assert [(group.weight, group.gates) for group in program.groups] == [
        ("weight_hh", ("a", "b")),
        ("weight_hh", ("a",)),
    ]


def test_parameters_are_leaves_with_rows() -> None:
    def step(gate: Any, state: Any) -> Any:
        p, q = parameter("weight_p", "xy", initial=2), parameter("weight_q")
        return p.x * state.h + p.y * gate.a + q

    program = trace(make(step))
    assert [(p.name, p.rows, p.initial) for p in program.parameters] == [
        ("weight_p", ("x", "y"), 2),
        ("weight_q", (), None),
    ]
    assert {n.label for n in program.nodes if n.op == "parameter"} == {"weight_p.x", "weight_p.y", "weight_q"}


def test_a_mask_is_drawn_in_training_and_its_expectation_in_evaluation() -> None:
    cell = make(lambda g, s: mask("m", 0.25) * g.a)
    training, evaluation = trace(cell, training=True), trace(cell)
    assert [(m.name, m.probability, m.per, m.wide) for m in training.masks] == [("m", 0.25, "step", "units")]
    assert evaluation.masks == ()
    assert [n.label for n in evaluation.nodes if n.op == "const"] == ["0.25"]


def test_recurrent_dropout_vanishes_in_evaluation() -> None:
    cell = cells.LSTM()
    assert trace(cell, Options(recurrent_dropout=0.4)).text() == trace(cell).text()
    training = trace(cell, Options(recurrent_dropout=0.4), training=True)
    assert [(m.name, m.probability, m.per) for m in training.masks] == [("recurrent_dropout", 0.6, "sequence")]


def test_the_authors_names_are_kept() -> None:
    assert [name for name, _ in trace(cells.LSTM()).names] == ["i", "f", "g", "c", "o", "h"]


def test_names_are_also_found_in_functions_that_the_step_calls() -> None:
    def helper(gate: Any) -> Any:
        inner = language.tanh(gate.a)
        return inner * 2

    program = trace(make(lambda g, s: helper(g)))
    assert "inner" in dict(program.names)


def test_a_gate_is_shown_before_its_activation_where_the_cell_says_so() -> None:
    program = trace(make(lambda g, s: language.tanh(g.a)), shown=True)
    shown = dict(program.shown)
    assert program.nodes[shown["a"]].op == "add"


def test_what_only_a_trace_needs_is_not_in_an_untraced_program() -> None:
    cell = make(lambda g, s: language.tanh(g.a))
    assert [group.gates for group in trace(cell).groups] == [("a",)]
    assert [group.gates for group in trace(cell, shown=True).groups] == [("a",), ("b",)]


def test_options_decide_what_is_in_the_graph() -> None:
    assert len(trace(cells.LSTM()).nodes) < len(trace(cells.LSTM(peephole=True)).nodes)
    assert "f" not in trace(cells.LSTM(coupled=True)).gates


def test_a_coupled_lstm_still_shows_its_forget_gate() -> None:
    assert [name for name, _ in trace(cells.LSTM(coupled=True), shown=True).shown] == ["i", "f", "g", "o"]


def test_a_projection_goes_around_the_step_and_zoneout_around_both() -> None:
    program = trace(cells.LSTM(), Options(projection=True, zoneout=(0.5, 0.0)))
    output = program.nodes[program.results[0]]
    assert output.op == "add"
    assert {program.widths[a] for a in output.args} == {"output"}
    assert "project" in [n.op for n in program.nodes]


class _Odd(Cell):
    gates = ("a", "b")


def _raised(step: Any, cell: type[Cell] = _Odd) -> str:
    made = type("Odd", (cell,), {"step": step})()
    with pytest.raises(CellError) as caught:
        trace(made)
    return str(caught.value)


def test_an_if_on_a_value_shows_the_line() -> None:
    def step(self: Any, gate: Any, state: Any) -> Any:
        if gate.a > 0:
            return gate.a
        return gate.b

    message = _raised(step)
    assert "use where(condition, a, b)" in message
    assert __file__ in message
    assert "if gate.a > 0:" in message


def test_an_unknown_gate_shows_the_line_and_the_nearest_name() -> None:
    class Named(Cell):
        gates = ("forget", "keep")

        def step(self, gate: Any, state: Any) -> Any:
            return gate.forgte

    with pytest.raises(CellError) as caught:
        trace(Named())
    assert "no gate 'forgte'; this cell has forget, keep; did you mean 'forget'?" in str(caught.value)
    assert "return gate.forgte" in str(caught.value)


def test_an_unknown_state_shows_the_line() -> None:
    def step(self: Any, gate: Any, state: Any) -> Any:
        return gate.a + state.c

    message = _raised(step)
    assert "no state 'c'; this cell has h" in message
    assert "return gate.a + state.c" in message


def test_a_state_that_is_not_returned_shows_the_line() -> None:
    def step(self: Any, gate: Any, state: Any) -> Any:
        new = gate.a  # noqa: F841

    message = _raised(step)
    assert "step must return a value for the state 'h', got None (no return statement?)" in message
    assert "new = gate.a" in message


def test_a_wrong_number_of_states_shows_the_line() -> None:
    def step(self: Any, gate: Any, state: Any) -> Any:
        return gate.a, gate.b

    message = _raised(step)
    assert "step must return 1 value (h), got 2" in message
    assert "return gate.a, gate.b" in message


def test_functions_of_other_libraries_are_refused_with_the_line() -> None:
    def step(self: Any, gate: Any, state: Any) -> Any:
        return math.exp(gate.a)

    message = _raised(step)
    assert "is not a number" in message
    assert "return math.exp(gate.a)" in message


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda g, s: g.a + "x", "symbolic values and Python numbers, got str"),
        (lambda g, s: g.a + {1}, "symbolic values and Python numbers, got set"),
        (lambda g, s: g.a**0.5, "whole exponent"),
        (lambda g, s: list(g.a), "cannot be iterated"),
        (lambda g, s: g.a[0], "cannot be iterated, indexed"),
        (lambda g, s: language.recur("q", s.h), "no gate 'q'"),
        (lambda g, s: language.recur(s.h, s.h), "no gate Value"),
        (lambda g, s: language.clip(g.a, 2, 1), "low must not exceed high"),
        (lambda g, s: language.clip(g.a, g.b, 1), "low must be a number, got GateValue"),
        (lambda g, s: language.layer_norm(2.0), "layer_norm: x must be a value of the step, got float"),
        (lambda g, s: g.a + language.log(0.0), "log(0.0) has no value"),
        (lambda g, s: g.a + parameter("p", "xy").z, "p has no row 'z'; it has x, y"),
        (lambda g, s: parameter("p", "xy").x + parameter("p"), "declared before"),
        (lambda g, s: parameter("a b"), "'a b' is not a name"),
        (lambda g, s: mask("m", 1.5) * g.a, "between 0 and 1, got 1.5"),
        (lambda g, s: mask("m", 0.5, per="batch") * g.a, "per must be 'step' or 'sequence', got 'batch'"),
        (lambda g, s: (g.a > 0) & (g.b > 0), "conditions are combined by where"),
        (lambda g, s: ~(g.a > 0), "a condition is negated by where"),
        (lambda g, s: parameter("bias_ih") * s.h, "there is another learned tensor of the name 'bias_ih'"),
        (lambda g, s: language.recur("a", s.h, "weight_hr"), "there is another learned tensor of the name 'weight_hr'"),
        (lambda g, s: parameter("w") * recur("a", s.h, "w"), "another learned tensor of the name 'w'"),
        (lambda g, s: mask("zoneout_c", 0.5) * s.h, "'zoneout_c' is the name of a mask of the layer's own"),
        (lambda g, s: mask("m", "a") * s.h, "between 0 and 1, got 'a'"),
        (lambda g, s: "h", "a value for the state 'h', got str"),
        (lambda g, s: True, "a value for the state 'h', got bool"),
    ],
)
def test_a_misuse_says_what_is_wrong_and_where(step: Any, expected: str) -> None:
    with pytest.raises(CellError) as caught:
        trace(make(step))
    assert expected in str(caught.value)
    assert __file__ in str(caught.value)


@pytest.mark.parametrize(
    ("gates", "states", "expected"),
    [
        ((), ("h",), "gates must be a tuple of at least one name"),
        (("a",), (), "states must be a tuple"),
        (["a"], ("h",), "gates must be a tuple"),
        (("a", "a"), ("h",), "gates names something twice"),
        (("a b",), ("h",), "'a b' is not a name"),
        (("lambda",), ("h",), "'lambda' is not a name"),
        (("a",), ("_h",), "'_h' is not a name"),
    ],
)
def test_bad_declarations_are_refused(gates: Any, states: Any, expected: str) -> None:
    with pytest.raises(CellError, match=expected):
        trace(make(lambda g, s: 0.0, gates, states))


def test_a_value_of_another_trace_is_refused() -> None:
    kept: list[Any] = []
    trace(make(lambda g, s: kept.append(g.a) or g.a))
    with pytest.raises(CellError, match="another trace"):
        trace(make(lambda g, s: g.a + kept[0]))


@pytest.mark.parametrize("function", [lambda: parameter("p"), lambda: mask("m", 0.5)])
def test_parameters_and_masks_exist_only_inside_a_step(function: Any) -> None:
    with pytest.raises(CellError, match="only inside a cell's step"):
        function()


def test_a_cell_without_a_step_says_so() -> None:
    with pytest.raises(CellError, match="_Odd has no step method"):
        trace(_Odd())


def test_a_projection_refuses_a_step_that_mixes_h_with_the_units() -> None:
    with pytest.raises(CellError, match="proj_size does not go with GRU"):
        trace(cells.GRU(), Options(projection=True))
    with pytest.raises(CellError, match="recurrent product of a value other than the projected h"):
        trace(cells.FGR(), Options(projection=True))


def test_a_gate_that_is_always_the_same_is_shown_as_that() -> None:
    def step(gate: Any, state: Any) -> Any:
        a = 1.0  # noqa: F841
        return gate.a

    cell = type("Constant", (Cell,), {"gates": ("a",), "step": lambda self, g, s: step(g, s)})()
    program = trace(cell, shown=True)
    assert program.nodes[dict(program.shown)["a"]].label == "1.0"


class _OwnGRU(Cell):
    """A GRU whose author has other names for the gates' values."""

    gates = ("r", "z", "n")

    def step(self, gate: Any, state: Any) -> Any:
        reset = language.sigmoid(gate.r)
        z = language.sigmoid(gate.z)
        n = language.tanh(gate.n.input + reset * gate.n.recurrent)
        return (1 - z) * n + z * state.h


def _shown_by(cell: Cell) -> dict[str, str]:
    """The operation that gives each value that a trace shows."""
    program = trace(cell, shown=True)
    return {name: program.nodes[index].op for name, index in program.shown}


def test_what_a_gate_shows_is_asked_for_where_no_variable_has_its_name() -> None:
    with pytest.raises(CellError) as caught:
        trace(_OwnGRU(), shown=True)
    message = str(caught.value)
    assert message.startswith(
        "a trace is to show 'r', but the step has no local variable 'r'; it has reset, z, n. Give "
    )
    assert "shows = {'r': …}" in message
    assert "'gate.r' for the gate before its activation" in message
    trace(_OwnGRU())  # untraced it runs


def test_a_cell_may_say_which_variable_is_a_gate() -> None:
    named = type("Named", (_OwnGRU,), {"shows": {"r": "reset"}})()
    assert _shown_by(named) == {"r": "sigmoid", "z": "sigmoid", "n": "tanh"}
    raw = type("Raw", (_OwnGRU,), {"shows": {"r": "gate.r"}})()
    assert _shown_by(raw)["r"] == "add"
    more = type("More", (_OwnGRU,), {"shows": {"r": "reset", "again": "reset"}})()
    assert list(_shown_by(more)) == ["r", "z", "n", "again"]
    with pytest.raises(
        CellError, match=r"to show 'r', but the step has no local variable 'rest'.*did you mean 'reset'"
    ):
        trace(type("Wrong", (_OwnGRU,), {"shows": {"r": "rest"}})(), shown=True)
    for shows in (("r",), {"r": "gate.q"}, {"r": 1}, {"r": "reset + 1"}):
        with pytest.raises(CellError, match="shows must say"):
            trace(type("Wrong", (_OwnGRU,), {"shows": shows})())


@pytest.mark.parametrize(
    "before",
    [
        lambda g, s: g.a,
        lambda g, s: g.a.input + 0.0,
        lambda g, s: -g.a,
        lambda g, s: 2 * g.a + s.h,
        lambda g, s: g.a.input + language.sigmoid(g.b) * g.a.recurrent,
        lambda g, s: language.recur(g.a, language.sigmoid(g.b)) + 1,
        lambda g, s: language.layer_norm(g.a, 1.0, 0.0),
        lambda g, s: language.where(s.h > 0, g.a, 0.0),
        lambda g, s: language.maximum(g.a, g.b),
        lambda g, s: s.h,
    ],
)
def test_no_value_before_an_activation_is_shown_as_a_gate_unless_the_cell_says_so(before: Any) -> None:
    def step(self: Any, gate: Any, state: Any) -> Any:
        a = before(gate, state)
        return language.sigmoid(a) * state.h

    cell = type("Sloppy", (Cell,), {"gates": ("a", "b"), "step": step, "shows": {"b": "gate.b"}})
    with pytest.raises(CellError, match="the local variable a is no gate after its activation"):
        trace(cell(), shown=True)
    assert "a" in _shown_by(type("Declared", (cell,), {"shows": {"a": "a", "b": "gate.b"}})())


@pytest.mark.parametrize(
    "after",
    [
        lambda g: 1 - language.sigmoid(g.a),
        lambda g: language.clip(g.a, 0, 1),
        lambda g: language.maximum(g.a, 0),
        lambda g: language.exp(g.a - 1) / 2,
        lambda g: language.sigmoid(g.a) * language.sigmoid(g.b),
        lambda g: language.where(g.a > 0, 1.0, 0.0),
        lambda g: 0.5,
    ],
)
def test_a_value_after_an_activation_is_shown(after: Any) -> None:
    def step(self: Any, gate: Any, state: Any) -> Any:
        a = after(gate)
        return a * state.h

    cell = type("Fine", (Cell,), {"gates": ("a", "b"), "step": step, "shows": {"b": "gate.b"}})
    assert "a" in _shown_by(cell())


def test_the_states_may_come_as_a_list() -> None:
    assert len(trace(make(lambda g, s: [g.a, g.b], states=("h", "c"))).results) == 2


def test_a_state_may_be_a_number() -> None:
    program = trace(make(lambda g, s: 0.5))
    assert program.nodes[program.results[0]].op == "const"
