"""Music as a sequence of tokens, one for each thing that a player does: lossless for times on a grid.

A key is struck or let go, time passes, or what is struck from now on is struck as hard as one of 32 levels says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .roll import KEYS, LOWEST, refuse_without_room, room_of_keys
from .tune import Note, Tune, nearest, ticks_of

Array = np.ndarray[Any, Any]

SHIFTS = 96
"""Steps of the grid that one token lets pass at most."""
LEVELS = 32
"""Of velocities."""
ON, OFF, SHIFT, LEVEL = 0, KEYS, 2 * KEYS, 2 * KEYS + SHIFTS
"""The first token of each kind: keys that are struck, keys that are let go, 1 step and more, the softest level."""
EVENTS = LEVEL + LEVELS
"""Tokens of the vocabulary."""

_USUAL = 82  # the velocity before any level is said


def events_of(tune: Tune, grid: int = 12) -> Array:
    """The tokens of a piece, (N,) in uint16.

    Times are rounded to the nearest point of the grid; a note takes one step at least. What has no key of a piano is
    left out. A key that is struck while it is down is let go first; it stays down as long as any of its notes sounds.
    At one time keys are let go before others are struck.

    >>> events_of(Tune((Note(0, 480, 60, 82), Note(480, 40, 60, 82)))).tolist()
    [292, 39, 187, 127, 39, 176, 127]

    Args:
        tune: the piece.
        grid: steps of a beat.
    """
    acts: dict[int, tuple[list[int], list[tuple[int, int]]]] = defaultdict(lambda: ([], []))
    for begin, end, key, level in _struck(tune, grid):
        acts[begin][1].append((key, level))
        acts[end][0].append(key)
    tokens: list[int] = []
    now, heard = 0, -1
    for time in sorted(acts):
        tokens += _passing(time - now)
        now = time
        ended, begun = acts[time]
        tokens += [OFF + key for key in sorted(ended)]
        for key, level in sorted(begun):
            if level != heard:
                tokens.append(LEVEL + level)
                heard = level
            tokens.append(ON + key)
    return np.array(tokens, np.uint16)


def tune_of_events(
    tokens: Sequence[int] | Array, grid: int = 12, tempo: float = 120.0, meter: tuple[int, int] = (4, 4)
) -> Tune:
    """The piece that tokens tell, whichever they are.

    A key that is let go without having been struck is passed over; one that is struck while it is down begins anew, and
    one that is never let go sounds until the end. What would end when it begins is not heard.

    >>> tune_of_events([ON + 39, SHIFT + 11, ON + 39, OFF + 3, SHIFT + 5]).notes
    (Note(start=0, length=480, pitch=60, velocity=82), Note(start=480, length=240, pitch=60, velocity=82))

    Args:
        tokens: of the vocabulary, (N,).
        grid: steps of a beat.
        tempo: beats a minute.
        meter: beats of a bar, and which part of a whole note each is.

    Raises:
        ValueError: a token is not in the vocabulary.
    """
    beat = ticks_of(grid)
    step = beat // grid
    notes: list[Note] = []
    down: dict[int, tuple[int, int]] = {}  # of a key: when it was struck, and how hard
    now, velocity = 0, _USUAL

    def let_go(key: int) -> None:
        begin, struck = down.pop(key)
        if now > begin:
            notes.append(Note(begin, now - begin, LOWEST + key, struck))

    for token in _known(tokens).tolist():
        if token >= LEVEL:
            velocity = _velocity(token - LEVEL)
        elif token >= SHIFT:
            now += step * (token - SHIFT + 1)
        else:
            key = token % KEYS
            if key in down:
                let_go(key)
            if token < OFF:
                down[key] = (now, velocity)
    for key in [*down]:
        let_go(key)
    return Tune(tuple(sorted(notes, key=lambda note: (note.start, note.pitch))), beat, tempo, meter)


def beats_in(tokens: Sequence[int] | Array, grid: int = 12) -> float:
    """How many beats pass in tokens.

    >>> beats_in([SHIFT + 11, ON, SHIFT + 5])
    1.5

    Raises:
        ValueError: a token is not in the vocabulary.
    """
    found = _known(tokens)
    shifts = found[(found >= SHIFT) & (found < LEVEL)]
    return float((shifts - SHIFT + 1).sum()) / grid


def room_of_events(tokens: Sequence[int] | Array) -> tuple[int, int]:
    """By how many semitones tokens can be moved down, and up; not at all if they name no key.

    >>> room_of_events([ON + 3, SHIFT, OFF + 3, ON + 80])
    (3, 7)

    Raises:
        ValueError: a token is not in the vocabulary.
    """
    found = _known(tokens)
    return room_of_keys(found[found < SHIFT] % KEYS)


def transposed_events(tokens: Sequence[int] | Array, by: int) -> Array:
    """The same tokens, some semitones higher; lower if that is below 0.

    >>> transposed_events([ON + 3, SHIFT, OFF + 3], 2).tolist() == [ON + 5, SHIFT, OFF + 5]
    True

    Raises:
        ValueError: a key would not be on the piano, or a token is not in the vocabulary.
    """
    refuse_without_room(room_of_events(tokens), by)
    given = np.asarray(tokens)
    return np.where(given < SHIFT, given.astype(np.int64) + by, given).astype(given.dtype)


def _struck(tune: Tune, grid: int) -> Iterator[tuple[int, int, int, int]]:
    """When keys are struck and let go, in steps of the grid, which they are, and how hard: no two of a key overlap."""
    of_keys: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)  # by when they begin: the end, and the level
    for note in tune.notes:
        if LOWEST <= note.pitch < LOWEST + KEYS:
            begin = nearest(note.start, tune.beat, grid)
            end = max(begin + 1, nearest(note.end, tune.beat, grid))
            ours = of_keys[note.pitch - LOWEST]
            until, level = ours.get(begin, (0, 0))
            ours[begin] = (max(until, end), max(level, _level(note.velocity)))
    for key, ours in of_keys.items():
        last = 0
        begins = sorted(ours)
        for begin, following in zip(begins, [*begins[1:], None]):
            end, level = ours[begin]
            last = max(last, end)
            yield begin, last if following is None else min(last, following), key, level


def _level(velocity: int) -> int:
    return velocity * LEVELS // 128


def _velocity(level: int) -> int:
    """The velocity in the middle of those of a level."""
    return level * 128 // LEVELS + 64 // LEVELS


def _passing(steps: int) -> Iterable[int]:
    """Tokens that let time pass."""
    whole, rest = divmod(steps, SHIFTS)
    return [SHIFT + SHIFTS - 1] * whole + [SHIFT + rest - 1] * (rest > 0)


def _known(tokens: Sequence[int] | Array) -> Array:
    """Tokens that are in the vocabulary, (N,)."""
    found = np.asarray(tokens, np.int64)
    strange = found[(found < 0) | (found >= EVENTS)]
    if len(strange):
        raise ValueError(f"tokens must be 0 to {EVENTS - 1}, got {strange[0]}")
    return found
