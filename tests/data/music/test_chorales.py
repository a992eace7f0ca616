"""The chorales of Bach: what becomes of the scores."""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import Any

import music21
import pytest

from holdfast import extras
from holdfast.data.music import Tune, chorales, events_of, tune_of_events
from holdfast.data.music.chorales import _tune


@cache
def _first() -> tuple[Tune, ...]:
    return tuple(islice(chorales.chorales(), 3))


def _score(**names: Any) -> Any:
    parts = []
    for name, notes in names.items():
        part = music21.stream.Part(id=name)
        for one in notes:
            part.append(one)
        parts.append(part)
    score = music21.stream.Score(parts)
    score.metadata = music21.metadata.Metadata(title="a")
    return score


def test_the_first_is_as_in_the_edition() -> None:
    first = _first()[0]
    assert (first.name, first.meter, first.beat, first.end / 480) == ("Aus meines Herzens Grunde", (3, 4), 480, 63)
    begin = [(note.start, note.length, note.pitch) for note in first.notes[:8]]
    assert begin == [
        *((0, 480, pitch) for pitch in (43, 59, 62, 67)),
        *((480, length, pitch) for length, pitch in ((480, 55), (480, 59), (480, 62), (960, 67))),
    ]


def test_four_voices_sound_and_are_lossless_as_tokens() -> None:
    for tune in _first():
        begin = [note for note in tune.notes if note.start == 0]
        assert len(begin) == 4
        assert not tune.remarks
        again = tune_of_events(events_of(tune)).notes
        assert {(n.start, n.pitch) for n in again} == {(n.start, n.pitch) for n in tune.notes}


def test_ties_are_one_note_grace_notes_and_instruments_are_left_out() -> None:
    tied = [music21.note.Note("C4", quarterLength=length) for length in (1, 1 / 3, 1)]
    for note, kind in zip(tied, ("start", "continue", "stop")):
        note.tie = music21.tie.Tie(kind)
    grace = music21.note.Note("D4", quarterLength=1).getGrace()
    again, rest = music21.note.Note("C4", quarterLength=2), music21.note.Rest(quarterLength=1)
    soprano = [
        music21.meter.TimeSignature("3/4"),
        *tied,
        grace,
        again,
        rest,
        music21.note.Note("E4", quarterLength=0.5),
    ]
    horn, bass = [music21.note.Note("C2", quarterLength=1)], [music21.note.Note("C3", quarterLength=4)]
    found = _tune(_score(Horn=horn, Soprano=soprano, Bass=bass))
    assert [tuple(note[:3]) for note in found.notes] == [(0, 1920, 48), (0, 1120, 60), (1120, 960, 60), (2560, 240, 64)]
    assert found.meter == (3, 4)
    assert len(_tune(_score(spine_0=horn, spine_1=bass)).notes) == 2


def test_without_music21_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chorales.available()
    assert chorales.version() == music21.__version__
    monkeypatch.setattr(chorales.importlib.util, "find_spec", lambda name: None)
    assert not chorales.available()

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(extras.MissingExtra, match=r"pip install 'holdfast\[chorales\]'"):
        next(chorales.chorales())


@pytest.mark.full
def test_all_are_there_each_once() -> None:
    found = [*chorales.chorales()]
    assert len(found) == len({tune.notes for tune in found}) == 349
    for tune in found:
        assert min(note.pitch for note in tune.notes) >= 21
        assert max(note.pitch for note in tune.notes) <= 84
        assert 20 < tune.end / 480 < 300
        assert len({note.start for note in tune.notes}) > 20
