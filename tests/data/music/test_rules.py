"""Pieces that are made by rules: whether they keep them."""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from holdfast.data.music import Tune
from holdfast.data.music.rules import NAME, RANGES, tunes

COUNT, EIGHTH = 100, 240


@cache
def _pieces() -> tuple[Tune, ...]:
    return tuple(tunes(COUNT, seed=3))


def _voices(tune: Tune) -> np.ndarray[Any, Any]:
    """What sounds in each eighth, from below, (T, voices)."""
    sounding: list[list[int]] = [[] for _ in range(tune.end // EIGHTH)]
    for note in tune.notes:
        assert note.start % EIGHTH == note.length % EIGHTH == 0
        for when in range(note.start // EIGHTH, note.end // EIGHTH):
            sounding[when].append(note.pitch)
    return np.array([sorted(pitches) for pitches in sounding])


def test_the_same_seed_makes_the_same_pieces_however_many() -> None:
    assert tuple(tunes(3, seed=3)) == _pieces()[:3]
    assert next(tunes(1, seed=4)).notes != _pieces()[0].notes
    assert len({tune.notes for tune in _pieces()}) == COUNT
    assert _pieces()[7].name == "tunes-3-0007"
    assert NAME == "builtin:tunes"


def test_four_voices_sound_all_the_time_in_their_ranges() -> None:
    for tune in _pieces():
        voices = _voices(tune)
        assert voices.shape[1] == 4
        assert (np.diff(voices) > 0).all()
        for k, (low, high) in enumerate(RANGES):
            assert low <= voices[:, k].min()
            assert voices[:, k].max() <= high


def test_pieces_have_8_to_16_whole_bars_mostly_of_4_beats() -> None:
    bars = [tune.end / 480 / tune.meter[0] for tune in _pieces()]
    assert {*bars} == {8, 12, 16}
    meters = [tune.meter for tune in _pieces()]
    assert 60 <= meters.count((4, 4)) <= 90
    assert meters.count((4, 4)) + meters.count((3, 4)) == COUNT


def test_they_end_on_a_chord_of_the_keynote_in_many_keys() -> None:
    keys = set()
    for tune in _pieces():
        last = _voices(tune)[-1]
        above = {int(pitch - last[0]) % 12 for pitch in last}
        assert above in ({0, 4, 7}, {0, 3, 7})
        keys.add((int(last[0]) % 12, 4 in above))
    assert len(keys) > 18


def test_every_beat_brings_notes_of_one_scale_with_the_leading_note() -> None:
    for tune in _pieces():
        tonic = int(_voices(tune)[-1][0])
        above = {(note.pitch - tonic) % 12 for note in tune.notes if note.start % 480 == 0}
        picardy = above - {4}
        assert any(
            one <= {*scale}
            for one in (above, picardy)
            for scale in ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10, 11))
        )


def test_the_soprano_moves_by_steps_and_parallels_are_rare() -> None:
    steps: list[int] = []
    moves = parallels = 0
    for tune in _pieces():
        voices = _voices(tune)
        steps += [abs(int(step)) for step in np.diff(voices[:, 3]) if step]
        for before, after in pairwise(voices):
            moves += bool((before != after).any())
            for low, high in combinations(range(4), 2):
                wide = (before[high] - before[low]) % 12
                same = wide in (0, 7) and (after[high] - after[low]) % 12 == wide
                parallels += bool(same and (after[low] - before[low]) * (after[high] - before[high]) > 0)
    assert np.mean(np.array(steps) <= 2) > 0.75
    assert max(steps) <= 12
    assert parallels / moves < 0.03


def test_loudness_varies_within_what_midi_knows() -> None:
    velocities = [note.velocity for tune in _pieces() for note in tune.notes]
    assert 1 <= min(velocities) < 60 < 85 < max(velocities) <= 127
    assert all(len({note.velocity for note in tune.notes}) > 5 for tune in _pieces())
