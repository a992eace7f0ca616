"""What the tests of music share: pieces that are drawn, and files that are written by other hands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mido
import numpy as np
import scipy.io

from holdfast.data.music import Note, Tune


def drawn(seed: int, step: int = 40, lowest: int = 21, highest: int = 108) -> Tune:
    """A piece whose times lie on a grid: of each pitch one note after the other, often without a pause between them."""
    draw = np.random.default_rng(seed)
    notes = []
    for pitch in draw.choice(np.arange(lowest, highest + 1), draw.integers(1, 12), replace=False):
        now = step * int(draw.integers(0, 200))
        for _ in range(draw.integers(1, 12)):
            length = step * int(draw.integers(1, 30))
            notes.append(Note(now, length, int(pitch), 4 * int(draw.integers(0, 32)) + 2))
            now += length + step * int(draw.choice([0, 0, 1, 300]))
    meter = [(4, 4), (3, 4), (6, 8)][draw.integers(3)]
    return Tune(tuple(sorted(notes, key=lambda note: (note.start, note.pitch))), tempo=100.0, meter=meter)


def file_of(path: Path, *tracks: list[Any], beat: int = 480, type: int = 1) -> str:
    """A MIDI file of messages (kind, and what mido calls the rest); the name of the file."""
    made = []
    for track in tracks:
        messages = [
            (mido.MetaMessage if kind in mido.midifiles.meta._META_SPEC_BY_TYPE else mido.Message)(kind, **rest)
            for kind, rest in track
        ]
        made.append(mido.MidiTrack(messages))
    path.parent.mkdir(parents=True, exist_ok=True)
    mido.MidiFile(type=type, ticks_per_beat=beat, tracks=made).save(path)
    return str(path)


def on(note: int, time: int = 0, **more: int) -> tuple[str, dict[str, int]]:
    return "note_on", {"note": note, "time": time, "velocity": 70, **more}


def off(note: int, time: int = 0, **more: int) -> tuple[str, dict[str, int]]:
    return "note_off", {"note": note, "time": time, **more}


def meta(kind: str, **rest: Any) -> tuple[str, dict[str, Any]]:
    return kind, rest


def mat_of(path: Path, **parts: Any) -> str:
    """A MATLAB file of rolls, as they were published; the name of the file."""
    held = {}
    for name, rolls in parts.items():
        cells = np.empty((1, len(rolls)), object)
        cells[0, :] = [*rolls]
        held[name] = cells
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, held)
    return str(path)


def rolls(count: int, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Rolls that are drawn, each (T, 88)."""
    draw = np.random.default_rng(seed)
    return [(draw.random((draw.integers(2, 30), 88)) < 0.05).astype(np.uint8) for _ in range(count)]
