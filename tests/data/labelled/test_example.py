"""What a label and a content may be, and what is said of those that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from holdfast.data import DataError, Reading
from holdfast.data.labelled.example import Fault, content_of, example, label_of


@pytest.mark.parametrize(
    ("held", "label"),
    [("pos", "pos"), (" pos\n", "pos"), ("1.0", "1.0"), (1, "1"), (1.0, "1"), (2.5, "2.5"), (True, "true"), (0, "0")],
)
def test_a_class_is_a_text(held: Any, label: str) -> None:
    assert label_of(held, Reading()) == label


@pytest.mark.parametrize(("held", "label"), [("3", 3.0), (" -2.5e1 ", -25.0), (4, 4.0), (0.5, 0.5), (True, 1.0)])
def test_a_numeric_label_is_a_number(held: Any, label: float) -> None:
    found = label_of(held, Reading(numeric=True))
    assert found == label
    assert isinstance(found, float)


@pytest.mark.parametrize("numeric", [False, True])
@pytest.mark.parametrize("held", ["", "  ", None, math.nan])
def test_a_label_that_is_missing_is_a_fault_where_there_must_be_one(held: Any, numeric: bool) -> None:
    with pytest.raises(Fault, match=r"^the label is missing$"):
        label_of(held, Reading(numeric=numeric))
    assert label_of(held, Reading(labelled=False, numeric=numeric)) is None


def test_a_word_for_a_missing_number_may_name_a_class() -> None:
    assert label_of("none", Reading()) == "none"
    assert label_of("NA", Reading(labelled=False, numeric=True)) is None


@pytest.mark.parametrize(
    ("held", "numeric", "said"),
    [
        ("abc", True, "the label 'abc' is not a number"),
        ("1_000", True, "the label '1_000' is not a number"),
        ("-inf", True, "the label '-inf' is not finite"),
        (math.inf, True, "the label inf is not finite"),
        (10**400, True, f"the label 1{'0' * 39} is not finite"),
        ([1], True, "the label a list is not a number"),
        ([1], False, "the label is a list, which names no class"),
    ],
)
def test_what_is_no_label_is_told(held: Any, numeric: bool, said: str) -> None:
    with pytest.raises(Fault) as fault:
        label_of(held, Reading(numeric=numeric))
    assert str(fault.value) == said


def test_a_text_stays_as_it_is() -> None:
    assert content_of("  naïve\n") == "  naïve\n"


@pytest.mark.parametrize(
    ("held", "values"),
    [
        ([1, 2.5, None], [[1], [2.5], [math.nan]]),
        ([[1, None], [3, 4]], [[1, math.nan], [3, 4]]),
        (np.array([[1, 2]], np.int64), [[1, 2]]),
    ],
)
def test_a_series_is_steps_by_channels_in_32_bits(held: Any, values: list[list[float]]) -> None:
    series = content_of(held)
    assert isinstance(series, np.ndarray)
    assert series.dtype == np.float32
    np.testing.assert_array_equal(series, np.array(values, np.float32))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ("", "the text is empty"),
        (" \t\n", "the text is empty"),
        (None, "the text is empty"),
        (math.nan, "the text is empty"),
        (5, "5 is neither a text nor a list of numbers"),
        ({"a": 1}, "a dict is neither a text nor a list of numbers"),
        ([], "the series has no steps"),
        (np.empty((0, 3)), "the series has no steps"),
        ([[], []], "the series has no channels"),
        ([[1, 2], [3]], "steps of 1 and of 2 channels"),
        ([1, [2, 3]], "steps of 1 and of 2 channels"),
        ([1, "abc"], "'abc' is not a number"),
        ([[1, [2]]], "a list is not a number"),
        ([1, math.inf], "an infinite value"),
        ([1, 1e39], "a value too large for a number of 32 bits"),
        (["x" * 1000], f"'{'x' * 40}…' is not a number"),
    ],
)
def test_what_is_no_content_is_told(held: Any, said: str) -> None:
    with pytest.raises(Fault) as fault:
        content_of(held)
    assert str(fault.value) == said


def test_an_example_tells_its_first_fault_and_keeps_its_label() -> None:
    assert example("a, line 1", "", "pos", Reading()) == ("a, line 1", None, "pos", "the text is empty")
    assert example("a, line 1", "", "", Reading()) == ("a, line 1", None, None, "the text is empty")
    assert example("a, line 1", "good", "", Reading()) == ("a, line 1", None, None, "the label is missing")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "a", "label": "a"}, "the column 'a' must have one role, got 2"),
        ({"series": "a", "channels": ["b", "b"]}, "the column 'b' must have one role, got 2"),
        ({"series": "a", "channels": "b"}, "channels must be a list of columns, got 'b'"),
        (
            {"text": "a", "series": "b"},
            "name a column of texts, one that tells series apart, or one of recordings; got 'a' and 'b'",
        ),
        ({"channels": ["b"]}, "channels are named in tables with a row for each step: name the column of series too"),
    ],
)
def test_a_reading_that_contradicts_itself_is_told(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as error:
        Reading(**given)
    assert str(error.value) == said
