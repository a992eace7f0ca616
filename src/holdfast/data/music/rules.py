"""Pieces for four voices that are made by rules, for those who have no music of their own.

Chords follow each other as their functions ask for and lead to a cadence every four bars. The voices move as little as
they can, avoid to go in parallel fifths and octaves, and resolve what leads on; some thirds are filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np

from .tune import BEAT, Note, Tune

Array = np.ndarray[Any, Any]

NAME = "builtin:tunes"
RANGES = ((40, 60), (48, 67), (55, 74), (60, 79))
"""The lowest and the highest pitch of bass, tenor, alto and soprano."""

_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
_LEADING, _SEVENTH = 11, 5  # semitones above the keynote; the second is the seventh of V7

# Semitones above the keynote: root, third, fifth, and the seventh of V7.
_CHORDS: Mapping[bool, Mapping[str, tuple[int, ...]]] = {
    True: {
        "I": (0, 4, 7),
        "ii": (2, 5, 9),
        "iii": (4, 7, 11),
        "IV": (5, 9, 0),
        "V": (7, 11, 2),
        "V7": (7, 11, 2, 5),
        "vi": (9, 0, 4),
        "vii": (11, 2, 5),
    },
    False: {
        "I": (0, 3, 7),
        "ii": (2, 5, 8),
        "iii": (3, 7, 10),
        "IV": (5, 8, 0),
        "V": (7, 11, 2),
        "V7": (7, 11, 2, 5),
        "vi": (8, 0, 3),
        "VII": (10, 2, 5),
    },
}
# How likely a chord is followed by another, as weights.
_FOLLOW: Mapping[bool, Mapping[str, Mapping[str, float]]] = {
    True: {
        "I": {"I": 1, "ii": 2, "iii": 0.5, "IV": 3, "V": 3, "V7": 1, "vi": 2, "vii": 0.5},
        "ii": {"V": 4, "V7": 3, "vii": 1},
        "iii": {"vi": 3, "IV": 2},
        "IV": {"I": 2, "ii": 2, "V": 3, "V7": 2, "vii": 1},
        "V": {"I": 4, "vi": 2, "V7": 1},
        "V7": {"I": 5, "vi": 1},
        "vi": {"ii": 3, "IV": 3, "iii": 0.5, "V": 1},
        "vii": {"I": 1},
    },
    False: {
        "I": {"I": 1, "ii": 1.5, "iii": 0.7, "IV": 3, "V": 3, "V7": 1, "vi": 2, "VII": 1},
        "ii": {"V": 4, "V7": 3},
        "iii": {"vi": 3, "IV": 2, "VII": 1},
        "IV": {"I": 2, "ii": 1, "V": 3, "V7": 2},
        "V": {"I": 4, "vi": 2, "V7": 1},
        "V7": {"I": 5, "vi": 1},
        "vi": {"ii": 2, "IV": 3, "iii": 1, "VII": 1},
        "VII": {"iii": 3, "I": 1},
    },
}
_OPENINGS = {"I": 4.0, "vi": 1.0, "IV": 1.0}  # of later phrases
_RHYTHMS = {4: ((2, 2), (1, 1, 2), (2, 1, 1), (1, 1, 1, 1)), 3: ((2, 1), (1, 1, 1))}  # beats of the chords of a bar
_INVERTED = 0.3  # how often a chord stands on its third
_TRIPLE = 0.25  # how often a piece is in 3/4
_MAJORS = 0.6  # how often a piece is in major
_PICARDY = 0.3  # how often one in minor ends in major
_FILLED = {3: 0.5, 0: 0.25}  # how often a third is filled, of soprano and bass
_TIED = 0.4  # how often an inner voice holds what it could strike again within a bar


class _Chord(NamedTuple):
    """A chord in time.

    Attributes:
        begin: beats since the beginning.
        length: in beats.
        name: what it is called within its key.
        classes: its pitch classes, the root first.
        bass: the pitch class of the bass.
        closes: whether a phrase ends with it.
    """

    begin: int
    length: int
    name: str
    classes: tuple[int, ...]
    bass: int
    closes: bool


class _Key(NamedTuple):
    """A key: the pitch class of its keynote, and whether it is major."""

    tonic: int
    major: bool


def tunes(count: int, seed: int) -> Iterator[Tune]:
    """Pieces of 8 to 16 bars for four voices, in eighth notes and what is longer.

    >>> tune = next(tunes(1, seed=0))
    >>> tune.name, tune.meter, len(tune.notes) > 60
    ('tunes-0-0000', (4, 4), True)

    Args:
        count: how many.
        seed: of all that is drawn; piece k is the same however many there are.
    """
    for k in range(count):
        yield _tune(np.random.default_rng([seed, k]), f"tunes-{seed}-{k:04}")


def _tune(draw: np.random.Generator, name: str) -> Tune:
    beats = 3 if draw.random() < _TRIPLE else 4
    key = _Key(int(draw.integers(12)), bool(draw.random() < _MAJORS))
    chords = _progression(draw, key, beats, phrases=int(draw.integers(2, 5)))
    voices = _filled(draw, key, chords, _voices(draw, key, chords, phrase=4 * beats))
    notes = _shaded(draw, voices, beats)
    return Tune(tuple(sorted(notes, key=lambda note: (note.start, note.pitch))), BEAT, _tempo(draw), (beats, 4), name)


def _tempo(draw: np.random.Generator) -> float:
    return float(draw.integers(18, 31) * 4)


def _progression(draw: np.random.Generator, key: _Key, beats: int, phrases: int) -> list[_Chord]:
    """The chords of phrases of four bars, of which all but the last may end on the dominant."""
    found: list[_Chord] = []
    picardy = not key.major and draw.random() < _PICARDY
    for phrase in range(phrases):
        last = phrase == phrases - 1
        lengths = [length for _ in range(3) for length in _RHYTHMS[beats][draw.integers(len(_RHYTHMS[beats]))]]
        half = not last and draw.random() < 0.5
        names = _names(draw, key, len(lengths) + 1, half, first=phrase == 0)
        for k, (chord, length) in enumerate(zip(names, [*lengths, beats])):
            closes = k == len(lengths)
            classes = _CHORDS[key.major or (picardy and last and closes)][chord]
            firm = closes or (k == len(lengths) - 1 and not half)
            third = chord == "vii" or (chord == "ii" and not key.major) or (not firm and draw.random() < _INVERTED)
            absolute = tuple((key.tonic + above) % 12 for above in classes)
            begin = found[-1].begin + found[-1].length if found else 0
            found.append(_Chord(begin, length, chord, absolute, absolute[1 if third else 0], closes))
    return found


def _names(draw: np.random.Generator, key: _Key, count: int, half: bool, first: bool) -> list[str]:
    """The chords of a phrase, which ends with what prepares the dominant, the dominant, and mostly the tonic."""
    follow = _FOLLOW[key.major]
    dominant = "V" if half else _drawn(draw, {"V": 1, "V7": 1})
    ending = [_drawn(draw, {"ii": 1, "IV": 1}), dominant, *([] if half else ["I"])]
    while True:  # until what is drawn leads to the ending: every chord does so soon
        found = ["I" if first else _drawn(draw, _OPENINGS)]
        while len(found) < count - len(ending):
            found.append(_drawn(draw, follow[found[-1]]))
        if ending[0] in follow[found[-1]]:
            return found + ending


def _drawn(draw: np.random.Generator, weights: Mapping[str, float]) -> str:
    shares = np.cumsum([*weights.values()])
    return [*weights][int(np.searchsorted(shares, draw.random() * shares[-1], side="right"))]


def _voices(draw: np.random.Generator, key: _Key, chords: Sequence[_Chord], phrase: int) -> list[Array]:
    """The pitches of bass, tenor, alto and soprano in each chord, (4,): each time what costs least."""
    found: list[Array] = []
    height = draw.uniform(66, 70)
    for k, chord in enumerate(chords):
        choices = _choices(chord.classes, chord.bass, key.tonic)
        arch = height + 4 * np.sin(np.pi * (chord.begin % phrase) / phrase)  # where the soprano is drawn to
        cost = 0.25 * np.abs(choices[:, 3] - arch) + draw.exponential(1.0, len(choices))
        if found:
            cost = cost + _moving(found[-1], choices) + _unresolved(found[-1], choices, key, chords[k - 1], chord)
        if chord.closes and chord.name == "I":
            cost = cost + 6 * (choices[:, 3] % 12 != key.tonic)
        found.append(choices[cost.argmin()])
    return found


@cache
def _choices(classes: tuple[int, ...], bass: int, tonic: int) -> Array:
    """All ways to sing a chord, (C, 4): no voice out of its range, crossing or far from the next, nothing missing."""
    leading, seventh = (tonic + _LEADING) % 12, classes[3:]
    pitches = [[p for p in range(low, high + 1) if p % 12 in classes] for low, high in RANGES]
    pitches[0] = [p for p in pitches[0] if p % 12 == bass]
    found = []
    for voices in product(*pitches):
        low, tenor, alto, soprano = voices
        held = [p % 12 for p in voices]
        near = low < tenor < alto < soprano and soprano - alto <= 12 and alto - tenor <= 12 and tenor - low <= 19
        if near and {*held} == {*classes} and all(held.count(one) < 2 for one in (leading, *seventh)):
            found.append(voices)
    return np.array(found)


def _moving(before: Array, choices: Array) -> Array:
    """What it costs to go from one chord to the next, (C,)."""
    steps = choices - before  # (C, 4)
    far = np.abs(steps)
    melody = np.array([1.5, 0, 0, 1, 1, 2.5, 6, 4, 8, 9, 10, 11, 9, *[15] * 40])  # of the soprano by semitones
    cost: Array = 0.3 * far[:, 0] + 10 * (far[:, 0] > 12) + far[:, 1:3].sum(axis=1) + melody[far[:, 3]]
    cost = cost + 3 * (far[:, 1:3] > 5).sum(axis=1)
    for low, high in combinations(range(4), 2):
        wide = (before[high] - before[low]) % 12
        if wide in (0, 7):
            same = (choices[:, high] - choices[:, low]) % 12 == wide
            cost = cost + 20 * (same & (steps[:, low] * steps[:, high] > 0))
    overlap = (choices[:, :3] > before[1:]) | (choices[:, 1:] < np.pad(before[:2], (0, 1), constant_values=0))
    return cost + 3 * overlap.sum(axis=1)


def _unresolved(before: Array, choices: Array, key: _Key, last: _Chord, chord: _Chord) -> Array:
    """What it costs if the leading note does not rise to the keynote, or a seventh does not fall, (C,)."""
    cost = np.zeros(len(choices))
    if chord.name not in ("I", "vi"):
        return cost
    for voice in range(4):
        step = choices[:, voice] - before[voice]
        above = (before[voice] - key.tonic) % 12
        if above == _LEADING and last.name in ("V", "V7", "vii"):
            cost += (12 if voice == 3 else 6) * (step != 1)
        if above == _SEVENTH and last.name == "V7":
            cost += 8 * ((step != -1) & (step != -2))
    return cost


class _Sung(NamedTuple):
    """What a voice sings: when it begins and how long it lasts in eighths, the pitch, and which voice it is."""

    begin: int
    length: int
    pitch: int
    voice: int


def _filled(draw: np.random.Generator, key: _Key, chords: Sequence[_Chord], voices: Sequence[Array]) -> list[_Sung]:
    """The notes of all voices, in time; where outer voices move by a third, some step in between."""
    found = []
    for k, (chord, sung) in enumerate(zip(chords, voices)):
        passing: dict[int, int] = {}
        if k + 1 < len(chords) and not chord.closes:
            for voice, often in _FILLED.items():
                between = _between(key, int(sung[voice]), int(voices[k + 1][voice]))
                beside = sung[2] if voice else sung[1]
                clear = between > beside if voice else between < beside
                if between and clear and not passing and draw.random() < often:
                    passing[voice] = between
        begin, length = 2 * chord.begin, 2 * chord.length
        for voice, pitch in enumerate(sung.tolist()):
            found.append(_Sung(begin, length - (voice in passing), pitch, voice))
        found += [_Sung(begin + length - 1, 1, pitch, voice) for voice, pitch in passing.items()]
    return found


def _between(key: _Key, here: int, there: int) -> int:
    """The note of the scale within a third; 0 if this is none."""
    if abs(there - here) not in (3, 4):
        return 0
    scale = _MAJOR if key.major or there > here else _MINOR
    inside = range(min(here, there) + 1, max(here, there))
    return next((p for p in inside if (p - key.tonic) % 12 in scale), 0)


def _shaded(draw: np.random.Generator, sung: Sequence[_Sung], beats: int) -> list[Note]:
    """Notes as they are played: some inner ones tied, louder in the middle of a phrase, on first beats and on top."""
    level = draw.uniform(55, 80)
    eighth = BEAT // 2
    found = []
    for voice in range(4):
        line: list[_Sung] = []
        for one in sorted(one for one in sung if one.voice == voice):
            last = line[-1] if line else one
            ties = voice in (1, 2) and line and last.pitch == one.pitch and one.begin % (2 * beats)
            if ties and draw.random() < _TIED:
                line[-1] = last._replace(length=last.length + one.length)
            else:
                line.append(one)
        for one in line:
            swell = 8 * np.sin(np.pi * (one.begin % (8 * beats)) / (8 * beats))
            accent = 5 * (one.begin % (2 * beats) == 0) + 7 * (voice == 3)
            velocity = int(np.clip(round(level + swell + accent + draw.normal(0, 2)), 1, 127))
            found.append(Note(eighth * one.begin, eighth * one.length, one.pitch, velocity))
    return found
