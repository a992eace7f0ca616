"""Notes in time: what a MIDI file, a chorale and a piece that is made by rules have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

BEAT = 480
"""Ticks of a quarter note, where nothing says otherwise."""


class Note(NamedTuple):
    """A note.

    Attributes:
        start: when it begins, in ticks.
        length: how long it sounds, in ticks, 1 at least.
        pitch: the number of its key as MIDI counts them: 60 is the middle C, 0 to 127.
        velocity: how hard the key is struck, 1 to 127.
    """

    start: int
    length: int
    pitch: int
    velocity: int

    @property
    def end(self) -> int:
        """When it ends, in ticks."""
        return self.start + self.length


@dataclass(frozen=True)
class Tune:
    """A piece of music.

    >>> Tune((Note(0, 480, 60, 80), Note(480, 960, 64, 80))).end
    1440

    Attributes:
        notes: sorted by when they begin, and by pitch.
        beat: ticks of a quarter note.
        tempo: quarter notes a minute, the first that is said: later ones move no note, as time is counted in beats.
        meter: beats of a bar, and which part of a whole note each is; that of the longest time.
        name: what it is called, if anything.
        remarks: what was left out or is special, "KIND" or "KIND: COUNT".
    """

    notes: tuple[Note, ...]
    beat: int = BEAT
    tempo: float = 120.0
    meter: tuple[int, int] = (4, 4)
    name: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """When the last note ends, in ticks."""
        return max((note.end for note in self.notes), default=0)


def ticks_of(grid: int) -> int:
    """Ticks of a beat that is divided evenly into so many parts: 480, or what comes next below.

    >>> ticks_of(12), ticks_of(7), ticks_of(1000)
    (480, 476, 1000)

    Raises:
        ValueError: the grid is not 1 at least.
    """
    if grid < 1:
        raise ValueError(f"grid must be parts of a beat, 1 at least, got {grid}")
    return grid * max(1, BEAT // grid)


def nearest(ticks: int, beat: int, grid: int) -> int:
    """The point of a grid that is nearest to a time; the later of two.

    >>> nearest(470, 480, 4), nearest(60, 480, 4)
    (4, 1)

    Args:
        ticks: the time.
        beat: ticks of a beat.
        grid: points of a beat.
    """
    return (2 * ticks * grid + beat) // (2 * beat)


def longest_meter(said: Sequence[tuple[int, tuple[int, int]]], end: int) -> tuple[int, int]:
    """The meter that lasts longest; 4/4 before anything is said, the last where nothing lasts.

    >>> longest_meter([(0, (3, 4)), (960, (6, 8))], end=1440)
    (3, 4)

    Args:
        said: when which meter begins, in ticks.
        end: when the piece ends.
    """
    said = [(0, (4, 4)), *said]
    times: Counter[tuple[int, int]] = Counter()
    for (begin, meter), (until, _) in zip(said, [*said[1:], (end, (4, 4))]):
        times[meter] += max(0, until - begin)
    return times.most_common(1)[0][0] if times.total() else said[-1][1]


def pitch_name(pitch: int) -> str:
    """What a key is called: 60 is the middle C, C4.

    >>> pitch_name(60), pitch_name(21), pitch_name(70)
    ('C4', 'A0', 'B♭4')
    """
    octave, step = divmod(pitch, 12)
    return f"{('C', 'C♯', 'D', 'E♭', 'E', 'F', 'F♯', 'G', 'A♭', 'A', 'B♭', 'B')[step]}{octave - 1}"
