"""Piano rolls: what becomes of notes, and that nothing is lost on the way there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.data.music import (
    KEYS,
    LOWEST,
    Note,
    Tune,
    read_midi,
    roll_of,
    room_of_roll,
    transposed_roll,
    tune_of_roll,
    write_midi,
)


@pytest.mark.parametrize("seed", range(100))
def test_a_roll_goes_through_a_midi_file_unchanged(seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    roll = np.repeat(draw.random((draw.integers(1, 60), KEYS)) < 0.05, draw.integers(1, 5), axis=0).astype(np.uint8)
    roll[-1, draw.integers(KEYS)] = 1
    grid = int(draw.choice([1, 2, 3, 4, 7, 12, 500]))
    tune = tune_of_roll(roll, grid, 90, (3, 4))
    write_midi(tune, tmp_path / "a.mid")
    found = read_midi(str(tmp_path / "a.mid"))
    assert (found.notes, found.meter, found.tempo) == (tune.notes, (3, 4), pytest.approx(90))
    again, outside = roll_of(found, grid)
    np.testing.assert_array_equal(again, roll)
    assert (again.dtype, outside) == (np.uint8, 0)


def test_times_are_rounded_and_each_note_takes_a_frame() -> None:
    notes = (Note(50, 20, 60, 80), Note(60, 60, 61, 80), Note(179, 170, 62, 80), Note(181, 170, 63, 80))
    roll, _ = roll_of(Tune(notes), 4)
    shown = {pitch: np.flatnonzero(roll[:, pitch - LOWEST]).tolist() for pitch in range(60, 64)}
    assert shown == {60: [0], 61: [1], 62: [1, 2], 63: [2]}
    assert len(roll) == 3


def test_silence_before_the_first_note_stays_and_after_the_last_is_dropped() -> None:
    roll = np.zeros((9, KEYS), np.uint8)
    roll[3:5, 40] = 1
    again, _ = roll_of(tune_of_roll(roll, 4), 4)
    np.testing.assert_array_equal(again, roll[:5])


def test_pitches_without_a_key_are_counted() -> None:
    notes = tuple(Note(0, 480, pitch, 80) for pitch in (20, 21, 108, 109, 127))
    roll, outside = roll_of(Tune(notes), 2)
    assert (np.argwhere(roll[0]).ravel().tolist(), roll.shape, outside) == ([0, 87], (2, 88), 3)
    assert [array.shape for array in (roll_of(Tune(notes[-1:]), 2)[0], roll_of(Tune(()), 2)[0])] == [(0, 88)] * 2


def test_a_roll_may_be_of_any_numbers() -> None:
    roll = np.zeros((2, KEYS))
    roll[:, 3] = 0.5
    for one in (roll, roll > 0, roll.astype(np.float32)):
        assert tune_of_roll(one, 2).notes == (Note(0, 480, 24, 80),)
    assert tune_of_roll(roll[:0], 2).notes == ()
    with pytest.raises(ValueError, match="grid must be parts of a beat, 1 at least, got 0"):
        tune_of_roll(roll, 0)


def test_a_roll_is_moved_within_the_keys() -> None:
    roll = np.zeros((5, KEYS), np.uint8)
    assert room_of_roll(roll) == (0, 0)
    roll[1, 10] = roll[2:, 60] = 1
    assert room_of_roll(roll) == (10, 27)
    for by in (-10, -1, 0, 5, 27):
        found = transposed_roll(roll, by)
        moved = tuple(note._replace(pitch=note.pitch + by) for note in tune_of_roll(roll, 4).notes)
        assert tune_of_roll(found, 4).notes == moved
        np.testing.assert_array_equal(transposed_roll(found, -by), roll)
    for by in (-11, 28):
        with pytest.raises(ValueError, match=rf"by must be -10 to 27 semitones, .*, got {by}"):
            transposed_roll(roll, by)
