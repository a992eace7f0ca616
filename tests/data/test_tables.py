"""Tables from files of all kinds, where their rows stand, and what is no table."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from holdfast.data import DataError, read_table

FRAME = pd.DataFrame({"id": ["007", "b, c", "NA"], "ds": ["2020-01-01", "2020-01-02", "x"], "y": ["1.5", "", "-3"]})


def written(path: Path, content: bytes | str) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def message(path: str) -> str:
    with pytest.raises(DataError) as error:
        read_table(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_text_files_are_read_as_they_stand(separator: str, newline: str, packed: bool, tmp_path: Path) -> None:
    text = FRAME.to_csv(None, sep=separator, index=False, lineterminator=newline)
    path = tmp_path / ("table.csv.gz" if packed else "table.txt")
    table = read_table(written(path, gzip.compress(text.encode()) if packed else text))
    assert table.frame.to_dict("list") == FRAME.to_dict("list")
    assert table.where(2) == f"{path}, line 4"


def test_parquet_and_data_frames_keep_their_kinds(tmp_path: Path) -> None:
    frame = pd.DataFrame({"ds": pd.date_range("2020", periods=3), "y": [1.0, np.nan, 3.0], "s": ["a", "b", "c"]})
    frame.to_parquet(tmp_path / "t.parquet")
    for table in (read_table(str(tmp_path / "t.parquet")), read_table(frame), read_table(pa.Table.from_pandas(frame))):
        assert table.frame["y"].tolist()[::2] == [1.0, 3.0]
        assert table.frame["ds"].dtype.kind == "M"
    assert read_table(str(tmp_path / "t.parquet")).where(1) == f"{tmp_path}/t.parquet, row 2"


def test_an_index_of_times_becomes_a_column() -> None:
    frame = pd.DataFrame({"y": [1, 2]}, index=pd.date_range("2020", periods=2))
    assert [*read_table(frame).frame.columns] == ["time", "y"]
    assert [*read_table(frame.rename_axis("when")).frame.columns] == ["when", "y"]
    assert [*read_table(pd.DataFrame({"y": [1, 2]}, index=[5, 3])).frame.columns] == ["y"]


def test_several_files_follow_each_other_and_keep_their_lines(tmp_path: Path) -> None:
    one = written(tmp_path / "1.csv", "a,b\n1,2\n3,4\n")
    two = written(tmp_path / "2.csv", "b,a\n6,5\n")
    table = read_table([f"{tmp_path}/*.csv"])
    assert table.frame["a"].tolist() == ["1", "3", "5"]
    assert [table.where(k) for k in range(3)] == [f"{one}, line 2", f"{one}, line 3", f"{two}, line 2"]


def test_lines_are_right_after_blank_ones_and_newlines_in_a_cell(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", 'a,b\n1,2\n\n"x\ny",3\n4,5\n')
    table = read_table(path)
    assert table.frame["a"].tolist() == ["1", "x\ny", "4"]
    assert table.lines.tolist() == [2, 5, 6]


def test_urls_are_read() -> None:
    MemoryFileSystem().pipe("/holdfast/t.csv", b"ds,y\n1,2\n")
    assert read_table("memory://holdfast/t.csv").frame["y"].tolist() == ["2"]
    MemoryFileSystem().rm("/holdfast", recursive=True)


def test_a_nameless_column_that_counts_rows_is_left_out(tmp_path: Path) -> None:
    table = read_table(written(tmp_path / "t.csv", ",a,b\n0,5,6\n1,7,8\n"))
    assert [*table.frame.columns] == ["a", "b"]
    assert len(table.notes) == 1
    assert [*read_table(written(tmp_path / "u.csv", ",a\n2020,5\n2021,6\n")).frame.columns] == ["column 1", "a"]


def test_a_mark_of_the_byte_order_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert [*read_table(written(tmp_path / "t.csv", "\ufeffds,y\n1,2\n")).frame.columns] == ["ds", "y"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "{} is empty"),
        ("\n \n", "{} is empty"),
        ("a,b\n", "{} has a header, but no rows"),
        ("a,a\n1,2\n", "{} has more than one column named 'a'"),
        ("1,2\n3,4\n", "{} must begin with a line that names the columns, but it begins with 1, …"),
        ("a,b\n1,2\n3,4\n5,6,7\n", "{}, line 4 has 3 cells, but the header has 2"),
        ("a,b\n1,2,3\n4,5,6\n", "{}, line 2 has 3 cells, but the header has 2"),
        ('a,b\n1,"2\n3,4\n', "{} is not a table: a quotation mark is not closed"),
        (b"PK\x03\x04\0\0", "{} must be UTF-8 text, but byte 4 is NUL"),
    ],
)
def test_what_is_no_table_is_told_in_a_line(content: bytes | str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", content)
    assert message(path) == said.format(path)


def test_files_that_are_not_what_their_name_says_are_told(tmp_path: Path) -> None:
    assert "t.gz cannot be unpacked: " in message(written(tmp_path / "t.gz", "a,b\n"))
    assert "t.parquet is not a Parquet file: " in message(written(tmp_path / "t.parquet", "a,b\n"))
    with pytest.raises(DataError, match="a table must be paths or a data frame, got int"):
        read_table(5)


def test_files_of_different_columns_are_told(tmp_path: Path) -> None:
    one, two = written(tmp_path / "1.csv", "a,b\n1,2\n"), written(tmp_path / "2.csv", "a,c\n1,2\n")
    with pytest.raises(DataError, match=r"must have the same columns, but only .*1\.csv has 'b'"):
        read_table([one, two])
