import numpy as np
import pytest

from holdfast.tasks.composition.statistics import (
    LOWEST,
    Array,
    intervals,
    pitch_classes,
    tonic,
    total_variation,
    voices,
)

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
SILENT, EMPTY = np.zeros((5, 88), np.uint8), np.zeros((0, 88), np.uint8)


def played(*chords: tuple[int, ...] | int) -> Array:
    """A roll with one frame for each chord of MIDI notes."""
    roll = np.zeros((len(chords), 88), np.uint8)
    for frame, chord in zip(roll, chords):
        frame[[note - LOWEST for note in ((chord,) if isinstance(chord, int) else chord)]] = 1
    return roll


def scale(start: int, steps: tuple[int, ...]) -> Array:
    """A scale up to the octave, the tonic's triad at its end."""
    triad = tuple(start + steps[degree] for degree in (0, 2, 4))
    return played(*(start + step for step in steps), start + 12, triad, triad)


def shifted(roll: Array, by: int) -> Array:
    return np.roll(roll, by, axis=1)


def song(seed: int) -> Array:
    """Notes of C major at random, of up to four voices, far from the ends of the keyboard."""
    random = np.random.default_rng(seed)
    notes = np.array([note for note in range(48, 73) if note % 12 in MAJOR])
    weights = np.array([5.0 if note % 12 in (0, 4, 7) else 1.0 for note in notes])
    chords = [random.choice(notes, random.integers(0, 5), p=weights / weights.sum()) for _ in range(60)]
    return played(*(tuple(map(int, chord)) for chord in chords))


def correlated(roll: Array) -> int:
    """The tonic by NumPy's own correlations with the 24 profiles."""
    major = [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88]
    minor = [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17]
    counts = [sum(int(roll[:, k].sum()) for k in range(88) if (LOWEST + k) % 12 == tone) for tone in range(12)]
    found = {
        (float(np.corrcoef(counts, [profile[(tone - start) % 12] for tone in range(12)])[0, 1]), start)
        for start in range(12)
        for profile in (major, minor)
    }
    return max(found)[1]


@pytest.mark.parametrize("steps", [MAJOR, MINOR])
@pytest.mark.parametrize("start", range(55, 67))
def test_the_tonic_of_a_scale_is_its_first_note(start: int, steps: tuple[int, ...]) -> None:
    assert tonic(scale(start, steps)) == start % 12


@pytest.mark.parametrize("seed", range(10))
def test_the_tonic_is_that_of_the_key_whose_profile_correlates_best(seed: int) -> None:
    roll = (np.random.default_rng(seed).random((40, 88)) < 0.04).astype(np.uint8)
    assert tonic(roll) == correlated(roll)


def test_pieces_without_notes_have_c_for_a_tonic() -> None:
    assert tonic(SILENT) == tonic(EMPTY) == 0
    assert tonic(played(tuple(range(60, 72)))) == 0


def test_a_scale_has_each_of_its_notes_as_often() -> None:
    shares = pitch_classes([played(*(60 + step for step in MAJOR))])
    np.testing.assert_allclose(shares, [1 / 7 if step in MAJOR else 0 for step in range(12)])


def test_a_long_note_counts_as_often_as_it_has_frames() -> None:
    triad = (57, 61, 64, 69)  # A major
    shares = pitch_classes([played(triad, triad, 69, 69)])
    np.testing.assert_allclose(shares[[0, 4, 7]], [0.6, 0.2, 0.2])


def test_the_pitch_classes_of_two_pieces_are_counted_from_the_tonic_of_each() -> None:
    one, other = scale(60, MAJOR), scale(55, MAJOR)
    np.testing.assert_allclose(pitch_classes([one, other]), pitch_classes([one]))


def test_a_long_piece_counts_more_than_a_short_one() -> None:
    np.testing.assert_allclose(voices([played(60, 62, 64), played((60, 64))])[:3], [0, 3 / 4, 1 / 4])


@pytest.mark.parametrize("by", [-7, -1, 1, 5, 6, 12])
@pytest.mark.parametrize("seed", range(5))
def test_another_key_changes_nothing(seed: int, by: int) -> None:
    piece = song(seed)
    other = shifted(piece, by)
    assert tonic(other) == (tonic(piece) + by) % 12
    np.testing.assert_array_equal(pitch_classes([other]), pitch_classes([piece]))
    np.testing.assert_array_equal(intervals([other]), intervals([piece]))
    np.testing.assert_array_equal(voices([other]), voices([piece]))


def test_the_highest_voice_moves_by_whole_and_half_tones_in_a_scale() -> None:
    shares = intervals([played(*(60 + step for step in (*MAJOR, 12)))])
    assert shares.shape == (25,)
    np.testing.assert_allclose(shares[12 + 1], 2 / 7)
    np.testing.assert_allclose(shares[12 + 2], 5 / 7)


def test_only_the_highest_note_of_a_chord_makes_the_melody() -> None:
    shares = intervals([played((48, 60), (55, 60), (48, 57), (36, 57, 64))])
    np.testing.assert_allclose(shares[[12 - 3, 12 + 7]], [1 / 2, 1 / 2])


def test_neither_silence_nor_a_note_that_is_held_is_a_move() -> None:
    shares = intervals([played(60, (), 72, 72, 71, ()), SILENT, EMPTY])
    np.testing.assert_allclose(shares[12 - 1], 1)
    assert not intervals([played(60, 60), SILENT]).any()


def test_wide_leaps_count_as_an_octave() -> None:
    shares = intervals([played(40, 80, 40, 52)])
    np.testing.assert_allclose(shares[[0, 24]], [1 / 3, 2 / 3])


def test_no_move_leads_from_one_piece_into_the_next() -> None:
    assert not intervals([played(60), played(62)]).any()


def test_many_voices_are_counted_together() -> None:
    shares = voices([played((), 60, (60, 64), tuple(range(60, 68)), tuple(range(60, 70)))])
    np.testing.assert_allclose(shares, [1 / 5, 1 / 5, 1 / 5, 0, 0, 0, 0, 0, 2 / 5])


def test_there_are_no_shares_of_nothing() -> None:
    for rolls in ([], [EMPTY]):
        for shares, places in ((pitch_classes(rolls), 12), (intervals(rolls), 25), (voices(rolls), 9)):
            np.testing.assert_array_equal(shares, np.zeros(places))
    np.testing.assert_array_equal(pitch_classes([SILENT]), np.zeros(12))
    np.testing.assert_array_equal(voices([SILENT]), np.eye(9)[0])


def test_shares_of_silence_are_as_far_as_can_be_from_those_of_notes() -> None:
    some, other = np.array([0.25, 0.75, 0.0]), np.array([0.0, 0.0, 1.0])
    assert total_variation(some, some) == 0
    assert total_variation(some, other) == total_variation(other, some) == 1
    assert total_variation(some, np.zeros(3)) == total_variation(np.zeros(3), some) == 1
    assert total_variation(np.zeros(3), np.zeros(3)) == 0


def test_what_is_no_roll_is_refused_with_its_shape() -> None:
    with pytest.raises(ValueError, match=r"\(T, 88\).*\(4, 87\)"):
        voices([np.zeros((4, 87))])
