"""Small music for tests: broken chords over a bass, as MIDI files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.data.music import Note, Tune, write_midi

BEAT = 480
TINY: dict[str, Any] = {"steps": 4, "hidden": 16, "embedding": 8, "batch_size": 4, "evaluations": 2, "window": 32}


def tune(bars: int = 4, root: int = 48, meter: tuple[int, int] = (4, 4)) -> Tune:
    """A bass note a bar, which falls and rises, and above it quarter notes of its chord."""
    notes = []
    for bar in range(bars):
        bass = root + (0, 5, 7, 0)[bar % 4]
        start = bar * meter[0] * BEAT
        notes.append(Note(start, meter[0] * BEAT, bass, 80))
        notes += [Note(start + k * BEAT, BEAT, bass + 12 + (0, 4, 7, 12)[k % 4], 80) for k in range(meter[0])]
    return Tune(tuple(sorted(notes)), BEAT, 100.0, meter)


def folder(path: Path, count: int = 10, **how: Any) -> Path:
    """A folder of such tunes, in several keys."""
    path.mkdir()
    for k in range(count):
        write_midi(tune(4 + k % 3, 44 + k % 6, **how), path / f"{k:02}.mid")
    return path
