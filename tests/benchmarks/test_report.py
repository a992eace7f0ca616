from __future__ import annotations

from typing import Any

import pytest
import torch
from benchmarks import check, compare, report
from benchmarks.report import Column, Table, text, times


def table(*ratios: float) -> Table:
    made = Table("speed", "a table", [Column("name", "name", text, 6, names=True), Column("ratio", "×", compared=True)])
    for k, ratio in enumerate(ratios):
        made.add({"name": f"row {k}", "ratio": ratio})
    return made


def test_what_is_not_there_is_shown_as_a_dash() -> None:
    assert Column("ratio", "×", times, 5).cell({}) == "    –"


def test_a_lower_bound_holds_for_the_lowest() -> None:
    made = table(1.2, 0.9, 0.8)
    made.require_at_least("speed", 0.97, "ratio")
    made.require_at_least("speed", 0.8, "ratio")
    missed, reached = made.requirements
    assert not missed.reached
    assert missed.figure == "lowest 0.80 in row 2; 2 of 3 rows miss it"
    assert reached.reached
    assert reached.figure == "lowest 0.80 in row 2"


def test_an_upper_bound_holds_for_the_highest() -> None:
    made = table(1.2, 0.9)
    made.require_at_most("cost", 1.1, "ratio")
    made.require_at_most("cost", 1.2, "ratio")
    assert [r.reached for r in made.requirements] == [False, True]


def test_rows_without_the_figure_do_not_count() -> None:
    made = table(1.2)
    made.add({"name": "other"})
    made.require_at_least("speed", 1.0, "ratio")
    made.require_at_least("speed", 1.0, "another")
    assert [r.reached for r in made.requirements] == [True]


def test_a_wrong_row_is_named_and_no_requirement_on_its_table_is_reached(capsys: pytest.CaptureFixture[str]) -> None:
    made = table(1.2)
    made.refuse({"name": "row 1"}, "the loop", 0.5)
    made.require_at_least("speed", 1.0, "ratio")
    made.require_at_least("speed", 1.0, "another")
    assert "row 1  WRONG, not timed: the loop is off by 5.0e-01" in capsys.readouterr().out
    assert [r.reached for r in made.requirements] == [False, False]
    assert made.as_json()["refused"] == [{"name": "row 1", "wrong": "the loop", "error": 0.5}]


def test_the_summary_lists_every_requirement(capsys: pytest.CaptureFixture[str]) -> None:
    made = table(1.2)
    made.require_at_least("speed", 1.0, "ratio")
    made.require_at_least("speed", 1.5, "ratio")
    report.summary([made])
    lines = capsys.readouterr().out.split("summary\n")[1].splitlines()
    assert lines[0].startswith("reached  speed: speed  ≥ 1 ")
    assert lines[1].startswith("MISSED   speed: speed  ≥ 1.5")
    assert lines[2:] == ["1 of 2 reached"]


def test_the_summary_says_how_many_rows_other_processes_disturbed(capsys: pytest.CaptureFixture[str]) -> None:
    made = table(1.2)
    made.add({"name": "row 1", "ratio": 1.3, "others": 0.02})
    made.add({"name": "row 2", "ratio": 1.4, "others": 1.5})
    made.require_at_least("speed", 1.0, "ratio")
    report.summary([made])
    assert "1 of 3 rows were disturbed by other processes" in capsys.readouterr().out


def test_two_revisions_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    other: dict[str, Any] = {"tables": {"speed": {"rows": [{"name": "row 0", "ratio": 0.5}]}}}
    compare.show([table(1.0, 2.0)], other, "earlier")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == ["row", "0", "0.50", "→", "1.00"]
    assert lines[-1].split() == ["row", "1", "–", "→", "2.00"]


def test_a_revision_that_does_not_exist_is_named() -> None:
    with pytest.raises(SystemExit, match="--compare no-such-revision"):
        compare.measure("no-such-revision", [])


def test_what_cannot_be_compared_is_infinitely_wrong() -> None:
    one = torch.ones(2)
    assert check.error(torch.ones(3), one) == float("inf")
    assert check.error(one * float("nan"), one) == float("inf")
    assert check.furthest([one], {"right": [one], "short": []}) == ("short", float("inf"))
    assert check.furthest([one], {"right": [one], "off": [one * 2]}) == ("off", 1.0)
