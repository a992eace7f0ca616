"""The example that joins recordings of digits to strings."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from examples.digit_latency import BLOCK, delays, said
from examples.digit_strings import parts, recordings, write

from holdfast.data.audio import SpeechManner, build_speech
from holdfast.tasks.transcription import Transcript


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
    rows = {}
    for name, (path,) in sources.items():
        with open(path, newline="") as file:
            rows[name] = list(csv.DictReader(file))
    for name, part in speech.parts.items():
        for k in range(len(part)):
            samples = np.rint(part.of(k) * 32768).astype(int)
            loud = np.where(samples > 5000, samples - 10_000, -1)
            begins = np.flatnonzero((loud >= 0) & (np.concatenate([[-1], loud[:-1]]) < 0))
            heard = "".join(str(loud[place]) for place in begins)
            assert heard == part.text(k)
            ends = [float(end) for end in rows[name][k]["ends"].split()]
            after = np.flatnonzero((loud < 0) & (np.concatenate([[-1], loud[:-1]]) >= 0)) / 8000
            assert np.abs(after - ends).max() < 1e-3
            assert 3 <= len(heard) <= 7


class _Late:
    """A transcriber that writes each digit two tenths of a second after its end, which it knows beforehand."""

    def __init__(self, digits: str, ends: list[float]) -> None:
        self.mel, self.digits, self.ends, self.heard = SimpleNamespace(rate=8000), digits, ends, 0.0

    def live(self) -> _Late:
        self.heard = 0.0
        return self

    def push(self, samples: np.ndarray) -> list[Transcript]:
        self.heard += len(samples) / 8000
        return []

    def so_far(self) -> Transcript:
        return Transcript(self.digits[: sum(end + 0.2 <= self.heard for end in self.ends)], [], 0.0, self.heard)

    def finish(self) -> list[Transcript]:
        return [Transcript(self.digits, [], 0.0, self.heard)]


def test_the_delay_of_a_stream_is_counted_from_the_end_of_a_digit(tmp_path: Path) -> None:
    ends = [0.31, 0.84, 1.47]
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 8000)
    manifest = tmp_path / "a.csv"
    manifest.write_text(f"path,text,ends\na.wav,123,{' '.join(map(str, ends))}\na.wav,124,{' '.join(map(str, ends))}\n")
    found, right, count = delays(_Late("123", ends), manifest)  # type: ignore[arg-type]
    assert (right, count) == (1, 2)
    assert all(0.2 <= delay < 0.2 + BLOCK + 1e-9 for delay in found)
    assert len(found) == 3
    assert said([0.1, 0.2, 0.3], 1, 2).startswith("3 digits of 1 of 2 recordings: written 200 milliseconds")


def test_single_digits_are_listed_with_their_labels(folder: Path, tmp_path: Path) -> None:
    write(folder, tmp_path, counts={"train": 1, "valid": 1, "test": 1})
    with (tmp_path / "keywords-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    assert all(Path(row["path"]).name.startswith(row["digit"]) for row in rows)
