"""The example that joins recordings of digits to strings."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from examples.digit_strings import parts, recordings, write

from holdfast.data.audio import SpeechManner, build_speech


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits whose samples say what they are: each is a constant, ten thousand and the digit, in 16 bits."""
    found = tmp_path_factory.mktemp("digits")
    for digit in range(10):
        for speaker in ("ann", "bob"):
            for number in range(12):
                level = np.full(100 + 10 * number, 10_000 + digit, np.int16)
                soundfile.write(found / f"{digit}_{speaker}_{number}.wav", level, 8000)
    return found


def test_no_recording_is_in_two_parts(folder: Path) -> None:
    for without in ("", "bob"):
        found = parts(recordings(folder), without)
        paths = [one.path for part in found.values() for one in part]
        assert len(paths) == len(set(paths)) == 240
        if without:
            assert {one.speaker for one in found["test"]} == {"bob"}
            assert {one.speaker for name in ("train", "valid") for one in found[name]} == {"ann"}
        else:
            assert {one.number for one in found["test"]} == {0, 1, 2, 3, 4}
            assert {one.number for one in found["valid"]} == {5, 6, 7, 8, 9}


def test_strings_hold_the_digits_that_they_say(folder: Path, tmp_path: Path) -> None:
    write(folder, tmp_path / "out", counts={"train": 20, "valid": 5, "test": 5})
    sources = {name: [str(tmp_path / "out" / f"strings-{name}.csv")] for name in ("train", "valid", "test")}
    speech = build_speech(sources, SpeechManner(), tmp_path / "cache")
    assert speech.rate == 8000
    for part in speech.parts.values():
        for k in range(len(part)):
            samples = np.rint(part.of(k) * 32768).astype(int)
            loud = np.where(samples > 5000, samples - 10_000, -1)
            begins = np.flatnonzero((loud >= 0) & (np.concatenate([[-1], loud[:-1]]) < 0))
            heard = "".join(str(loud[place]) for place in begins)
            assert heard == part.text(k)
            assert 3 <= len(heard) <= 7


def test_single_digits_are_listed_with_their_labels(folder: Path, tmp_path: Path) -> None:
    write(folder, tmp_path, counts={"train": 1, "valid": 1, "test": 1})
    with (tmp_path / "keywords-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    assert all(Path(row["path"]).name.startswith(row["digit"]) for row in rows)
