"""A value that can be held: the graph, and the graph alone, is another."""

from __future__ import annotations

import pytest

from holdfast import cells
from holdfast.language import Cell, Options, parse, trace
from holdfast.language.holding import holdable, with_holding

CELLS = [getattr(cells, name)() for name in cells.__all__]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("shown", [False, True])
def test_every_named_value_of_every_cell_can_be_held(cell: Cell, shown: bool) -> None:
    program = trace(cell, Options(), training=False, shown=shown)
    assert holdable(program)
    for name in holdable(program):
        held = with_holding(program, name)
        assert len(held.nodes) == len(program.nodes) + 4
        for index, node in enumerate(held.nodes):
            assert all(argument < index for argument in node.args), "a node comes after what it reads"
        where = dict(held.names)[name]
        computed = held.nodes[held.nodes[where].args[0]].args[0]
        readers = [index for index, node in enumerate(held.nodes) if computed in node.args]
        assert readers == [computed + 3], "nobody but the product with `free` reads what was computed"
        assert dict(held.names).keys() == dict(program.names).keys()
        assert parse(held.text()) == held


def test_a_value_is_made_holdable_once() -> None:
    program = with_holding(trace(cells.LSTM()), "f")
    assert with_holding(program, "f") == program
    both = with_holding(program, "c")
    assert [p.name for p in both.parameters] == ["hold_f", "hold_c"]


def test_a_state_before_the_step_is_no_value_of_the_step() -> None:
    with pytest.raises(ValueError, match=r"there is no value 'fo' in LSTM to hold; there are .*; did you mean"):
        with_holding(trace(cells.LSTM()), "fo")
