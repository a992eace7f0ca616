"""Music as tokens: what they say, that nothing is lost, and that any sequence of them is music."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import symusic

from holdfast.data.music import (
    EVENTS,
    SHIFTS,
    Note,
    Tune,
    beats_in,
    events_of,
    read_midi,
    room_of_events,
    transposed_events,
    tune_of_events,
    write_midi,
)
from holdfast.data.music.events import LEVEL, OFF, ON, SHIFT

from .helpers import drawn

C = 60 - 21  # its key


@pytest.mark.parametrize("seed", range(100))
def test_a_midi_file_on_the_grid_goes_through_tokens_unchanged(seed: int, tmp_path: Path) -> None:
    write_midi(drawn(seed), tmp_path / "a.mid")
    first = read_midi(str(tmp_path / "a.mid"))
    assert first.notes == drawn(seed).notes
    tokens = events_of(first)
    assert (tokens.dtype, tokens.ndim) == (np.uint16, 1)
    write_midi(tune_of_events(tokens, tempo=first.tempo, meter=first.meter), tmp_path / "b.mid")
    assert read_midi(str(tmp_path / "b.mid")).notes == first.notes
    ours, theirs = (
        sorted((n.start, n.duration, n.pitch, n.velocity) for track in symusic.Score(path).tracks for n in track.notes)
        for path in (str(tmp_path / "a.mid"), str(tmp_path / "b.mid"))
    )
    assert ours == theirs == sorted(map(tuple, first.notes))
    assert beats_in(tokens) == first.end / 480
    np.testing.assert_array_equal(events_of(tune_of_events(tokens)), tokens)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_model_draws_is_music(seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    tokens = draw.integers(0, EVENTS, draw.integers(0, 300))
    tune = tune_of_events(tokens, grid=8)
    write_midi(tune, tmp_path / "a.mid")
    if tune.notes:
        found = read_midi(str(tmp_path / "a.mid"))
        assert found.notes == tune.notes
        np.testing.assert_array_equal(events_of(found, 8), events_of(tune, 8))
        assert tune_of_events(events_of(tune, 8), 8).notes == tune.notes
    assert tune.end / 480 <= beats_in(tokens, 8)


def test_the_vocabulary_is_keys_steps_and_levels() -> None:
    assert (ON, OFF, SHIFT, LEVEL, EVENTS) == (0, 88, 176, 272, 304)


def test_what_ends_comes_before_what_begins_and_a_level_is_said_when_it_changes() -> None:
    notes = (Note(0, 40, 60, 82), Note(40, 40, 60, 82), Note(40, 40, 62, 50), Note(40, 40, 64, 50))
    soft, loud = LEVEL + 50 // 4, LEVEL + 82 // 4
    begin = [loud, ON + C, SHIFT, OFF + C, ON + C, soft, ON + C + 2, ON + C + 4]
    assert events_of(Tune(notes)).tolist() == [*begin, SHIFT, OFF + C, OFF + C + 2, OFF + C + 4]


def test_a_long_rest_is_several_shifts() -> None:
    tokens = events_of(Tune((Note(40 * (2 * SHIFTS + 5), 40 * SHIFTS, 60, 2),)))
    assert tokens.tolist() == [LEVEL - 1, LEVEL - 1, SHIFT + 4, LEVEL, ON + C, LEVEL - 1, OFF + C]
    assert beats_in(tokens) == (3 * SHIFTS + 5) / 12


def test_times_are_rounded_velocities_are_levelled_and_pitches_without_a_key_left_out() -> None:
    notes = (Note(0, 480, 20, 80), Note(21, 5, 60, 127), Note(90, 100, 62, 1), Note(99, 9, 120, 9))
    again = tune_of_events(events_of(Tune(notes)))
    assert again.notes == (Note(40, 40, 60, 126), Note(80, 120, 62, 2))


def test_notes_of_one_key_that_overlap_are_struck_one_after_the_other() -> None:
    unison = Tune((Note(0, 400, 60, 50), Note(0, 200, 60, 82), Note(80, 40, 60, 50), Note(480, 80, 60, 50)))
    found = tune_of_events(events_of(unison)).notes
    assert found == (Note(0, 80, 60, 82), Note(80, 320, 60, 50), Note(480, 80, 60, 50))


def test_odd_tokens_make_sense() -> None:
    def notes(*tokens: int) -> list[tuple[int, ...]]:
        return [tuple(note) for note in tune_of_events(tokens, grid=480).notes]

    assert notes(OFF + C, SHIFT, OFF + C) == []
    assert notes(ON + C, ON + C, OFF + C) == []
    assert notes(ON + C, SHIFT, ON + C, SHIFT + 2) == [(0, 1, 60, 82), (1, 3, 60, 82)]
    assert notes(LEVEL, ON + C, LEVEL + 31, SHIFT, ON, SHIFT) == [(0, 2, 60, 2), (1, 1, 21, 126)]
    assert notes(SHIFT + 5, LEVEL + 3) == notes() == []
    for strange in (-1, EVENTS):
        with pytest.raises(ValueError, match=f"tokens must be 0 to 303, got {strange}"):
            notes(ON, strange)


@pytest.mark.parametrize("seed", range(10))
def test_tokens_are_moved_within_the_keys(seed: int) -> None:
    tune = drawn(seed, lowest=40, highest=90)
    tokens = events_of(tune)
    down, up = room_of_events(tokens)
    assert down == min(note.pitch for note in tune.notes) - 21
    assert up == 108 - max(note.pitch for note in tune.notes)
    for by in (-down, -1, 0, 3, up):
        found = transposed_events(tokens, by)
        assert found.dtype == tokens.dtype
        assert tune_of_events(found).notes == tuple(n._replace(pitch=n.pitch + by) for n in tune.notes)
    for by in (-down - 1, up + 1):
        with pytest.raises(ValueError, match=f"by must be {-down} to {up} semitones, .*, got {by}"):
            transposed_events(tokens, by)
    assert room_of_events([SHIFT, LEVEL]) == (0, 0)
