"""The `.ts` files of the archives of time series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .helpers import message, read, written

HEADER = (
    "# a comment: @data\n@problemName Steps\n\n@timeStamps false\n@missing true\n@univariate false\n@dimensions 2\n"
)
CASES = "1,2.5,?:4,-5e-1,6:walk\n# between cases\n\n7:8:run\n"


@pytest.mark.parametrize("name", ["a.ts", "a.ts.gz"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_cases_are_steps_by_channels(name: str, newline: str, tmp_path: Path) -> None:
    content = f"{HEADER}@classLabel true walk run\n@data\n{CASES}".replace("\n", newline)
    path = written(tmp_path / name, content)
    one, two = read(path)
    np.testing.assert_array_equal(one.content, np.array([[1, 4], [2.5, -0.5], [np.nan, 6]], np.float32))
    assert one.content.dtype == np.float32
    assert two.content.tolist() == [[7, 8]]
    assert [(one.where, one.label), (two.where, two.label)] == [
        (f"{path}, line 10", "walk"),
        (f"{path}, line 13", "run"),
    ]


def test_a_target_is_a_number(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ts", "@univariate true\n@targetlabel true\n@DATA\n1,2,3:0.5\n4,5,6:high\n7,8:inf\n")
    one, two, three = read(path, numeric=True)
    assert (one.content.tolist(), one.label) == ([[1], [2], [3]], 0.5)
    assert two.fault == "the label 'high' is not a number"
    assert three.fault == "the label 'inf' is not finite"


@pytest.mark.parametrize("line", ["", "@classLabel false\n"])
def test_labels_may_lack_where_they_need_not_be_there(line: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.ts", f"{line}@data\n1,2:3,4\n")
    (one,) = read(path, labelled=False)
    assert (one.content.tolist(), one.label) == ([[1, 3], [2, 4]], None)
    assert message(path) == f"{path} has no labels: neither @classLabel nor @targetlabel is true"


@pytest.mark.parametrize("label", ["?", "", " "])
def test_a_label_may_be_missing(label: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.ts", f"@classLabel true a b\n@data\n1,2:{label}\n")
    assert [one.fault for one in read(path)] == ["the label is missing"]
    assert [(one.fault, one.label) for one in read(path, labelled=False)] == [("", None)]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("1,2:3:walk", "channels of 1 and of 2 steps"),
        ("1,2:walk", "1 channels, but the header says 2"),
        ("1,2:3,4:5,6:walk", "3 channels, but the header says 2"),
        ("1,abc:3,4:walk", "'abc' is not a number"),
        ("1,inf:3,4:walk", "an infinite value"),
        ("1,1e39:3,4:walk", "a value too large for a number of 32 bits"),
        ("::walk", "the series has no steps"),
        ("1:2:", "the label is missing"),
    ],
)
def test_a_case_that_cannot_be_used_is_told_and_others_stay(case: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.ts", f"{HEADER}@classLabel true walk run\n@data\n{case}\n{CASES}")
    found = read(path)
    assert [one.fault for one in found] == [said, "", ""]
    assert found[0].content is None
    assert found[0].where == f"{path}, line 10"


def test_a_case_without_channels_has_no_steps(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ts", "@classLabel true walk\n@data\nwalk\n")
    assert [one.fault for one in read(path)] == ["the series has no steps"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "{} has no line @data"),
        ("@classLabel true a\n", "{} has no line @data"),
        ("@classLabel true a\n@data\n\n", "{} has a header, but no series"),
        (
            "@timeStamps true\n@data\n",
            "{}, line 1: series with timestamps cannot be read, only values at equal distances",
        ),
        ("@data\n1,2:a\n", "{} has no labels: neither @classLabel nor @targetlabel is true"),
        ("1,2:a\n", "{}, line 1: before the line @data, each must begin with @ or #, got '1,2:a'"),
        ("@dimensions two\n", "{}, line 1: @dimensions must be followed by a whole number, got 'two'"),
        (
            b"@problemName na\xefve\n",
            "{} must be UTF-8 text, but line 1 is not: it looks like latin-1, which --encoding latin-1 reads",
        ),
    ],
)
def test_what_is_no_such_file_is_told_in_a_line(content: Any, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.ts", content)
    assert message(path) == said.format(path)
