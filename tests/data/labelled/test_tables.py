"""Tables with a row for each step: which rows are a series, and what is wrong with one."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.data import Example

from .helpers import message, pairs, read, written

LONG = "id,x,label,z\na,1,walk,2\nb,3,run,4\na,5,walk,6\nb,7,run,8\na,9,walk,10\n"
SERIES = [([[1, 2], [5, 6], [9, 10]], "walk"), ([[3, 4], [7, 8]], "run")]


def long(path: Path, content: str, **reading: object) -> list[Example]:
    return read(written(path, content), series="id", **reading)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv"])
def test_rows_of_one_series_may_be_anywhere(name: str, tmp_path: Path) -> None:
    content = LONG.replace(",", "\t") if name == "a.tsv" else LONG
    found = long(tmp_path / name, content)
    assert pairs(found) == SERIES
    assert [one.where for one in found] == [f"{tmp_path / name}, line {k}" for k in (2, 3)]
    assert found[0].content.dtype == np.float32


def test_a_parquet_file_may_have_a_row_for_each_step(tmp_path: Path) -> None:
    table = pa.table({"id": [7, 7, 8], "x": [1.5, None, 3.0], "label": ["walk", "walk", "run"]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    one, two = read(written(tmp_path / "a.parquet", buffer.getvalue()), series="id")
    assert one.content[0, 0] == 1.5
    assert math.isnan(one.content[1, 0])
    assert (two.where, two.content.tolist(), two.label) == (f"{tmp_path}/a.parquet, row 3", [[3.0]], "run")


def test_channels_are_those_that_are_named_in_their_order(tmp_path: Path) -> None:
    found = long(tmp_path / "a.csv", LONG, channels=["z", "x"])
    assert pairs(found)[1] == ([[4, 3], [8, 7]], "run")
    assert pairs(long(tmp_path / "a.csv", LONG, channels=["x"]))[1] == ([[3], [7]], "run")


def test_a_column_that_numbers_the_rows_and_has_no_name_is_no_channel(tmp_path: Path) -> None:
    lines = LONG.splitlines()
    content = "\n".join([f",{lines[0]}", *(f"{k},{line}" for k, line in enumerate(lines[1:]))])
    assert pairs(long(tmp_path / "a.csv", content)) == SERIES


def test_columns_may_be_counted(tmp_path: Path) -> None:
    content = LONG.partition("\n")[2]
    path = written(tmp_path / "a.csv", content)
    assert pairs(read(path, series="1", label="3")) == SERIES


def test_numbers_may_be_missing_and_labels_too_where_they_need_not_be_there(tmp_path: Path) -> None:
    (one,) = long(tmp_path / "a.csv", "id,x,z\na,1,\na,NA,4\n", labelled=False)
    np.testing.assert_array_equal(one.content, np.array([[1, np.nan], [np.nan, 4]], np.float32))
    assert one.label is None
    assert long(tmp_path / "a.csv", "id,x,label\na,1,\n", labelled=False)[0].label is None


def test_series_of_different_files_are_different(tmp_path: Path) -> None:
    one, two = written(tmp_path / "1.csv", LONG), written(tmp_path / "2.csv", LONG)
    assert pairs(read(one, two, series="id")) == SERIES * 2


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    content = LONG.replace("walk", "1.5").replace("run", "2")
    assert [one.label for one in long(tmp_path / "a.csv", content, numeric=True)] == [1.5, 2.0]
    faulty = long(tmp_path / "a.csv", LONG, numeric=True)
    assert [one.fault for one in faulty] == [
        "the label 'walk' is not a number",
        "the label 'run' is not a number",
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,1,run,2", "one series has the labels 'walk' and 'run' (line 7)"),
        ("a,1,,2", "the label is missing (line 7)"),
        ("a,abc,walk,2", "'abc' in column x is not a number (line 7)"),
        ("a,1,walk,2,3", "5 cells, but the header has 4 (line 7)"),
        ("a,1,walk,inf", "an infinite value"),
    ],
)
def test_a_series_with_a_faulty_row_is_told_once_and_others_stay(row: str, said: str, tmp_path: Path) -> None:
    one, two = long(tmp_path / "a.csv", f"{LONG}{row}\n{row}\n")
    assert one == (f"{tmp_path}/a.csv, line 2", None, "walk", said)
    assert pairs([two]) == SERIES[1:]


def test_a_fault_in_the_first_row_of_a_series_stands_where_the_series_does(tmp_path: Path) -> None:
    (one,) = long(tmp_path / "a.csv", "id,x,label\na,abc,walk\na,1,walk\n")
    assert one == (f"{tmp_path}/a.csv, line 2", None, "walk", "'abc' in column x is not a number")


def test_each_row_that_names_no_series_is_a_fault(tmp_path: Path) -> None:
    found = long(tmp_path / "a.csv", "id,x,label\n,1,walk\na,1,walk\n ,1,walk\n")
    assert [one.fault for one in found] == ["the series has no name", "", "the series has no name"]
    assert [one.where[-6:] for one in found] == ["line 2", "line 3", "line 4"]


def test_missing_columns_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", LONG)
    assert message(path, series="idd") == (
        f"{path} has no column 'idd'; did you mean id?; its columns are 'id', 'x', 'label', 'z'"
    )
