"""Numbers as people write them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast.data.numbers import number


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1.5", 1.5), (" -2e3\n", -2000.0), ("True", 1.0), ("false", 0.0), (3, 3.0), (True, 1.0), ("inf", math.inf)],
)
def test_a_cell_holds_a_number(cell: Any, value: float) -> None:
    assert number(cell) == value


@pytest.mark.parametrize("cell", ["", " ", "NA", "n/a", "#N/A", "nan", "Null", "none", None, math.nan])
def test_a_cell_may_hold_nothing(cell: Any) -> None:
    assert math.isnan(number(cell))


def test_a_whole_number_beyond_all_others_is_infinite() -> None:
    assert number(-(10**400)) == -math.inf


@pytest.mark.parametrize("cell", ["abc", "1,5", "1_000", "1 2", [1], {}])
def test_a_cell_may_hold_something_else(cell: Any) -> None:
    with pytest.raises(ValueError, match="is no number"):
        number(cell)
