"""The tones of telephone keypads."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from holdfast.data.audio import rate_of, sound
from holdfast.data.audio.keypad import dialled, keypad, write

from .helpers import Array

# As in the recommendation, written down a second time
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477)
PLACES = {"1": (0, 0), "2": (0, 1), "3": (0, 2), "4": (1, 0), "5": (1, 1), "6": (1, 2), "7": (2, 0), "8": (2, 1)}
PLACES |= {"9": (2, 2), "0": (3, 1)}


def _sounding(samples: Array) -> list[tuple[int, int]]:
    """Where a clean sound begins and ends: there is a pause where nothing is for 20 milliseconds."""
    loud = np.flatnonzero(np.abs(samples) > 1e-6)
    gaps = [(int(a) + 1, int(b)) for a, b in pairwise(loud) if b - a > 160]
    return [*zip([int(loud[0]), *(b for _, b in gaps)], [*(a for a, _ in gaps), int(loud[-1]) + 1])]


def _peak(samples: Array, low: float, high: float) -> float:
    """The strongest frequency between two, by a long transform."""
    size = 1 << 16
    powers = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size))
    at = np.arange(len(powers)) * 8000 / size
    within = (low < at) & (at < high)
    return float(at[within][powers[within].argmax()])


@pytest.mark.parametrize("seed", range(3))
def test_clean_tones_have_the_frequencies_of_their_keys(seed: int) -> None:
    digits = "0123456789"
    samples = dialled(digits, np.random.default_rng(seed))
    places = _sounding(samples)
    assert len(places) == 10
    for digit, (begin, end) in zip(digits, places):
        part = samples[begin:end]
        row, column = PLACES[digit]
        assert _peak(part, 600, 1060) / ROWS[row] == pytest.approx(1, abs=0.02)
        assert _peak(part, 1060, 1700) / COLUMNS[column] == pytest.approx(1, abs=0.02)
        assert 0.049 < (end - begin) / 8000 < 0.201
    for (_, end), (begin, _) in pairwise(places):
        assert 0.029 < (begin - end) / 8000 < 0.251


def test_recordings_are_drawn_by_their_seed_and_number() -> None:
    first, second = [*keypad(5, seed=1)], [*keypad(3, seed=1)]
    for (a, said), (b, same) in zip(first, second):
        assert said == same
        assert a.tobytes() == b.tobytes()
    assert [said for _, said in keypad(5, seed=2)] != [said for _, said in first]


def test_recordings_are_sounds_of_three_to_eight_digits() -> None:
    found = [*keypad(60, seed=0)]
    assert {len(said) for _, said in found} == {3, 4, 5, 6, 7, 8}
    assert set("".join(said for _, said in found)) == set("0123456789")
    for samples, said in found:
        assert samples.dtype == np.float32
        assert 0.04 < np.abs(samples).max() <= 1
        assert 0.08 * len(said) < len(samples) / 8000 < 0.46 * len(said) + 1


def test_most_of_a_digit_can_be_heard_by_a_simple_ear() -> None:
    # A digit alone: the strongest of the low and of the high tones, over the whole recording
    right = 0
    for samples, said in keypad(100, seed=5, shortest=1, longest=1):
        powers = np.abs(np.fft.rfft(samples, 1 << 15)) ** 2
        at = np.arange(len(powers)) * 8000 / (1 << 15)
        place = tuple(
            int(np.argmax([powers[abs(at / hertz - 1) < 0.016].sum() for hertz in tones])) for tones in (ROWS, COLUMNS)
        )
        right += place == PLACES[said]
    assert right > 85


def test_files_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", 3, seed=7), write(tmp_path / "b", 3, seed=7)
    assert first == tmp_path / "a" / "manifest.csv"
    rows = [*csv.DictReader(first.read_text().splitlines())]
    assert [row["text"] for row in rows] == [said for _, said in keypad(3, seed=7)]
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (second.parent / path.name).read_bytes()
    for row, (samples, _) in zip(rows, keypad(3, seed=7)):
        path = str(tmp_path / "a" / row["path"])
        assert rate_of(path) == 8000
        np.testing.assert_allclose(sound(path, 8000), samples, atol=1e-4)
