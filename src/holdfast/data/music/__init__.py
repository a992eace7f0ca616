"""Music: from MIDI files, piano rolls and pieces made by rules to what a composer learns from.

Importing this needs no package of the extra `music`; reading a file does.
"""

from . import chorales, rules
from .build import Music, MusicManner, Pieces, build_music, default_source
from .events import EVENTS, SHIFTS, beats_in, events_of, room_of_events, transposed_events, tune_of_events
from .mat import read_mat
from .midi import read_midi, write_midi
from .roll import KEYS, LOWEST, roll_of, room_of_roll, transposed_roll, tune_of_roll
from .tune import Note, Tune

__all__ = [
    "EVENTS",
    "KEYS",
    "LOWEST",
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
    "read_mat",
    "read_midi",
    "roll_of",
    "room_of_events",
    "room_of_roll",
    "rules",
    "transposed_events",
    "transposed_roll",
    "tune_of_events",
    "tune_of_roll",
    "write_midi",
]
