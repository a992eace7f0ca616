"""What music looks like as numbers, for pieces that were written against pieces that a model composed.

A roll is a piece as (T, 88) zeros and ones, frames by the keys of a piano, from A0, MIDI note 21.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LOWEST = 21  # the MIDI note of a roll's first key
WIDEST = 12  # semitones of a melodic interval; wider ones count as this
MOST = 8  # notes at once; more count as this

# How well listeners found that each of twelve tones fits into a key, from its tonic upwards (Krumhansl and Kessler,
# Tracing the dynamic changes in perceived tonal organization in a spatial representation of musical keys, 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def tonic(roll: Array) -> int:
    """The pitch class (0 is C, 11 is B) of the tonic of the key that a piece is probably in.

    It is that of the one of 24 keys whose profile correlates best with how long each pitch class sounds in the piece,
    after Krumhansl and Schmuckler; C where nothing sounds, or all alike.

    >>> roll = np.zeros((7, 88), np.uint8)
    >>> roll[range(7), [key - LOWEST for key in (62, 64, 66, 67, 69, 71, 73)]] = 1  # D E F♯ G A B C♯
    >>> tonic(roll)
    2
    """
    sounding = _sounding(roll)
    from_each = np.stack([np.roll(sounding, -start) for start in range(12)])  # (12, 12)
    profiles = np.array([_MAJOR, _MINOR]).T  # (12, 2)
    profiles = (profiles - profiles.mean(0)) / profiles.std(
        0
    )  # the piece's own mean and deviation are the same for all
    return int((from_each @ profiles).max(1).argmax())


def pitch_classes(rolls: Sequence[Array]) -> Array:
    """The shares of the sounding keys in all frames that each pitch class has, counted from the tonic of its piece.

    Returns:
        (12,): the tonic, a semitone above it, …; zeros where nothing sounds.
    """
    return _shares(rolls, 12, lambda roll: np.roll(_sounding(roll), -tonic(roll)))


def intervals(rolls: Sequence[Array]) -> Array:
    """The shares of the melodic intervals of the highest voice, among the steps at which it moves.

    It moves where the highest key is another one than in the frame before, and in neither there is silence.

    Returns:
        (25,): 12 semitones down or more, 11 down, …, 12 up or more; zeros where it never moves.
    """
    return _shares(rolls, 2 * WIDEST + 1, _moves)


def voices(rolls: Sequence[Array]) -> Array:
    """The shares of the frames in which so many keys sound.

    Returns:
        (9,): none, 1, …, 8 or more; zeros where there is no frame.
    """
    return _shares(rolls, MOST + 1, lambda roll: np.bincount(np.minimum(_keys(roll).sum(1), MOST), minlength=MOST + 1))


def total_variation(p: Array, q: Array) -> float:
    """How far two shares of the same things are apart: the largest difference that they make to any set of things.

    That is half the sum of all differences; 0 if they are the same, 1 if they have nothing in common, also if one of
    them is zeros, the shares of nothing.

    >>> total_variation(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25]))
    0.25
    """
    more = np.asarray(p, np.float64) - np.asarray(q, np.float64)
    return float(max(more.clip(min=0).sum(), -more.clip(max=0).sum()))


def _shares(rolls: Sequence[Array], places: int, count: Callable[[Array], Array]) -> Array:
    """What is counted in each piece, summed over the pieces, as shares of all."""
    counts = sum((count(roll) for roll in rolls), np.zeros(places))  # (places,)
    return counts / max(1.0, counts.sum())


def _keys(roll: Array) -> Array:
    """Which keys sound, as truth values."""
    if roll.ndim != 2 or roll.shape[1] != 88:
        raise ValueError(f"a roll must be (T, 88), frames by the keys of a piano; got {roll.shape}")
    return roll != 0


def _sounding(roll: Array) -> Array:
    """In how many frames the keys of each pitch class sound, (12,)."""
    counts = np.zeros(12)
    np.add.at(counts, (np.arange(88) + LOWEST) % 12, _keys(roll).sum(0))
    return counts


def _moves(roll: Array) -> Array:
    """How often the highest voice moves by each interval, (25,)."""
    keys = _keys(roll)
    top = np.where(keys.any(1), 87 - keys[:, ::-1].argmax(1), -1)  # (T,), −1 in silence
    step = np.diff(top)[(top[1:] >= 0) & (top[:-1] >= 0)]
    return np.bincount(step[step != 0].clip(-WIDEST, WIDEST) + WIDEST, minlength=2 * WIDEST + 1)
