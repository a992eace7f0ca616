"""Lines, separators and headers of tables in text."""

from __future__ import annotations

import io

import pytest

from holdfast.data.delimited import csv_reader, told_separator, whole_lines

TEXT = "a,b\r\n1,2\r\r\n\n\u2028x\x0cy\rlast\r"


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
@pytest.mark.parametrize("end", ["", "\n", "no newline"])
def test_lines_are_whole_whatever_the_size_of_a_piece(size: int, end: str) -> None:
    text = TEXT + end
    pieces = [text[k : k + size] for k in range(0, len(text), size)]
    assert [*whole_lines(pieces)] == io.StringIO(text, newline="").readlines()


@pytest.mark.parametrize(
    ("lines", "separator"),
    [
        (["a,b", "1,2"], ","),
        (["a;b", "1,5;2,5"], ";"),
        (["a\tb", "x, y\tz"], "\t"),
        (["a|b|c", "1|2|3,4"], "|"),
        (["a;b", "1;2;3"], ";"),
        (["a"], ","),
    ],
)
def test_the_separator_cuts_all_lines_alike(lines: list[str], separator: str) -> None:
    assert told_separator(lines) == separator


def test_a_cell_may_be_longer_than_the_module_allows_by_itself() -> None:
    long = "x" * 1_000_000
    assert [*csv_reader([f"{long},1"], ",")] == [[long, "1"]]
