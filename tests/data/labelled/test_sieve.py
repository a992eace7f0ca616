"""Examples that cannot be used: an error, or counted by their kind."""

from __future__ import annotations

import pytest

from holdfast.data import DataError, Example, Sieve

GOOD = [Example(f"a.csv, line {k}", f"text {k}", "pos") for k in range(2, 5)]


def bad(where: str, fault: str) -> Example:
    return Example(where, None, None, fault)


def test_the_first_fault_is_an_error() -> None:
    through = Sieve(skip=False).through([GOOD[0], bad("a.csv, line 3", "the text is empty"), GOOD[1]])
    assert next(through) == GOOD[0]
    with pytest.raises(DataError) as error:
        next(through)
    assert str(error.value) == "a.csv, line 3: the text is empty; fit with --skip-bad leaves such rows out"


def test_faults_are_counted_by_their_kind_in_the_order_of_their_first() -> None:
    sieve = Sieve(skip=True)
    found = [
        bad("a.csv, line 7", "the text is empty"),
        GOOD[0],
        bad("a.csv, line 8", "'abc' in column x is not a number"),
        bad("a.csv, line 9", "the text is empty"),
        GOOD[1],
        bad("a.csv, line 10", '"it\'s" in column x is not a number'),
        bad("a.csv, line 11", "the label is missing"),
        bad("a.csv, line 12", "5 cells, but the header has 3"),
        bad("a.csv, line 13", "4 cells, but the header has 3"),
    ]
    assert [*sieve.through(found)] == GOOD[:2]
    assert sieve.notes == [
        "2 rows left out: the text is empty (the first is a.csv, line 7)",
        "2 rows left out: … in column x is not a number (the first is a.csv, line 8)",
        "1 row left out: the label is missing (the first is a.csv, line 11)",
        "2 rows left out: … cells, but the header has … (the first is a.csv, line 12)",
    ]


def test_counts_go_on_over_several_calls() -> None:
    sieve = Sieve(skip=True)
    for _ in range(1000):
        assert [*sieve.through([bad("a.csv, line 7", "the text is empty")])] == []
    assert sieve.notes == ["1,000 rows left out: the text is empty (the first is a.csv, line 7)"]


def test_there_are_no_notes_where_all_is_good() -> None:
    sieve = Sieve(skip=True)
    assert [*sieve.through(GOOD)] == GOOD
    assert sieve.notes == []


def test_what_is_left_out_is_called_as_one_says() -> None:
    sieve = Sieve(skip=True, unit="piece")
    found = [bad("a.mid", "it is damaged"), bad("b.mid", "it holds no notes"), bad("c.mid", "it is damaged")]
    assert [*sieve.through(found)] == []
    assert [note.partition(":")[0] for note in sieve.notes] == ["2 pieces left out", "1 piece left out"]
    with pytest.raises(DataError, match="fit with --skip-bad leaves such pieces out"):
        next(Sieve(skip=False, unit="piece").through(found))
