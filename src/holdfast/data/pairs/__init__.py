"""Pairs of texts, of which one becomes the other: from files of lines and tables, dialogues, and dates."""

from . import dates
from .build import PairManner, Pairs, Ragged, TextPairs, build_pairs, spaced
from .dialogues import DialogueReading, context_of
from .read import Pair, PairReading, every_file, is_table, read_pairs, sentence, written

__all__ = [
    "DialogueReading",
    "Pair",
    "PairManner",
    "PairReading",
    "Pairs",
    "Ragged",
    "TextPairs",
    "build_pairs",
    "context_of",
    "dates",
    "every_file",
    "is_table",
    "read_pairs",
    "sentence",
    "spaced",
    "written",
]
