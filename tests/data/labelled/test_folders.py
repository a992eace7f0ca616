"""Folders of classes, with texts or series in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .helpers import faults, message, pairs, read, written


def test_each_text_of_a_class_is_an_example(tmp_path: Path) -> None:
    for name in ("pos/2.txt", "pos/10.txt", "neg/deep/er/1.TXT.gz", ".git/0.txt", "pos/.hidden.txt", "urls.txt"):
        written(tmp_path / name, f"this is\n{name}\n")
    written(tmp_path / "pos/notes.md", "no example")
    found = read(tmp_path)
    assert pairs(found) == [
        ("this is\nneg/deep/er/1.TXT.gz\n", "neg"),
        ("this is\npos/10.txt\n", "pos"),
        ("this is\npos/2.txt\n", "pos"),
    ]
    assert found[0].where == f"{tmp_path}/neg/deep/er/1.TXT.gz"


def test_a_folder_may_hold_texts_itself_where_there_need_not_be_labels(tmp_path: Path) -> None:
    assert message(tmp_path, labelled=False).startswith(f"the folder {tmp_path} must hold .txt files (texts), ")
    written(tmp_path / "1.txt", "good")
    assert pairs(read(tmp_path, labelled=False)) == [("good", None)]
    written(tmp_path / "pos/2.txt", "fine")
    assert pairs(read(tmp_path, labelled=False)) == [("fine", "pos")]


def test_names_of_folders_may_be_numbers(tmp_path: Path) -> None:
    written(tmp_path / "2.5/a.txt", "good")
    written(tmp_path / "worse/a.txt", "bad")
    assert [one.label for one in read(tmp_path)] == ["2.5", "worse"]
    found = read(tmp_path, numeric=True)
    assert found[0].label == 2.5
    assert found[1].fault == "the label 'worse' is not a number"


def test_a_file_that_is_no_text_is_one_example_that_cannot_be_used(tmp_path: Path) -> None:
    written(tmp_path / "pos/1.txt", " \n")
    written(tmp_path / "pos/2.txt", "")
    written(tmp_path / "pos/3.txt", b"na\xefve")
    (tmp_path / "pos/4.txt.gz").write_bytes(b"not packed")
    written(tmp_path / "pos/5.txt", "good")
    found = faults(read(tmp_path))
    assert found[:3] == [
        "the text is empty",
        "the text is empty",
        "must be UTF-8 text, but line 1 is not: it looks like latin-1, which --encoding latin-1 reads",
    ]
    assert found[3].startswith("cannot be unpacked: ")
    assert found[4] == ""


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("x,z\n1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        (",x,z\n0,1,2\n1,3,4\n", [[1, 2], [3, 4]]),
        ("1;2\n3;NA\n", [[1, 2], [3, np.nan]]),
        ("nan,\n3,4\n", [[np.nan, np.nan], [3, 4]]),
        ("5\n\n6\n", [[5], [6]]),
    ],
)
def test_a_series_is_steps_down_and_channels_across_below_a_header_or_none(
    content: str, values: list[list[float]], tmp_path: Path
) -> None:
    written(tmp_path / "walk/1.csv", content)
    (one,) = read(tmp_path)
    assert (one.fault, one.label) == ("", "walk")
    np.testing.assert_array_equal(one.content, np.array(values, np.float32))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1,2\n3,abc\n", "'abc' in column 2 is not a number (line 2)"),
        ("abc,2\n3,4\n", "'abc' in column 1 is not a number (line 1)"),
        ("x,z\n1,2\n3,abc\n", "'abc' in column z is not a number (line 3)"),
        ("1,2\n3,4,5\n", "3 cells, but the first line has 2 (line 2)"),
        ("x,z\n1,2\n3\n", "1 cells, but the first line has 2 (line 3)"),
        ('1,2\n"3,4\n', "a quotation mark is not closed (line 2)"),
        ('"1,2\n', "a quotation mark is not closed (line 1)"),
        ("x,z\n", "the series has no steps"),
        ("1,inf\n", "an infinite value"),
        ("", "is empty"),
    ],
)
def test_a_series_that_cannot_be_used_is_told(content: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "walk/1.csv", content)
    assert read(tmp_path) == [(path, None, "walk", said)]


@pytest.mark.parametrize("names", [["a.txt", "b.txt"], ["pos/a.mp3"], [".git/a.txt"]])
def test_a_folder_without_folders_of_classes_is_told(names: list[str], tmp_path: Path) -> None:
    for name in names:
        written(tmp_path / name, "good")
    assert message(tmp_path) == (
        f"the folder {tmp_path} must hold a folder for each class, named by its label, with .txt files (texts), "
        f".csv files (series) or .wav, .flac, .ogg files (recordings) in it"
    )
