"""Which column is which, and what is said where that is not plain."""

from __future__ import annotations

import pytest

from holdfast.data import DataError, Reading
from holdfast.data.labelled.roles import label_column, series_columns, text_column

TEXTS = ("text", "review", "sentence", "content", "comment", "message", "tweet", "body", "document")
LABELS = ("label", "sentiment", "class", "category", "target", "rating", "y")


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_found_by_its_usual_names(name: str) -> None:
    assert text_column("a.csv", ["id", name.title(), "y"], Reading()) == name.title()


@pytest.mark.parametrize("name", LABELS)
def test_a_label_is_found_by_its_usual_names(name: str) -> None:
    assert label_column("a.csv", ["id", name.upper(), "text"], Reading()) == name.upper()


def test_a_column_that_is_named_has_that_role_alone() -> None:
    assert text_column("a.csv", ["text", "y"], Reading(text="y")) == "y"
    assert label_column("a.csv", ["y", "class"], Reading(text="y")) == "class"
    assert text_column("a.csv", ["text", "body"], Reading(label="text")) == "body"


@pytest.mark.parametrize("labelled", [False, True])
def test_a_text_that_is_not_plain_is_told(labelled: bool) -> None:
    with pytest.raises(DataError) as error:
        text_column("a.csv", ["id", "stars"], Reading(labelled=labelled))
    assert str(error.value) == "a.csv: no column looks like the text; name it with --text, of 'id', 'stars'"
    with pytest.raises(DataError) as error:
        text_column("a.csv", ["text", "y", "Body"], Reading(labelled=labelled))
    assert str(error.value) == "a.csv: the text may be any of 'text', 'Body'; name it with --text"


def test_a_label_that_is_not_plain_is_told_only_where_there_must_be_one() -> None:
    none, two = ["text", "stars"], ["text", "rating", "class"]
    with pytest.raises(DataError) as error:
        label_column("a.csv", none, Reading())
    assert str(error.value) == "a.csv: no column looks like the label; name it with --label, of 'text', 'stars'"
    with pytest.raises(DataError) as error:
        label_column("a.csv", two, Reading())
    assert str(error.value) == "a.csv: the label may be any of 'rating', 'class'; name it with --label"
    assert label_column("a.csv", none, Reading(labelled=False)) == ""
    assert label_column("a.csv", two, Reading(labelled=False)) == ""


def test_a_named_column_that_is_not_there_is_told_with_what_is_near() -> None:
    for reading in (Reading(text="txt"), Reading(text="txt", labelled=False)):
        with pytest.raises(DataError) as error:
            text_column("a.csv", ["text", "stars"], reading)
        said = "a.csv has no column 'txt'; did you mean text?; its columns are 'text', 'stars'"
        assert str(error.value) == said
    with pytest.raises(DataError, match=r"a\.csv has no column 'star'; did you mean stars"):
        label_column("a.csv", ["text", "stars"], Reading(label="star"))
    assert label_column("a.csv", ["text", "stars"], Reading(label="star", labelled=False)) == ""


def test_channels_are_all_other_columns_with_a_name() -> None:
    names = ["", "id", "x", "activity", "z"]
    assert series_columns("a.csv", names, Reading(series="id", label="activity")) == ("id", "activity", ["x", "z"])
    named = Reading(series="id", label="activity", channels=("z",))
    assert series_columns("a.csv", names, named) == ("id", "activity", ["z"])


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading(series="key", label="y"), "a.csv has no column 'key'; its columns are 'id', 'y'"),
        (Reading(series="id", label="y", channels=("u",)), "a.csv has no column 'u'; its columns are 'id', 'y'"),
        (Reading(series="id", label="y"), "a.csv: no column of numbers is left; it has 'id', 'y'"),
    ],
)
def test_columns_of_series_that_are_not_there_are_told(reading: Reading, said: str) -> None:
    with pytest.raises(DataError) as error:
        series_columns("a.csv", ["id", "y"], reading)
    assert str(error.value) == said
