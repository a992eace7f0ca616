"""Recordings as examples: listed in tables, in folders of classes, or named one by one."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.data import DataError, Example, Reading, recordings
from holdfast.data.audio import Mel, sound

from ..audio.helpers import tone
from ..audio.helpers import written as recorded
from .helpers import faults, message, read, written

MEL = Mel(8000, 20)


def _recording(path: Path, hertz: float = 440, rate: int = 8000) -> str:
    return recorded(path, tone(hertz, 0.1 + hertz / 10_000, rate), rate)


def _same(one: Example, path: str) -> None:
    """The content is the frames of the whole sound."""
    assert one.fault == ""
    assert isinstance(one.content, np.ndarray)
    assert one.content.dtype == np.float32
    expected = MEL(torch.from_numpy(sound(path, MEL.rate)))
    torch.testing.assert_close(torch.from_numpy(one.content), expected, rtol=1e-5, atol=1e-4)


def test_a_table_lists_recordings_beside_it(tmp_path: Path) -> None:
    paths = [_recording(tmp_path / f"wavs/{k}.wav", 300 + 100 * k, 16000) for k in range(3)]
    table = written(tmp_path / "list.csv", "clip,label\nwavs/0.wav,low\n" + f"{paths[1]},high\nwavs/2.wav,\n")
    found = read(table, audio="clip", mel=MEL)
    assert [(one.where, one.label) for one in found[:2]] == [(f"{table}, line 2", "low"), (f"{table}, line 3", "high")]
    for one, path in zip(found[:2], paths):
        _same(one, path)
    assert found[2].fault == "the label is missing"
    (third,) = read(table, audio="clip", mel=MEL, labelled=False)[2:]
    _same(third, paths[2])


def test_where_recordings_are_read_a_table_lists_them_in_a_column_of_a_usual_name(tmp_path: Path) -> None:
    path = _recording(tmp_path / "0.wav")
    table = written(tmp_path / "list.jsonl", json.dumps({"file": "0.wav", "text": "a", "label": "b"}))
    (one,) = read(table, mel=MEL)
    _same(one, path)
    (one,) = read(table, mel=MEL, text="text")
    assert one.content == "a"
    (one,) = read(table)
    assert one.content == "a"


def test_a_folder_has_recordings_in_folders_of_classes(tmp_path: Path) -> None:
    high, low = _recording(tmp_path / "a/high/1.wav", 900), _recording(tmp_path / "a/low/deep/2.WAV", 300)
    recorded(tmp_path / "a/stray.wav", np.zeros(9), 8000)
    found = read(tmp_path / "a", mel=MEL)
    assert [(one.where, one.label) for one in found] == [(high, "high"), (low, "low")]
    _same(found[0], high)
    _same(found[1], low)
    written(tmp_path / "a/low/0.txt", "a text")
    assert message(tmp_path / "a", mel=MEL).endswith(": all must be texts, or all series")


def test_a_folder_may_hold_recordings_itself_where_there_need_not_be_labels(tmp_path: Path) -> None:
    paths = [_recording(tmp_path / f"{k}.wav") for k in range(2)]
    written(tmp_path / "list.csv", "path\n0.wav\n1.wav\n")
    with pytest.raises(DataError, match="must hold a folder for each class"):
        read(tmp_path, mel=MEL)
    found = read(tmp_path, mel=MEL, labelled=False)
    assert [(one.where, one.label, one.fault) for one in found] == [(path, None, "") for path in paths]
    assert recordings({"given": [str(tmp_path)]}, Reading(mel=MEL, labelled=False), skip=False) == {"given": paths}
    paths.append(_recording(tmp_path / "a/2.wav"))
    assert [(one.where, one.label) for one in read(tmp_path, mel=MEL, labelled=False)] == [
        (path, label) for path, label in zip(paths, [None, None, "a"])
    ]


def test_a_recording_may_be_named_itself(tmp_path: Path) -> None:
    path = _recording(tmp_path / "1.wav")
    (tmp_path / "2.wav.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
    for name in (path, tmp_path / "2.wav.gz"):
        (one,) = read(name, mel=MEL, labelled=False)
        assert one.label is None
        _same(one, path)
    assert faults(read(path, mel=MEL)) == ["the label is missing"]


def test_without_a_manner_of_frames_a_recording_cannot_be_used(tmp_path: Path) -> None:
    path = _recording(tmp_path / "a/x/1.wav")
    assert faults(read(path, labelled=False)) == ["a recording, but the model learned from none"]
    assert faults(read(tmp_path / "a")) == ["a recording, but the model learned from none"]


def test_recordings_that_cannot_be_heard_are_faults(tmp_path: Path) -> None:
    written(tmp_path / "a/x/1.wav", "no sound")
    recorded(tmp_path / "a/x/2.wav", np.zeros(0), 8000)
    one, two = read(tmp_path / "a", mel=MEL)
    assert one[1:3] == (None, "x")
    assert one.fault.startswith("it is not a sound in WAV, FLAC or Ogg: ")
    assert two.fault == "the sound has no samples"
    (tmp_path / "packed.wav.gz").write_bytes(b"not packed at all")
    (packed,) = read(tmp_path / "packed.wav.gz", mel=MEL)
    assert packed.fault.startswith("cannot be unpacked: ")
    table = written(tmp_path / "a/list.csv", "path,label\nx/1.wav,a\nx/2.wav,b\nx/3.wav,c\n,d\n")
    found = faults(read(table, audio="path", mel=MEL))
    assert found[0].startswith(f"the recording '{tmp_path}/a/x/1.wav': it is not a sound in WAV, FLAC or Ogg: ")
    assert found[1:] == [
        f"the recording '{tmp_path}/a/x/2.wav': the sound has no samples",
        f"there is no recording '{tmp_path}/a/x/3.wav'",
        "the path of the recording is missing",
    ]


def test_all_recordings_are_found_before_they_are_read(tmp_path: Path) -> None:
    lone, classed = _recording(tmp_path / "1.wav"), _recording(tmp_path / "a/x/2.flac.wav")
    recorded(tmp_path / "a/stray.wav", np.zeros(9), 8000)
    clip = written(tmp_path / "clip.bin", "whatever")
    tables = [written(tmp_path / f"{k}.csv", f"path,label\n1.wav,a\n{name},b\n") for k, name in enumerate("xy")]
    given = [lone, str(tmp_path / "a"), *tables]
    assert recordings({"train": given, "test": [lone]}, Reading(), skip=False) == {
        "train": [lone, classed],
        "test": [lone],
    }
    with pytest.raises(DataError, match=r"2 recordings are not there: .*/x \(.*/0\.csv, line 3\); .*/y \(.*/1\.csv, l"):
        recordings({"train": given[:3], "test": given[3:]}, Reading(audio="path"), skip=False)
    assert recordings({"a": given}, Reading(audio="path"), skip=True) == {"a": [lone, classed]}
    table = written(tmp_path / "2.csv", "path,label\nclip.bin,a\n")
    assert recordings({"a": [table]}, Reading(mel=MEL), skip=False) == {"a": [clip]}


@pytest.mark.parametrize("given", [{}, {"audio": "path", "mel": MEL}, {"series": "id", "channels": ("x", "y")}])
def test_a_reading_is_kept_as_json_keeps_it(given: dict[str, Any]) -> None:
    reading = Reading(**given)
    assert Reading.from_dict(json.loads(json.dumps(asdict(reading)))) == reading


def test_a_column_of_recordings_excludes_others() -> None:
    with pytest.raises(DataError, match="got 'a' and 'b'"):
        Reading(text="a", audio="b")
    with pytest.raises(DataError, match="the column 'a' must have one role, got 2"):
        Reading(label="a", audio="a")
