"""Piano rolls: which keys of a piano are down at each of evenly spaced times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .tune import Note, Tune, nearest, ticks_of

Array = np.ndarray[Any, Any]

LOWEST = 21
"""The pitch of a piano's first key, as MIDI counts them."""
KEYS = 88
"""Keys of a piano."""

_VELOCITY = 80  # how hard a key is struck, which a roll does not say


def on_the_piano(tune: Tune) -> Tune:
    """A tune without the notes that have no key, and with a remark on how many they were.

    >>> on_the_piano(Tune((Note(0, 480, 60, 80), Note(480, 1, 127, 80)))).remarks
    ("notes outside of the piano's 88 keys: 1",)
    """
    notes = tuple(note for note in tune.notes if LOWEST <= note.pitch < LOWEST + KEYS)
    outside = len(tune.notes) - len(notes)
    if not outside:
        return tune
    remark = f"notes outside of the piano's {KEYS} keys: {outside}"
    return replace(tune, notes=notes, remarks=(*tune.remarks, remark))


def roll_of(tune: Tune, grid: int) -> tuple[Array, int]:
    """Which keys are down in each frame until the last note ends, (T, 88) in uint8, and how many notes have no key.

    When a note begins and ends is rounded to the nearest frame; each takes one frame at least.

    >>> roll, outside = roll_of(Tune((Note(0, 480, 60, 80), Note(480, 1, 127, 80))), grid=2)
    >>> roll.shape, roll[:, 60 - LOWEST].tolist(), outside
    ((2, 88), [1, 1], 1)

    Args:
        tune: the piece.
        grid: frames of a beat.
    """
    spans = []
    for note in tune.notes:
        if LOWEST <= note.pitch < LOWEST + KEYS:
            begin = nearest(note.start, tune.beat, grid)
            spans.append((begin, max(begin + 1, nearest(note.end, tune.beat, grid)), note.pitch - LOWEST))
    roll = np.zeros((max((end for _, end, _ in spans), default=0), KEYS), np.uint8)
    for begin, end, key in spans:
        roll[begin:end, key] = 1
    return roll, len(tune.notes) - len(spans)


def tune_of_roll(roll: Array, grid: int, tempo: float = 120.0, meter: tuple[int, int] = (4, 4)) -> Tune:
    """The piece that a roll shows: a key that stays down is one note.

    >>> roll = np.zeros((4, 88), np.uint8)
    >>> roll[1:3, 60 - LOWEST] = 1
    >>> tune_of_roll(roll, grid=1).notes
    (Note(start=480, length=960, pitch=60, velocity=80),)

    Args:
        roll: what is not 0 is down, (T, 88).
        grid: frames of a beat.
        tempo: beats a minute.
        meter: beats of a bar, and which part of a whole note each is.
    """
    beat = ticks_of(grid)
    frame = beat // grid
    silence = np.zeros((1, KEYS), np.int8)
    moves = np.diff(np.concatenate([silence, (np.asarray(roll) != 0).astype(np.int8), silence]), axis=0)  # (T + 1, 88)
    downs, ups = np.argwhere(moves.T == 1), np.argwhere(moves.T == -1)  # of each key in order, so that they go together
    notes = [
        Note(frame * int(begin), frame * int(end - begin), LOWEST + int(key), _VELOCITY)
        for (key, begin), (_, end) in zip(downs, ups)
    ]
    return Tune(tuple(sorted(notes, key=lambda note: (note.start, note.pitch))), beat, tempo, meter)


def room_of_roll(roll: Array) -> tuple[int, int]:
    """By how many semitones a roll can be moved down, and up; none if it is silent.

    >>> room_of_roll(np.eye(88, dtype=np.uint8)[[3, 80]])
    (3, 7)
    """
    return room_of_keys(np.flatnonzero(np.asarray(roll).any(axis=0)))


def room_of_keys(keys: Array) -> tuple[int, int]:
    """By how many semitones keys can be moved down, and up; none if there are none.

    >>> room_of_keys(np.array([80, 3]))
    (3, 7)
    """
    return (int(keys.min()), KEYS - 1 - int(keys.max())) if len(keys) else (0, 0)


def refuse_without_room(room: tuple[int, int], by: int) -> None:
    """Refuse to move music beyond the keys.

    >>> refuse_without_room((3, 7), -3)

    Raises:
        ValueError: there is no room.
    """
    if not -room[0] <= by <= room[1]:
        raise ValueError(f"by must be {-room[0]} to {room[1]} semitones, so that all keys are on the piano, got {by}")


def transposed_roll(roll: Array, by: int) -> Array:
    """The same roll, some semitones higher; lower if that is below 0.

    >>> transposed_roll(np.eye(88, dtype=np.uint8)[[3, 80]], -3).argmax(axis=1).tolist()
    [0, 77]

    Raises:
        ValueError: a key would not be on the piano.
    """
    refuse_without_room(room_of_roll(roll), by)
    return np.roll(roll, by, axis=1)
