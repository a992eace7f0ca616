"""Tables that commands write."""

from __future__ import annotations

import pytest

from holdfast.cli.rows import writing


def test_the_names_come_with_the_first_row_and_not_before_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with writing(None, ["row", "prediction"], as_json=False) as (write, _):
        assert capsys.readouterr().out == ""
        write({"row": 1, "prediction": "good", "more": 3})
        assert capsys.readouterr().out == "row,prediction\n1,good\n"
        write({"row": 2})
    assert capsys.readouterr().out == "2,\n"


def test_a_table_of_no_rows_has_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    with writing(None, ["row", "prediction"], as_json=False):
        pass
    assert capsys.readouterr().out == "row,prediction\n"


def test_json_lines_have_the_columns_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with writing(None, ["row"], as_json=True) as (write, _):
        write({"row": 1, "more": 3})
    assert capsys.readouterr().out == '{"row": 1}\n'
