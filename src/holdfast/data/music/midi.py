"""MIDI files, read and written."""

from __future__ import annotations

import io
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from holdfast.extras import require

from ..labelled.example import Fault
from ..sources import unpacked
from .tune import Note, Tune, longest_meter

LONGEST = 100_000
"""Beats of a piece at most; what lasts longer (a day and a half at a beat a second) is a time that was misread."""

_DRUMS = 9  # the channel whose notes are no pitches; people count from 1
_CHANNELS = [channel for channel in range(16) if channel != _DRUMS]
_MINUTE = 60_000_000  # microseconds
_SHOWN = 100  # characters of what mido says
_FINEST = 64  # the shortest note that a meter may count


def read_midi(path: str) -> Tune:
    r"""The notes of all instruments of a MIDI file.

    Drums are left out. A note that does not end does so with its track. Of notes of one pitch that overlap on a channel
    the first that began ends first.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_midi(Tune((Note(0, 480, 60, 80),)), Path(folder, "c.mid"))
    ...     read_midi(f"{folder}/c.mid").notes
    (Note(start=0, length=480, pitch=60, velocity=80),)

    Args:
        path: the file, as `files` names it; one that ends in `.gz` is unpacked.

    Raises:
        Fault: it is no MIDI file, is damaged, or holds no notes that have pitches.
        DataError: it cannot be read at all.
    """
    file = _parsed(b"".join(unpacked(path)))
    notes: list[Note] = []
    tempi: list[tuple[int, int]] = []  # when, and microseconds of a beat
    meters: list[tuple[int, tuple[int, int]]] = []
    names: list[str] = []
    drums = endless = end = 0
    for track in file.tracks:
        sounding: dict[tuple[int, int], deque[tuple[int, int]]] = {}
        now = 0
        for message in track:
            now += message.time
            kind = message.type
            if kind == "note_on" and message.velocity:
                if message.channel == _DRUMS:
                    drums += 1
                else:
                    begun = sounding.setdefault((message.channel, message.note), deque())
                    begun.append((now, message.velocity))
            elif kind in ("note_on", "note_off"):
                if begun := sounding.get((message.channel, message.note), deque()):
                    start, velocity = begun.popleft()
                    notes.append(Note(start, max(1, now - start), message.note, velocity))
            elif kind == "set_tempo" and message.tempo:
                tempi.append((now, message.tempo))
            elif kind == "time_signature" and message.numerator and message.denominator <= _FINEST:
                meters.append((now, (message.numerator, message.denominator)))
            elif kind == "track_name":
                names.append(message.name)
        for (_, pitch), begun in sounding.items():
            notes += [Note(start, max(1, now - start), pitch, velocity) for start, velocity in begun]
            endless += len(begun)
        end = max(end, now)
    if not notes:
        raise Fault("it holds drums only" if drums else "it holds no notes")
    if end > LONGEST * file.ticks_per_beat:
        raise Fault(f"it is damaged: it lasts more than {LONGEST:,} beats")
    tempi.sort()
    meters.sort(key=lambda one: one[0])
    remarks = ["drums were left out"] if drums else []
    counts = {
        "notes without an end": endless,
        "changes of tempo": _changes(tempi),
        "changes of meter": _changes(meters),
    }
    remarks += [f"{what}: {count}" for what, count in counts.items() if count]
    return Tune(
        tuple(sorted(notes, key=lambda note: (note.start, note.pitch))),
        file.ticks_per_beat,
        _MINUTE / tempi[0][1] if tempi else 120.0,
        longest_meter(meters, end),
        _text(names[0]) if names else "",
        tuple(remarks),
    )


def midi_bytes(tune: Tune, length: int = 0) -> bytes:
    """A MIDI file of one track, which ends with a bar.

    Notes of one pitch that sound at the same time go to different channels, so that each ends when it should.

    >>> midi_bytes(Tune((Note(0, 480, 60, 80),)))[:4]
    b'MThd'

    Args:
        tune: the piece.
        length: ticks after which the track ends at the earliest.
    """
    mido = require("mido", "music")
    of_bar = 4 * tune.beat * tune.meter[0]  # ticks, times the lower number
    bars = -(-max(tune.end, length) * tune.meter[1] // of_bar)
    numerator, denominator = tune.meter
    timed = [
        (0, mido.MetaMessage("track_name", name=tune.name.encode("utf-8", "replace").decode())),
        (0, mido.MetaMessage("set_tempo", tempo=round(_MINUTE / tune.tempo))),
        (0, mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)),
        *_messages(tune.notes, mido.Message),
        (-(-bars * of_bar // tune.meter[1]), mido.MetaMessage("end_of_track")),
    ]
    track, now = mido.MidiTrack(), 0
    for when, message in timed:
        track.append(message.copy(time=when - now))
        now = when
    contents = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=tune.beat, charset="utf-8", tracks=[track]).save(file=contents)
    return contents.getvalue()


def write_midi(tune: Tune, path: Path, length: int = 0) -> None:
    """Write a MIDI file, in one go; see `midi_bytes`."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as beside:
        whole = Path(beside, path.name)
        whole.write_bytes(midi_bytes(tune, length))
        os.replace(whole, path)


def _parsed(contents: bytes) -> Any:
    """A file of beats that are divided into ticks."""
    mido = require("mido", "music")
    if contents[:4] != b"MThd":
        raise Fault("it is not a MIDI file")
    try:
        file = mido.MidiFile(file=io.BytesIO(contents))
    except EOFError:
        raise Fault("it is damaged: it is cut short") from None
    except (OSError, ValueError, LookupError, TypeError, mido.KeySignatureError) as error:  # bytes that mean nothing
        raise Fault(f"it is damaged: {' '.join(str(error).split())[:_SHOWN]}") from None
    if file.type == 2:
        raise Fault("it is a MIDI file of type 2, whose tracks have no time in common")
    if file.type not in (0, 1):
        raise Fault(f"it is damaged: it is of type {file.type}")
    if file.ticks_per_beat < 0:
        raise Fault("its time is counted in seconds (SMPTE), not in beats")
    if file.ticks_per_beat == 0:
        raise Fault("it is damaged: a beat has no ticks")
    return file


def _messages(notes: Iterable[Note], message: Any) -> list[tuple[int, Any]]:
    """When keys are struck and let go, in order; what ends at a time comes before what begins then."""
    found: list[tuple[int, bool, Any]] = []
    free: dict[int, list[int]] = {}  # of a pitch: when each channel has it free
    for note in sorted(notes):
        ends = free.setdefault(note.pitch, [0] * len(_CHANNELS))
        k = next((k for k, end in enumerate(ends) if end <= note.start), 0)
        ends[k] = end = note.start + max(1, note.length)
        common = {"note": note.pitch, "channel": _CHANNELS[k]}
        found.append((note.start, True, message("note_on", velocity=note.velocity, **common)))
        found.append((end, False, message("note_off", **common)))
    found.sort(key=lambda one: one[:2])
    return [(when, which) for when, _, which in found]


def _changes(said: Sequence[tuple[int, Any]]) -> int:
    """How often something becomes another."""
    return sum(one[1] != other[1] for one, other in pairwise(said))


def _text(name: str) -> str:
    """A name, which may be in UTF-8 or in Latin-1."""
    encoded = name.encode("latin-1")
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return name
