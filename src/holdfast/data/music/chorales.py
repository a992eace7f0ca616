"""The chorales of Bach that come with music21."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from holdfast.extras import require

from .tune import BEAT, Note, Tune, longest_meter

NAME = "builtin:chorales"

_VOICES = ("Soprano", "Alto", "Tenor", "Bass")
_TEMPO, _VELOCITY = 100.0, 80  # which no chorale says


def available() -> bool:
    """Whether music21 is installed.

    >>> available() in (True, False)
    True
    """
    return importlib.util.find_spec("music21") is not None


def version() -> str:
    """The version of music21, which says what the chorales are.

    Raises:
        MissingExtra: it is not installed.
    """
    return str(require("music21", "chorales").__version__)


def chorales() -> Iterator[Tune]:
    """The 371 chorales of Riemenschneider's edition in its order, as four voices sing them, one by five.

    Instruments that play along are left out, and so are grace notes. What is repeated is sung once. Those that the
    edition has more than once come once, 349 in all, so that no part of the data has what another has.

    Raises:
        MissingExtra: music21 is not installed.
    """
    seen = set()
    for score in require("music21.corpus.chorales", "chorales").Iterator():
        tune = _tune(score)
        lowest = min(note.pitch for note in tune.notes)
        shape = tuple((note.start, note.length, note.pitch - lowest) for note in tune.notes)
        if shape not in seen:
            seen.add(shape)
            yield tune


def _tune(score: Any) -> Tune:
    sung = [part for part in score.parts if str(part.id).startswith(_VOICES)] or [*score.parts]
    notes = sorted((note for part in sung for note in _notes(part)), key=lambda note: (note.start, note.pitch))
    said = sung[0].flatten().getElementsByClass("TimeSignature")
    meters = [(_ticks(one.offset), (one.numerator, one.denominator)) for one in said]
    meter = longest_meter(meters, max(note.end for note in notes))
    return Tune(tuple(notes), BEAT, _TEMPO, meter, str(score.metadata.title))


def _notes(part: Any) -> Iterator[Note]:
    """The notes of a voice, those that are tied as one."""
    tied: dict[int, Note] = {}  # by pitch
    for one in part.flatten().notes:
        if one.duration.isGrace:
            continue
        begin = _ticks(one.offset)
        length = _ticks(one.offset + one.quarterLength) - begin
        for pitch in (pitch.midi for pitch in one.pitches):
            note = Note(begin, length, pitch, _VELOCITY)
            before = tied.pop(pitch, None)
            if before:
                if before.end == begin and one.tie and one.tie.type in ("continue", "stop"):
                    note = before._replace(length=before.length + length)
                else:
                    yield before
            if one.tie and one.tie.type in ("start", "continue"):
                tied[pitch] = note
            else:
                yield note
    yield from tied.values()


def _ticks(beats: Any) -> int:
    return round(beats * BEAT)
