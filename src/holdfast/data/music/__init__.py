"""Music: from MIDI files, piano rolls and pieces made by rules to what a composer learns from.

Importing this needs no package of the extra `music`; reading a file does.
"""

from . import chorales, rules
from .build import Music, MusicManner, Pieces, build_music, default_source
from .events import EVENTS, SHIFT, SHIFTS, beats_in, events_of, room_of_events, transposed_events, tune_of_events
from .mat import read_mat
from .midi import midi_bytes, read_midi, write_midi
from .roll import KEYS, LOWEST, on_the_piano, roll_of, room_of_roll, transposed_roll, tune_of_roll
from .tune import Note, Tune, pitch_name, ticks_of

__all__ = [
    "EVENTS",
    "KEYS",
    "LOWEST",
    "SHIFT",
    "SHIFTS",
    "Music",
    "MusicManner",
    "Note",
    "Pieces",
    "Tune",
    "beats_in",
    "build_music",
    "chorales",
    "default_source",
    "events_of",
    "midi_bytes",
    "on_the_piano",
    "pitch_name",
    "read_mat",
    "read_midi",
    "roll_of",
    "room_of_events",
    "room_of_roll",
    "rules",
    "ticks_of",
    "transposed_events",
    "transposed_roll",
    "tune_of_events",
    "tune_of_roll",
    "write_midi",
]
