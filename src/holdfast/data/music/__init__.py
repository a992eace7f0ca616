"""Music: from MIDI files, piano rolls and pieces made by rules to what a composer learns from.

Importing this needs no package of the extra `music`; reading a file does.
"""

from .midi import read_midi, write_midi
from .tune import Note, Tune

__all__ = ["Note", "Tune", "read_midi", "write_midi"]
