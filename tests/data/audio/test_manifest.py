"""Tables that list recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.data import DataError
from holdfast.data.audio.manifest import entries, present

from .helpers import written


def _listed(path: Path, audio: str = "", said: str = "") -> list[Any]:
    return [*entries(str(path), audio, [name for name in (audio, said) if name], lambda names: said)]


@pytest.mark.parametrize("name", ["path", "file", "audio", "wav", "FileName"])
def test_the_column_of_paths_is_known_by_its_usual_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(f"id\t{name}\n1\tx/1.wav\n")
    assert _listed(tmp_path / "a.tsv") == [(f"{tmp_path}/a.tsv, line 2", f"{tmp_path}/x/1.wav", None, "")]


def test_columns_may_be_named_in_tables_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"clip": "1.wav", "n": 5}) + "\n" + json.dumps({"clip": 7}) + "\n")
    first, second = _listed(tmp_path / "a.jsonl", "clip", "n")
    assert first == (f"{tmp_path}/a.jsonl, line 1", f"{tmp_path}/1.wav", 5, "")
    assert second.fault == "the path of the recording is 7"
    (tmp_path / "b.csv").write_text("1.wav,one\n,two\n")
    first, second = _listed(tmp_path / "b.csv", "1", "2")
    assert (first.path, first.said) == (f"{tmp_path}/1.wav", "one")
    assert second.fault == "the path of the recording is missing"


def test_a_column_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,file\n1,2\n")
    with pytest.raises(DataError, match=r"the path of the recording may be any of 'path', 'file'; name it with --aud"):
        _listed(tmp_path / "a.csv")


def test_all_recordings_that_are_not_there_are_named_at_once(tmp_path: Path) -> None:
    written(tmp_path / "3.wav", np.zeros(9), 8000)
    (tmp_path / "a.csv").write_text("path\n" + "".join(f"{k}.wav\n" for k in range(14)))
    with pytest.raises(DataError) as error:
        present({"train": _listed(tmp_path / "a.csv")}, skip=False)
    first = "; ".join(f"{tmp_path}/{k}.wav ({tmp_path}/a.csv, line {k + 2})" for k in (0, 1, 2, *range(4, 11)))
    assert str(error.value) == (f"13 recordings are not there: {first}; and 3 more; --skip-bad does without them")
    found = present({"train": _listed(tmp_path / "a.csv")}, skip=True)["train"]
    assert [one.fault for one in found[2:4]] == [f"there is no recording '{tmp_path}/2.wav'", ""]
    (tmp_path / "a.csv").write_text("path\n3.wav\nx.wav\n")
    with pytest.raises(DataError, match=r"^1 recording is not there: .*/x\.wav \(.*/a\.csv, line 3\); --skip"):
        present({"train": _listed(tmp_path / "a.csv")}, skip=False)
