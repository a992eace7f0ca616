"""Files of all kinds one after the other, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from holdfast.data import DataError, Reading, examples

from .helpers import faults, message, pairs, read, written

ONE, TWO = "text,label\ngood,pos\n", "stars\ttext\n5\tfine\n"


def test_files_globs_and_folders_follow_each_other_each_once(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        written(tmp_path / name, ONE.replace("good", name))
    written(tmp_path / "classes/neg/1.txt", "bad")
    found = read(tmp_path / "b.csv", f"{tmp_path}/*.csv", tmp_path / "classes", tmp_path / "classes")
    assert pairs(found) == [("b.csv", "pos"), ("a.csv", "pos"), ("bad", "neg")]


def test_urls_are_read() -> None:
    system = MemoryFileSystem()
    system.pipe("/holdfast/a.tsv", TWO.encode())
    system.pipe("/holdfast/classes/neg/1.txt", b"bad")
    try:
        assert pairs(read("memory://holdfast/a.tsv", label="stars")) == [("fine", "5")]
        (one,) = read("memory://holdfast/classes")
        assert (one.where, one.content, one.label) == ("memory:///holdfast/classes/neg/1.txt", "bad", "neg")
    finally:
        system.rm("/holdfast", recursive=True)


def test_texts_without_labels_are_read_where_labels_need_not_be_there(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\ngood,\nbad,neg\n")
    bare = written(tmp_path / "b.csv", "id,text\n1,fine\n")
    assert pairs(read(path, bare, labelled=False)) == [("good", None), ("bad", "neg"), ("fine", None)]
    assert pairs(read(bare, label="stars", labelled=False)) == [("fine", None)]
    assert faults(read(path)) == ["the label is missing", ""]


def test_series_of_other_channels_than_the_first_good_one_are_faults(tmp_path: Path) -> None:
    ts = written(tmp_path / "a.ts", "@classLabel true a\n@data\ninf:a\n1:2:a\n1:a\n")
    np.savez(tmp_path / "b.npz", x=np.zeros((1, 4, 3)), y=["a"])
    lines = written(tmp_path / "c.jsonl", '{"text": [[1, 2]], "label": "a"}\n')
    assert faults(read(ts, tmp_path / "b.npz", lines)) == [
        "an infinite value",
        "",
        "1 channels, but the first sequence has 2",
        "3 channels, but the first sequence has 2",
        "",
    ]


def test_texts_and_series_do_not_go_together(tmp_path: Path) -> None:
    text = written(tmp_path / "a.csv", ONE)
    series = written(tmp_path / "b.ts", "@classLabel true a\n@data\n1:2:a\n")
    said = "all must be texts, or all series"
    assert message(text, series) == f"{series}, line 3 is a series, but {text}, line 2 is a text: {said}"
    assert message(series, text) == f"{text}, line 2 is a text, but {series}, line 3 is a series: {said}"
    mixed = written(tmp_path / "c.jsonl", '{"text": "good", "y": 1}\n{"text": [1, 2], "y": 1}\n')
    assert message(mixed) == f"{mixed}, line 2 is a series, but {mixed}, line 1 is a text: {said}"


def test_files_of_no_known_kind_are_told_before_any_is_read(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", ONE)
    path = written(tmp_path / "b.doc", "good")
    with pytest.raises(DataError) as error:
        next(examples([f"{tmp_path}/*"], Reading()))
    assert str(error.value) == (
        f"{path} is of no kind that examples are read from: .csv, .tsv, .tab, .jsonl, .ndjson, .json, .parquet, .pq, "
        f".ts, .npz, .wav, .flac, .ogg, each with .gz or without, or a folder with a folder for each class"
    )


def test_paths_that_stand_for_nothing_are_told(tmp_path: Path) -> None:
    written(tmp_path / "reviews.csv", ONE)
    missing = f"{tmp_path}/review.csv"
    assert message(missing) == f"there is no {missing}; did you mean {tmp_path}/reviews.csv?"
    assert message() == "there are no files to read"
    with pytest.raises(DataError, match=r"paths must be a list of paths, got one path, 'a\.csv'"):
        examples("a.csv", Reading())


def test_a_packed_file_that_is_cut_short_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv.gz", ONE * 1000)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:-10])
    assert message(path).startswith(f"{path} cannot be unpacked: ")
    Path(path).write_bytes(b"text,label\n")
    assert message(path).startswith(f"{path} cannot be unpacked: ")
